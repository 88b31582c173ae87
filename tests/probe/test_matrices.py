"""Numbers as tokens, and matrices as sequences of them."""

from __future__ import annotations

import math

import pytest
import torch

from statescope import generator_for
from statescope.probe.tasks.check import check_task
from statescope.probe.tasks.matrices import OPERATIONS, MatrixAlgebra, Operation
from statescope.probe.tasks.number_encodings import ENCODINGS, PRECISION, EncodingName

NAMES: tuple[EncodingName, ...] = ("P10", "P1000", "B1999", "FP15")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(name: EncodingName) -> None:
    encoding, generator = ENCODINGS[name], torch.Generator().manual_seed(0)
    exact = torch.tensor([0.0, 1.0, -1.0, 314.0, -0.0278, 9.99e9, 1e-6], dtype=torch.float64)
    torch.testing.assert_close(encoding.decode(encoding.encode(exact)), exact, rtol=1e-12, atol=0)
    values = torch.randn(4000, generator=generator, dtype=torch.float64) * 10 ** torch.linspace(-4, 8, 4000, dtype=torch.float64)
    values = values[values.abs() > 1e-6]
    tokens = encoding.encode(values)
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) < encoding.vocabulary
    assert float(((encoding.decode(tokens) - values) / values).abs().max()) <= PRECISION * (1 + 1e-9)
    rounded = encoding.decode(encoding.encode(torch.tensor([999.6, 9.996, -1e-9], dtype=torch.float64)))
    torch.testing.assert_close(rounded, torch.tensor([1000.0, 10.0, 0.0], dtype=torch.float64))


def test_the_paper_s_example() -> None:
    """3.14 is + 3 1 4 E-2: signs are tokens 0 and 1, digits follow, and then exponents from -8."""
    number = torch.tensor(-3.14)
    assert ENCODINGS["P10"].encode(number).tolist() == [1, 2 + 3, 2 + 1, 2 + 4, 12 + 6]
    assert ENCODINGS["P1000"].encode(number).tolist() == [1, 2 + 314, 1002 + 6]
    assert ENCODINGS["B1999"].encode(number).tolist() == [999 - 314, 1999 + 6]
    assert ENCODINGS["FP15"].encode(number).tolist() == [(999 - 314) * 16 + 6]


def test_tokens_out_of_place_are_no_number() -> None:
    p10 = ENCODINGS["P10"]
    assert math.isnan(float(p10.decode(torch.tensor([5, 5, 3, 6, 18]))))
    with pytest.raises(ValueError, match="has 5 tokens"):
        p10.decode(torch.tensor([1, 2]))
    for value in (1e11, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite and below"):
            p10.encode(torch.tensor(value))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_the_matrices(operation: Operation, name: EncodingName) -> None:
    task = MatrixAlgebra(operation, size=3, encoding=name)
    check_task(task, length=task.tokens)
    batch, width = task.batch(20, task.tokens, "test", generator_for(0)), len(task.numbers.sizes)
    count, results = {"transpose": (9, 9), "addition": (18, 9), "product": (12, 3)}[operation]
    read = task.numbers.decode(batch.tokens[:, : count * width].unflatten(1, (count, width)))
    first, rest = read[:, :9].unflatten(1, (3, 3)), read[:, 9:]
    truth = {
        "transpose": lambda: first.mT,
        "addition": lambda: first + rest.unflatten(1, (3, 3)),
        "product": lambda: first @ rest[..., None],
    }
    asked = batch.targets[:, -results * width :]
    torch.testing.assert_close(task.numbers.decode(asked.unflatten(1, (results, width))), truth[operation]().flatten(1))
    assert bool((batch.targets[:, : -results * width] == -100).all())
    assert torch.equal(batch.tokens[:, -results * width + 1 :], asked[:, :-1])


def test_right_within_a_tolerance() -> None:
    """Of the matrix 100 1 1 1, 5 in 103 is within 5% and 6 is not; a sign in the place of a digit is never right."""
    task = MatrixAlgebra(largest=100)
    batch = task.batch(1, task.tokens, "test", generator_for(0))

    def written(*values: float) -> torch.Tensor:
        result = task.numbers.encode(torch.tensor(values)).flatten()
        return torch.cat([torch.full((task.tokens - len(result),), -100), result])[None]

    batch.targets.copy_(written(100, 1, 1, 1))
    for values, right in (((100, 1, 1, 1), True), ((105, 1, 1, 1), True), ((100, 1, 1, -4), True), ((106, 1, 1, 1), False)):
        assert task.right_within(written(*values), batch).tolist() == [right]
    wrong = written(100, 1, 1, 1)
    wrong[0, -2] = 0
    assert task.right_within(wrong, batch).tolist() == [False]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="have 40 tokens"):
        MatrixAlgebra().batch(2, 20, "train", generator_for(0))
    with pytest.raises(ValueError, match="largest from 1 to 499"):
        MatrixAlgebra(largest=500)
    with pytest.raises(ValueError, match="not known"):
        MatrixAlgebra("inverse")  # type: ignore[arg-type]
