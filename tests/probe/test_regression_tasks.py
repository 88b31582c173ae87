"""In-context regression and sparse averaging: their truth, and the estimators against theory."""

from __future__ import annotations

import math

import pytest
import torch

from statescope import InContextRegression, Model, ModelConfig, SparseAveraging, generator_for
from statescope.probe.mixers import Attention
from statescope.probe.runs.training import Training, task_loss, train

FUNCTIONS = [
    InContextRegression(dimension=3),
    InContextRegression("sparse", dimension=5, noise=0.2),
    InContextRegression(dimension=3, noise=0.5),
    InContextRegression("gaussian_process", dimension=1, noise=0.3),
    InContextRegression("fourier", dimension=1, active=2, noise=0.3),
]


def _errors(task: InContextRegression, examples: int, rows: int = 4000) -> dict[str, torch.Tensor]:
    """Mean squared error of each estimator after 0, 1, ... examples."""
    batch = task.batch(rows, 2 * examples, "test", generator_for(0))
    y = batch.targets[:, ::2, 0]
    return {name: (value[:, ::2] - y).square().mean(0) for name, value in task.predictions(batch).items()}


def test_a_sequence_is_examples_of_one_function() -> None:
    task = InContextRegression(dimension=3)
    batch = task.batch(5, 16, "train", generator_for(0))
    x, y = batch.tokens[:, ::2, :3].double(), batch.tokens[:, 1::2, 3].double()
    weights = torch.linalg.lstsq(x, y[..., None]).solution
    torch.testing.assert_close((x @ weights)[..., 0], y, rtol=1e-5, atol=1e-5)
    assert torch.equal(batch.targets[:, ::2, 0], batch.tokens[:, 1::2, 3])  # the target at x_i is y_i
    assert batch.targets[:, 1::2].isnan().all()
    assert not batch.tokens[:, ::2, 3].any() and not batch.tokens[:, 1::2, :3].any()
    sparse = InContextRegression("sparse", dimension=6, active=2).batch(50, 24, "train", generator_for(0))
    found = torch.linalg.lstsq(sparse.tokens[:, ::2, :6].double(), sparse.tokens[:, 1::2, 6:].double()).solution
    assert ((found.abs() > 1e-4).sum(1) == 2).all()


@pytest.mark.parametrize("task", FUNCTIONS, ids=lambda task: f"{task.function}-{task.noise}")
def test_no_estimator_is_better_than_bayes(task: InContextRegression) -> None:
    errors = _errors(task, 9)
    for name in ("ols", "ridge", "gradient_descent"):
        assert (errors["bayes"] <= errors[name] * 1.03 + 1e-6).all(), name
    assert errors["bayes"][-1] < 0.7 * errors["bayes"][0]


def test_estimators_are_those_of_the_books() -> None:
    task = InContextRegression(dimension=3, noise=0.5)
    batch = task.batch(20, 16, "test", generator_for(0))
    found = {name: value[:, ::2] for name, value in task.predictions(batch, penalty=0.7).items()}
    x, y = batch.tokens[:, ::2, :3].double(), batch.targets[:, ::2].double()
    for n in (2, 5, 7):
        seen, answers, query = x[:, :n], y[:, :n], x[:, n]
        moment, gram = seen.mT @ answers, seen.mT @ seen
        weights = {
            "ols": torch.linalg.pinv(seen) @ answers,
            "ridge": torch.linalg.solve(gram + 0.7 * torch.eye(3), moment),
            "bayes": torch.linalg.solve(gram + 0.25 * torch.eye(3), moment),  # ridge with the noise's variance
            "gradient_descent": moment / n * n / (n + 3 + 1 + 0.25),
        }
        for name, w in weights.items():
            torch.testing.assert_close(found[name][:, n], (query * w[..., 0]).sum(-1), rtol=1e-6, atol=1e-6)


def test_least_squares_is_bayes_without_noise_and_its_error_is_that_of_the_projection() -> None:
    """With n <= d examples the error is 1 - n / d of the variance d: what the examples' span leaves of w."""
    task = InContextRegression(dimension=6)
    errors = _errors(task, 9)
    torch.testing.assert_close(errors["ols"], errors["bayes"], rtol=1e-3, atol=1e-6)
    expected = (6.0 - torch.arange(9)).clamp(min=0)
    torch.testing.assert_close(errors["ols"], expected.double(), rtol=0.1, atol=1e-2)  # tokens are single precision


@pytest.mark.parametrize("n", [4, 12])
def test_the_rate_of_the_gradient_step_is_the_best_one(n: int) -> None:
    """Its error is d (1 - n / (n + d + 1 + s^2)) + s^2, and other rates do worse."""
    d, s = 4, 0.5
    task = InContextRegression(dimension=d, noise=s)
    batch = task.batch(60_000, 2 * (n + 1), "train", generator_for(1))
    step, y = task.predictions(batch)["gradient_descent"][:, 2 * n], batch.targets[:, 2 * n, 0].double()
    error = {factor: float((factor * step - y).square().mean()) for factor in (0.8, 1.0, 1.25)}
    assert error[1.0] < error[0.8] and error[1.0] < error[1.25]
    expected = d * (1 - n / (n + d + 1 + s**2)) + s**2
    assert abs(error[1.0] - expected) < 0.03 * expected


def test_sparse_bayes_finds_the_support_sooner_than_least_squares() -> None:
    errors = _errors(InContextRegression("sparse", dimension=8, active=1), 8, rows=500)
    assert errors["bayes"][3] < 0.01 and errors["ols"][3] > 0.3
    with pytest.raises(ValueError, match="10 of 20 weights can be chosen in more than 2000 ways"):
        task = InContextRegression("sparse", dimension=20, active=10)
        task.predictions(task.batch(2, 8, "test", generator_for(0)))


def test_sparse_averages_are_of_the_places_asked_for() -> None:
    task = SparseAveraging(active=3, size=4, longest=12)
    batch = task.batch(7, 10, "train", generator_for(0))
    z, own, share = batch.tokens.split([4, 12, 12], dim=-1)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(7, 10))
    assert torch.equal(own[0], torch.eye(12)[:10])
    for t in range(10):
        places = (share[0, t] * 3).round().long()
        assert places.sum() == 3 and not places[t + 1 :].any()
        torch.testing.assert_close(batch.targets[0, t], (places[:10, None] * z[0]).sum(0) / 3)


def test_a_model_of_real_inputs_learns_to_regress_in_context() -> None:
    task = InContextRegression(dimension=2)
    model = Model(ModelConfig(task.vocabulary, 32, 2, Attention(heads=2), inputs=task.inputs))
    train(model, task, Training(steps=400, batch=64, length=16))
    batch = task.batch(500, 16, "test", generator_for(9))
    with torch.no_grad():
        found = model(batch.tokens)
    nothing = task_loss(torch.zeros_like(found), batch)
    assert task_loss(found, batch) < 0.5 * nothing
    last = (found[:, -2, 0] - batch.targets[:, -2, 0]).square().mean()
    assert last < 0.25 * batch.targets[:, -2, 0].square().mean()  # with 7 examples of 2 weights


def test_what_a_model_of_real_inputs_cannot_do_is_refused() -> None:
    model = Model(ModelConfig(1, 16, 1, inputs=3))
    x = torch.randn(2, 5, 3)
    assert model(x).shape == (2, 5, 1)
    _, cache = model.run_with_cache(x, taps="last")
    assert cache["state", 0].shape[:2] == (2, 1)
    with pytest.raises(ValueError, match=r"real numbers \[batch, position, 3\], got \(2, 5\) torch.int64"):
        model(torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="no next-token loss"):
        model(x, return_type="loss")
    with pytest.raises(ValueError, match="generates no tokens"):
        model.generate(x, 2)
    with pytest.raises(ValueError, match="must be even"):
        InContextRegression().batch(2, 7, "train", generator_for(0))
    with pytest.raises(ValueError, match="a Fourier series has dimension 1"):
        InContextRegression("fourier")
    assert math.isclose(float(task_loss(torch.ones(1, 2, 1), _batch())), 4.0)


def _batch() -> object:
    from statescope.probe.tasks import Batch

    return Batch(torch.zeros(1, 2, 1), torch.tensor([[[3.0], [math.nan]]]))  # nan is not counted
