"""Othello on a small board: random legal games as sequences of squares, with the whole board as labels.

Board games as world models: Li et al. 2023 (arXiv:2210.13382), and the mine/yours frame of Nanda et al. 2023 (arXiv:2309.00941).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from .base import IGNORED, Batch, Drawing, Split, Task, check_request

Board = list[int]  # squares row by row: 0 empty, 1 black, -1 white
DIRECTIONS = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]


@dataclass(frozen=True)
class Othello(Task, kind="othello"):
    """A token is the square just played; the highest token ends and fills a game. The target is the next token. A player who
    cannot move is passed over. Labels after each move: "square_r_c", 0 empty, 1 the mover's, 2 the other's ("mine" and "yours"
    of the player to move next are 2 and 1, unless one is passed over), "black_r_c", 0 empty, 1 black, 2 white, and "player", 0 if
    black moves next, 1 if white, 2 if none can.
    """

    board: int = 6
    """The board has this many squares on each side, 4 or 6."""

    def __post_init__(self) -> None:
        if self.board not in (4, 6):
            raise ValueError(f"board must be 4 or 6, got {self.board}")

    @property
    def vocabulary(self) -> int:
        return self.board**2 + 1

    def batch(self, size: int, length: int, split: Split, generator: Generator, *, labels: bool = False) -> Batch:
        check_request(size, length)
        n, drawing = self.board, Drawing(size, split)
        boards: list[list[Board]] = []
        players: list[list[int]] = []
        while drawing.missing:
            moves, states, nexts = self._play(length + 1, generator)
            # The first moves decide, so that no beginning of a test game was trained on.
            game = torch.tensor([moves])
            if bool(drawing.offer(game, by=game[:, :6])):
                boards.append(states)
                players.append(nexts)
        moves_made = drawing.rows
        board, player = torch.tensor(boards)[:, :length], torch.tensor(players)[:, :length]
        tokens, targets = moves_made[:, :length], moves_made[:, 1:]
        targets = torch.where(tokens == n * n, IGNORED, targets)
        mover = torch.where(board.gather(2, tokens.clamp(max=n * n - 1)[..., None]) >= 0, 1, -1)
        named = {"player": player}
        for square in range(n * n):
            row, column = divmod(square, n)
            named[f"black_{row}_{column}"] = board[..., square].remainder(3)
            named[f"square_{row}_{column}"] = (board[..., square] * mover[..., 0]).remainder(3)
        return Batch(tokens, targets, named)

    def _play(self, length: int, generator: Generator) -> tuple[list[int], list[Board], list[int]]:
        """Moves, the board after each, and who moves next, for `length` tokens."""
        n = self.board
        board, player = start(n), 1
        moves, states, nexts = [], [], []
        chance = torch.rand(length, generator=generator).tolist()
        for pick in chance:
            legal = legal_moves(board, n, player)
            if legal:
                square = sorted(legal)[int(pick * len(legal))]
                board = place(board, square, legal[square], player)
                player = -player if legal_moves(board, n, -player) else player
                moves.append(square)
            else:
                moves.append(n * n)
            states.append(list(board))
            nexts.append(2 if not legal_moves(board, n, player) else 0 if player == 1 else 1)
        return moves, states, nexts


def start(n: int) -> Board:
    """Four pieces in the middle, black to move."""
    board, half = [0] * (n * n), n // 2
    for row, column, colour in ((0, 0, -1), (1, 1, -1), (0, 1, 1), (1, 0, 1)):
        board[(half - 1 + row) * n + half - 1 + column] = colour
    return board


def legal_moves(board: Board, n: int, player: int) -> dict[int, list[int]]:
    """The squares that a player (1 black, -1 white) may take, and what each turns over."""
    found = {}
    for square in range(n * n):
        if board[square] == 0:
            turned = [turn for direction in DIRECTIONS for turn in _turned(board, n, square, direction, player)]
            if turned:
                found[square] = turned
    return found


def place(board: Board, square: int, turned: list[int], player: int) -> Board:
    """Give the board as it is after a move."""
    after = list(board)
    for one in (square, *turned):
        after[one] = player
    return after


def _turned(board: Board, n: int, square: int, direction: tuple[int, int], player: int) -> list[int]:
    """The other's pieces in a line from the square to one of the player's own."""
    row, column = divmod(square, n)
    line: list[int] = []
    while True:
        row, column = row + direction[0], column + direction[1]
        if not (0 <= row < n and 0 <= column < n) or board[row * n + column] == 0:
            return []
        if board[row * n + column] == player:
            return line
        line.append(row * n + column)
