"""Othello on a small board: random legal games as sequences of squares, with the whole board as labels.

Board games as world models: Li et al. 2023 (arXiv:2210.13382), and the mine/yours frame of Nanda et al. 2023 (arXiv:2309.00941).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from .base import IGNORED, Batch, Drawing, Split, Task, check_request

Plane = NDArray[np.bool_]  # [..., n, n]: a set of squares of each board
Bits = NDArray[np.int64]  # [..., 1] or [..., 8], one a direction: such a set as a number, bit r n + c for the square (r, c)
DIRECTIONS = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
DECIDING = 6  # the first moves of a game say to which split it belongs


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
        drawing = Drawing(size, split)
        while drawing.missing > 0:
            games = self._games(max(8, drawing.missing), length + 1, generator)
            # The first moves decide, so that no beginning of a test game was trained on.
            drawing.offer(games, by=games[:, :DECIDING])
        tokens, targets = drawing.rows[:, :length], drawing.rows[:, 1:]
        targets = torch.where(tokens == self.board**2, IGNORED, targets)
        return Batch(tokens, targets, self._labels(tokens) if labels else {})

    def labels_of(self, tokens: Tensor) -> dict[str, Tensor]:
        """The board after each move; nothing for what is no game."""
        try:
            return {name: values[0] for name, values in self._labels(tokens[None]).items()}
        except ValueError:
            return {}

    def _games(self, count: int, length: int, generator: Generator) -> Tensor:
        """Random games [count, length]: each move is one of the legal ones, all equally likely."""
        now, moves = Position.start(count, self.board), []
        for chance in torch.rand(length, count, generator=generator).double().numpy():
            legal = now.legal.reshape(count, -1)
            counts = legal.sum(1)
            wanted = (chance * counts).astype(int) + 1
            square = (legal & (legal.cumsum(1) == wanted[:, None])).argmax(1)
            moves.append(np.where(counts > 0, square, self.board**2))
            now = now.after(moves[-1])
        return torch.from_numpy(np.stack(moves, 1))

    def _labels(self, tokens: Tensor) -> dict[str, Tensor]:
        """What is true after each move of games [B, T]. Raises ValueError for a move that is not legal."""
        now, mover = Position.start(len(tokens), self.board), np.ones(len(tokens), int)
        boards, own, players = [], [], []
        for square in tokens.numpy().T:
            mover = np.where(now.player == 0, mover, now.player)
            now = now.after(square)
            boards.append(now.board % 3)
            own.append(now.board * mover[:, None, None] % 3)
            players.append(np.array([2, 0, 1])[now.player])
        named = {"player": torch.from_numpy(np.stack(players, 1))}
        black, square_of = (torch.from_numpy(np.stack(each, 1)) for each in (boards, own))
        for row in range(self.board):
            for column in range(self.board):
                named[f"black_{row}_{column}"] = black[:, :, row, column]
                named[f"square_{row}_{column}"] = square_of[:, :, row, column]
        return named


@dataclass(frozen=True, eq=False)
class Position:
    """Where B games stand.

    board: [B, n, n], 1 black, -1 white, 0 nothing. player: who moves next, [B], 1 or -1, or 0 where none can. legal: where.
    """

    board: NDArray[np.int64]
    player: NDArray[np.int64]
    legal: Plane

    @classmethod
    def start(cls, count: int, size: int) -> Self:
        """Four pieces in the middle, black to move."""
        board, half = np.zeros((count, size, size), int), size // 2
        board[:, half - 1 : half + 1, half - 1 : half + 1] = [[-1, 1], [1, -1]]
        return cls(board, np.ones(count, int), legal_moves(board == 1, board == -1))

    def after(self, square: NDArray[np.int64]) -> Position:
        """Each game's position when the square of that number is played, [B]; n^2 stands for the end.

        Raises ValueError for a move that is not legal.
        """
        count, size, _ = self.board.shape
        move = (np.arange(size**2) == square[:, None]).reshape(count, size, size)
        allowed = np.where(self.player == 0, square == size**2, (move & self.legal).any((1, 2)))
        if not allowed.all():
            raise ValueError(f"square {square[~allowed][0]} is no legal move")
        player = self.player[:, None, None]
        turned = turned_over(move, self.board == player, self.board == -player)
        board = np.where(move | turned, player, self.board)
        black, white = board == 1, board == -1
        of_black, of_white = legal_moves(np.stack([black, white]), np.stack([white, black]))
        theirs = np.where(player == 1, of_white, of_black)
        ours = np.where(player == 1, of_black, of_white)
        passed = ~theirs.any((1, 2))
        over = passed & ~ours.any((1, 2)) | (self.player == 0)
        following = np.where(over, 0, np.where(passed, self.player, -self.player))
        legal = np.where(passed[:, None, None], ours, theirs) & ~over[:, None, None]
        return Position(board, following, legal)


def legal_moves(own: Plane, others: Plane) -> Plane:
    """The squares that a player with these pieces may take: empty, with a line of the other's to one of the player's own."""
    size = own.shape[-1]
    ends = _moved(_lines(_packed(own), _packed(others), size), size)
    return _unpacked(ends, size) & ~(own | others)


def turned_over(move: Plane, own: Plane, others: Plane) -> Plane:
    """The other's pieces that a move, one square a board, turns over."""
    size = own.shape[-1]
    lines = _lines(_packed(move), _packed(others), size)
    closed = _moved(lines, size) & _packed(own) != 0
    return _unpacked(np.where(closed, lines, 0), size)


def _lines(start: Bits, others: Bits, size: int) -> Bits:
    """The other's pieces that follow one another in each direction, from beside a square of `start`."""
    lines = _moved(start, size) & others
    for _ in range(size - 3):
        lines |= _moved(lines, size) & others
    return lines


def _moved(squares: Bits, size: int) -> Bits:
    """Each square one step in each direction; those that leave the board are gone."""
    forward, back, reached = _steps(size)
    return squares << forward >> back & reached


@cache
def _steps(size: int) -> tuple[Bits, Bits, Bits]:
    """How far a step in each direction moves a square to higher numbers and to lower ones, and the squares that it can reach."""
    row, column = np.divmod(np.arange(size**2), size)
    from_board = [np.isin(row - down, row) & np.isin(column - right, column) for down, right in DIRECTIONS]
    reached = [sum(2 ** np.flatnonzero(squares)) for squares in from_board]
    along = np.array([down * size + right for down, right in DIRECTIONS])
    return along.clip(0), (-along).clip(0), np.array(reached)


def _packed(squares: Plane) -> Bits:
    """A set of squares as one number, [..., 1], whose bits are the squares by number."""
    size = squares.shape[-1]
    return squares.reshape(*squares.shape[:-2], size**2) @ 2 ** np.arange(size**2)[:, None]


def _unpacked(sets: Bits, size: int) -> Plane:
    """The squares that are in any of these sets, [..., sets]."""
    united = np.bitwise_or.reduce(sets, -1, keepdims=True)
    return (united >> np.arange(size**2) & 1).astype(bool).reshape(*sets.shape[:-1], size, size)
