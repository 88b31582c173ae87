"""Tasks: their truth, their splits, their seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statescope import (
    AssociativeRecall,
    InContextRegression,
    InductionHeads,
    Match,
    ModularArithmetic,
    Othello,
    PairProducts,
    Parity,
    Repeat,
    Reviews,
    SelectiveCopying,
    Sentiment,
    SparseAveraging,
    Task,
    WordProblem,
    generator_for,
)
from statescope.probe.tasks.base import IGNORED, SHARES, EmptySplitError, content_groups, digest_of, draw_split
from statescope.probe.tasks.check import check_task
from statescope.probe.tasks.reviews import DISLIKED, LIKED


def test_parity_is_the_parity_of_the_bits_so_far() -> None:
    batch = Parity().batch(5, 30, "train", generator_for(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [sum(tokens[: t + 1]) % 2 for t in range(30)]


def test_a_batch_depends_on_its_generator_alone() -> None:
    first = Parity().batch(4, 10, "train", generator_for(1, 2)).tokens
    torch.randn(3)
    assert torch.equal(Parity().batch(4, 10, "train", generator_for(1, 2)).tokens, first)
    assert not torch.equal(Parity().batch(4, 10, "train", generator_for(2, 1)).tokens, first)


DRAWN = [
    Parity(),
    *(WordProblem(group) for group in ("Z3", "S3", "S4", "A4", "A5", "S5")),
    ModularArithmetic(),
    ModularArithmetic(brackets=True),
    AssociativeRecall(pairs=4),
    AssociativeRecall(pairs=4, overwritten=2),
    InductionHeads(),
    SelectiveCopying(items=4),
    Repeat(),
    Match(order=2, modulus=11),
    Match(order=3, modulus=11),
    Othello(board=4),
    Sentiment(),
    Reviews(),
]


FUNCTIONS = [
    InContextRegression(),
    InContextRegression("sparse", dimension=5),
    InContextRegression(noise=0.5),
    InContextRegression("gaussian_process", dimension=2),
    InContextRegression("fourier", dimension=1, active=3),
]


REAL = [*FUNCTIONS, PairProducts(), SparseAveraging(longest=32)]


def label_of(task: Task) -> str:
    return "-".join(str(value) for value in (task.kind, *vars(task).values()))


@pytest.mark.parametrize("task", [*DRAWN, *REAL], ids=label_of)
def test_every_task_holds_what_every_task_must(task: Task) -> None:
    check_task(task)


SMALL = [
    (Parity(), 3),
    (WordProblem("S3"), 1),
    (ModularArithmetic(5), 1),
    (Repeat(2), 2),
    (SelectiveCopying(1, 1), 2),
    (AssociativeRecall(1, 1), 3),
    (InductionHeads(1), 4),
    (Match(order=2, modulus=2), 1),
    (Sentiment(), 1),
]


@pytest.mark.parametrize(("task", "length"), SMALL, ids=[label_of(task) for task, _ in SMALL])
def test_a_split_without_a_possible_sequence_is_said_and_not_searched_for_ever(task: Task, length: int) -> None:
    """Each sequence is in one split: with so few of them some split has none, and the others go on giving theirs."""
    found = {}
    for split in ("train", "validation", "test"):
        try:
            found[split] = {tuple(row) for row in task.batch(50, length, split, generator_for(1)).tokens.tolist()}
        except EmptySplitError as error:
            assert f"no {split} sequence is possible" in str(error)
    assert 1 <= len(found) < 3


def test_a_rare_split_is_still_found() -> None:
    """Of the rows 0 .. 7 only 2 is for validation, and it comes once in 60 draws."""

    def skewed(count: int) -> torch.Tensor:
        return (torch.rand(count, 1) ** 0.25 * 8).long()

    assert [int(digest) in SHARES["validation"] for digest in digest_of(torch.arange(8)[:, None])] == [i == 2 for i in range(8)]
    assert draw_split(skewed, 5, "validation").tolist() == [[2]] * 5
    with pytest.raises(ValueError, match="at least 1 sequence of at least 1 token, got size 0"):
        draw_split(skewed, 0, "train")
    with pytest.raises(ValueError, match="length must be at least 1"):
        Parity().batch(2, 0, "train", generator_for(0))


@pytest.mark.parametrize(("group", "order"), [("Z7", 7), ("S3", 6), ("S4", 24), ("S5", 120), ("A4", 12), ("A5", 60)])
def test_word_problems_compose_permutations(group: str, order: int) -> None:
    from statescope.probe.tasks.word_problem import elements, multiplication

    task = WordProblem(group)
    assert task.vocabulary == order == len(set(elements(group)))
    assert all(len(set(row)) == order for row in multiplication(group).tolist())  # a Latin square
    batch = task.batch(4, 12, "test", generator_for(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        objects = list(range(len(elements(group)[0])))
        for token, target in zip(tokens, targets, strict=True):
            objects = [elements(group)[token][i] for i in objects]  # each object goes on from where it is
            assert tuple(objects) == elements(group)[target]
    with pytest.raises(ValueError, match="group 'S9' is not known"):
        WordProblem("S9")


@pytest.mark.parametrize("brackets", [False, True])
def test_arithmetic_is_pythons(brackets: bool) -> None:
    """What the innermost open bracket holds so far, by Python's own evaluation."""
    task = ModularArithmetic(brackets=brackets)
    symbols = [*"01234", *"+-*", *"()"]
    batch, checked = task.batch(60, 17, "train", generator_for(5)), 0
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        starts = [0]
        for t, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            if symbols[token] == "(":
                starts.append(t + 1)
            elif symbols[token] == ")":
                starts.pop()
            if target != -100:
                text = "".join(symbols[x] for x in tokens[starts[-1] : t + 1])
                assert eval(text) % 5 == target, text
                checked += 1
    assert batch.labels["depth"].min() >= 0
    assert checked > 300


def test_recall_targets_are_what_was_stored() -> None:
    task = AssociativeRecall(pairs=5, symbols=9)
    batch = task.batch(20, 30, "train", generator_for(1))
    for tokens, targets, pair in zip(batch.tokens.tolist(), batch.targets.tolist(), batch.labels["pair"].tolist(), strict=True):
        stored = dict(zip(tokens[:10:2], tokens[1:10:2], strict=True))
        assert len(stored) == 5
        asked = [t for t in range(30) if targets[t] != -100]
        assert len(asked) == 5 and min(asked) >= 10
        assert all(targets[t] == stored[tokens[t]] and tokens[2 * pair[t]] == tokens[t] for t in asked)
    with pytest.raises(ValueError, match="need at least 15 tokens"):
        task.batch(1, 14, "train", generator_for(0))


def test_of_pairs_that_are_overwritten_the_last_value_is_asked_for() -> None:
    task = AssociativeRecall(pairs=3, symbols=9, overwritten=2)
    batch = task.batch(50, 20, "train", generator_for(1))
    old = 0
    for tokens, targets, first in zip(
        batch.tokens.tolist(), batch.targets.tolist(), batch.labels["first_value"].tolist(), strict=True
    ):
        said = list(zip(tokens[:10:2], tokens[1:10:2], strict=True))
        stored, before = dict(said), dict(said[:2])
        assert len(stored) == 3 and before.keys() < stored.keys()
        asked = [t for t in range(20) if targets[t] != -100]
        assert len(asked) == 3 and min(asked) >= 10 and all(targets[t] == stored[tokens[t]] for t in asked)
        assert first == [-1] * 5 + [stored[tokens[4]] - 10] * 15
        old += sum(before[key] != stored[key] for key in before)
    assert old > 80
    with pytest.raises(ValueError, match="need at least 13 tokens"):
        task.batch(1, 12, "train", generator_for(0))
    with pytest.raises(ValueError, match="overwritten=4 must be from 0 to the 3 pairs"):
        AssociativeRecall(pairs=3, overwritten=4)


def test_products_of_what_a_position_holds() -> None:
    batch = PairProducts(pairs=3).batch(4, 5, "train", generator_for(1))
    x = batch.tokens.double().numpy()
    expected = (x[..., 0] * x[..., 1] + x[..., 2] * x[..., 3] + x[..., 4] * x[..., 5]) / 3**0.5
    np.testing.assert_allclose(batch.targets[..., 0].numpy(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="pairs must be at least 1"):
        PairProducts(pairs=0)


def test_copying_and_repeating_keep_the_order() -> None:
    batch = SelectiveCopying(items=4, symbols=6).batch(20, 16, "train", generator_for(1))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert [token for token in tokens[:12] if token] == targets[12:] and tokens[12:] == [7] * 4
    batch = Repeat().batch(5, 12, "train", generator_for(1))
    assert torch.equal(batch.targets[:, 6:], batch.tokens[:, :6]) and torch.equal(batch.tokens[:, 7:], batch.tokens[:, :5])
    batch = InductionHeads(symbols=5).batch(9, 12, "train", generator_for(1))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets[-2] == tokens[tokens.index(5) + 1] and tokens[-2] == 5
        assert set(targets[:-2]) == {-100}


@pytest.mark.parametrize("order", [2, 3])
def test_matches_are_found_by_trying_all(order: int) -> None:
    from itertools import product

    batch = Match(order=order, modulus=13).batch(5, 9, "train", generator_for(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        for t, target in enumerate(targets):
            some = any((tokens[t] + sum(others)) % 13 == 0 for others in product(tokens[: t + 1], repeat=order - 1))
            assert target == int(some)


def _turned_by_the_rules(board: list[int], n: int, square: int, player: int) -> set[int]:
    """The pieces that a move turns over, as the rules say it: walk from the square each way until a piece of one's own."""
    turned: set[int] = set()
    for down, right in ((r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c):
        (row, column), line = divmod(square, n), []
        while True:
            row, column = row + down, column + right
            if not (0 <= row < n and 0 <= column < n) or board[row * n + column] == 0:
                break
            if board[row * n + column] == player:
                turned.update(line)
                break
            line.append(row * n + column)
    return turned


@pytest.mark.parametrize(("n", "length"), [(4, 13), (6, 33)])
def test_othello_is_played_by_its_rules(n: int, length: int) -> None:
    batch = Othello(board=n).batch(40, length, "test", generator_for(0), labels=True)
    passed = ended = 0
    for game in range(40):
        board, player = [0] * n**2, 1
        for square, colour in ((0, -1), (1, 1), (n, 1), (n + 1, -1)):
            board[(n // 2 - 1) * (n + 1) + square] = colour

        def legal(mover: int, board: list[int] = board) -> set[int]:
            return {s for s in range(n**2) if board[s] == 0 and _turned_by_the_rules(board, n, s, mover)}

        for t, token in enumerate(batch.tokens[game].tolist()):
            if token == n**2:
                assert not legal(1) and not legal(-1) and batch.targets[game, t] == IGNORED
                assert int(batch.labels["player"][game, t]) == 2
                ended += 1
                continue
            passed += not legal(player)
            player = player if legal(player) else -player
            assert token in legal(player)
            for square in _turned_by_the_rules(board, n, token, player) | {token}:
                board[square] = player
            names = [f"{row}_{column}" for row in range(n) for column in range(n)]
            assert [int(batch.labels[f"black_{name}"][game, t]) for name in names] == [piece % 3 for piece in board]
            assert [int(batch.labels[f"square_{name}"][game, t]) for name in names] == [piece * player % 3 for piece in board]
            following = -player if legal(-player) else player if legal(player) else 0
            assert int(batch.labels["player"][game, t]) == (2, 0, 1)[following]
            player = -player
    assert passed and ended, "games in which a player is passed over, and which end, are among these"


def test_othello_moves_are_drawn_alike_and_labels_follow_from_them() -> None:
    task = Othello(board=6)
    batch = task.batch(3000, 2, "train", generator_for(0), labels=True)
    counts = torch.bincount(batch.tokens[:, 0], minlength=37)
    assert counts.nonzero().flatten().tolist() == [8, 13, 22, 27], "black's four first moves"
    assert ((counts[counts > 0] - 750).abs() < 5 * (3000 * 0.25 * 0.75) ** 0.5).all()
    own = task.labels_of(batch.tokens[0])
    assert all(torch.equal(own[name], batch.labels[name][0]) for name in batch.labels)
    assert task.labels_of(torch.tensor([8, 8])) == {}, "no game has the same square twice"


def test_the_verdict_of_a_review_follows_its_sentiment_and_not_its_topic() -> None:
    task = Reviews()
    batch = task.batch(100, 40, "train", generator_for(0), labels=True)
    liked, disliked = (torch.isin(batch.targets, torch.tensor(task.tokens_of(words))) for words in (LIKED, DISLIKED))
    before, sentiment, topic = (batch.labels[name] for name in ("before_verdict", "sentiment", "topic"))
    assert torch.equal((liked | disliked), before == 1)
    assert torch.equal(liked[before == 1], sentiment[before == 1] == 2)
    for kind in (1, 2, 3):
        assert 0.4 < float(liked[(before == 1) & (topic == kind)].double().mean()) < 0.6
    words = [[task.words[token] for token in row] for row in batch.tokens.tolist()]
    assert [[word == "," for word in row] for row in words] == (batch.labels["delimiter"] == 1).tolist()


def test_sentiment_and_topic_are_independent() -> None:
    batch = Sentiment().batch(200, 40, "train", generator_for(0))
    sentiment, topic = batch.labels["sentiment"].flatten(), batch.labels["topic"].flatten()
    both = (sentiment > 0) & (topic > 0)
    for kind in (1, 2, 3):
        share = (sentiment[both & (topic == kind)] == 2).double().mean()
        assert 0.45 < share < 0.55


def test_the_group_of_a_sequence_is_its_content() -> None:
    rows = torch.randint(0, 3, (4000, 9))
    groups = content_groups(rows)
    distinct, kind = rows.unique(dim=0, return_inverse=True)
    assert len(groups.unique()) == len(distinct)  # none in common but where the rows are
    assert torch.equal(groups, content_groups(distinct)[kind])
    assert not set(content_groups(torch.zeros(1, 4)).tolist()) & set(content_groups(torch.zeros(1, 5)).tolist())
    assert len(content_groups(torch.randn(500, 6, 2)).unique()) == 500
    assert (
        content_groups(torch.tensor([[1, 2, 3]])).tolist()
        == content_groups(torch.tensor([[1, 2, 3]], dtype=torch.int32)).tolist()
    )
