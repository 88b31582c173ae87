"""Probes of whole sequences and of matrix states: on what was planted for them, and against what cannot find it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statescope.estimators import AttentionPooled, BilinearState, CannotFitError, Logistic, ProbeSweep
from statescope.probe.captures.capture import Capture
from statescope.probe.estimators.descent import descend

HOOK = "blocks.0.hook_resid_post"


def needles(sequences: int, seed: int, positions: int = 24, features: int = 6) -> tuple[Capture, Tensor]:
    """Noise with one marked position a sequence, which holds the class in two other channels; and where it is."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sequences, positions, features, generator=generator)
    at = torch.randint(0, positions, (sequences,), generator=generator)
    label = torch.randint(0, 3, (sequences,), generator=generator)
    rows = torch.arange(sequences)
    x[rows, at, 0] += 12
    x[rows, at, 1 + label] += 5
    tokens = torch.randint(0, 9, (sequences, positions), generator=generator)
    groups = torch.arange(sequences) + 10_000 * seed
    return Capture({HOOK: x}, {"kind": label[:, None].expand(-1, positions)}, tokens, groups, tuple(range(positions))), at


def test_a_learnt_query_looks_at_the_needle_and_means_do_not() -> None:
    (train, _), (test, at) = needles(300, 1), needles(200, 2)
    seen, held = train.pooled(), test.pooled()
    assert seen.features(HOOK).shape == (300, 24 * 6) and seen.positions == (23,)
    fitted = ProbeSweep(estimator=AttentionPooled(positions=24), permutations=99, resamples=100, control_context=3).fit(seen)
    row = fitted.score(held).to_frame().iloc[0]
    assert row["accuracy"] > 0.95 and row["p_value"] == 0.01 and row["samples"] == 200
    probe = fitted.probe(HOOK, "kind")
    looked = probe.attention(held.features(HOOK))  # type: ignore[attr-defined]
    assert float((looked.argmax(1) == at).double().mean()) > 0.95
    torch.testing.assert_close(looked.sum(1), torch.ones(200))
    means = (train.activation(HOOK).mean(1), test.activation(HOOK).mean(1))
    mean = Logistic().fit_many(means[0], {"kind": seen.label("kind")}, torch.arange(300))["kind"]
    assert float((mean.predict(means[1]) == held.label("kind")).double().mean()) < 0.75


def test_positions_that_a_sequence_lacks_are_not_looked_at() -> None:
    capture, _ = needles(40, 3, positions=8)
    table = torch.arange(8).expand(40, -1).clone()
    short = torch.arange(40) % 2 == 0
    table[short, 5:] = -1
    x = capture.activation(HOOK).clone()
    x[short, 5:] = torch.nan
    ragged = Capture({HOOK: x}, capture.labels, capture.tokens, capture.groups, table)
    pooled = ragged.pooled()
    assert pooled.sample_positions.tolist() == [4 if one else 7 for one in short]
    probe = AttentionPooled(positions=8).fit_many(pooled.features(HOOK), {"kind": pooled.label("kind")}, pooled.sample_groups)[
        "kind"
    ]
    looked = probe.attention(pooled.features(HOOK))  # type: ignore[attr-defined]
    assert (looked[short, 5:] == 0).all() and (looked[~short, 5:] > 0).any()
    cut = pooled.features(HOOK)[short].view(-1, 8, 6).clone()
    cut[:, 5:] = 0
    torch.testing.assert_close(probe.log_probabilities(cut.flatten(1)), probe.log_probabilities(pooled.features(HOOK)[short]))
    x[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        Capture({HOOK: x}, capture.labels, capture.tokens, capture.groups, table).pooled().features(HOOK)
    with pytest.raises(CannotFitError, match="not those of 7 positions"):
        AttentionPooled(positions=7).fit_many(pooled.features(HOOK), {"kind": pooled.label("kind")}, torch.arange(40))


def stored(samples: int, seed: int, spread: bool, keys: int = 12, values: int = 10) -> tuple[Tensor, Tensor]:
    """States in noise, in which a class changes what is stored under one key; or, spread, a random whole matrix."""
    fixed, own = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    key = torch.nn.functional.normalize(torch.randn(keys, generator=fixed, dtype=torch.float64), dim=0)
    value = torch.nn.functional.normalize(torch.randn(values, generator=fixed, dtype=torch.float64), dim=0)
    whole = torch.randn(keys, values, generator=fixed, dtype=torch.float64)
    label = torch.randint(0, 2, (samples,), generator=own)
    pattern = whole / whole.norm() if spread else torch.outer(key, value)
    noise = torch.randn(samples, keys, values, generator=own, dtype=torch.float64)
    return (noise + 3.5 * (label[:, None, None] - 0.5) * pattern).flatten(1) + 2, label


def accuracy(estimator: object, spread: bool) -> float:
    (x, y), (test, truth) = stored(80, 1, spread), stored(1000, 2, spread)
    probe = estimator.fit_many(x, {"y": y}, torch.arange(80))["y"]  # type: ignore[attr-defined]
    return float((probe.predict(test) == truth).double().mean())


def test_what_is_stored_under_a_key_is_read_from_few_samples_and_what_is_spread_is_not() -> None:
    bilinear, linear = BilinearState(value_size=10), Logistic()
    assert accuracy(bilinear, False) > accuracy(linear, False) + 0.03
    assert accuracy(linear, True) > accuracy(bilinear, True) + 0.03
    x, y = stored(80, 1, False)
    probe = bilinear.fit_many(x, {"y": y}, torch.arange(80))["y"]
    assert probe.parameters == 2 * (12 + 10 + 1)  # type: ignore[attr-defined]


def test_the_fit_is_a_minimum_of_what_it_says() -> None:
    x, y = stored(80, 1, False)
    estimator = BilinearState(value_size=10, rank=2, penalties=(0.05,), iterations=2000)
    probe = estimator.fit_many(x, {"y": y}, torch.arange(80))["y"]
    states = (x.view(-1, 12, 10) - x.view(-1, 12, 10).mean(0)) / (x - x.mean(0)).square().mean().sqrt()
    parameters = [value.clone().requires_grad_() for value in (probe.keys, probe.values, probe.intercepts)]  # type: ignore[attr-defined]
    keys, values = (part[:, :, 0] for part in parameters[:2])
    logits = sum(torch.einsum("ck,nkv,cv->nc", keys[:, r], states, values[:, r]) for r in range(2)) + parameters[2]
    torch.testing.assert_close(logits.log_softmax(1), probe.log_probabilities(x))
    squares = sum(value.square().sum() for value in parameters[:2])
    (torch.nn.functional.cross_entropy(logits, y) + 0.05 / 2 * squares).backward()
    assert max(float(value.grad.abs().max()) for value in parameters) < 1e-4  # type: ignore[union-attr]


def test_states_of_another_size_nan_and_one_number_are_refused_or_read() -> None:
    x, y = stored(80, 1, False)
    with pytest.raises(CannotFitError, match="no states of 1 heads with 7 value channels"):
        BilinearState(value_size=7).fit_many(x, {"y": y}, torch.arange(80))
    with pytest.raises(CannotFitError, match="rank 11 or"):
        BilinearState(value_size=10, rank=11).fit_many(x, {"y": y}, torch.arange(80))
    with pytest.raises(ValueError, match="must be finite"):
        BilinearState(value_size=10).fit_many(torch.where(x > 4, torch.nan, x), {"y": y}, torch.arange(80))
    constant = BilinearState(value_size=10).fit_many(torch.ones(80, 120), {"y": y}, torch.arange(80))["y"]
    assert constant.predict(torch.ones(80, 120)).unique().numel() == 1


def test_a_descent_ends_where_the_gradient_does() -> None:
    target = torch.tensor([3.0, -2.0], dtype=torch.float64)
    with torch.no_grad():
        loss = lambda x: ((x - target) ** 4).sum() + (x - target).square().sum()  # noqa: E731
        [found] = descend([torch.zeros(2, dtype=torch.float64)], loss, 100, 1e-9)
    torch.testing.assert_close(found, target)


def of_heads(samples: int, seed: int, classes: int, side: str) -> tuple[Tensor, Tensor]:
    """States [n, 2, 8, 6]: each head has a key (or value) that all classes share, beside which each has its own other side."""
    fixed, own = torch.Generator().manual_seed(3), torch.Generator().manual_seed(seed)
    keys, values = (2, 8) if side == "key" else (classes, 2, 8), (2, 6) if side == "value" else (classes, 2, 6)
    u, v = (
        torch.nn.functional.normalize(torch.randn(shape, generator=fixed, dtype=torch.float64), dim=-1)
        for shape in (keys, values)
    )
    patterns = torch.einsum("hk,chv->chkv" if side == "key" else "chk,hv->chkv", u, v)
    label = torch.randint(0, classes, (samples,), generator=own)
    noise = torch.randn(samples, 2, 8, 6, generator=own, dtype=torch.float64)
    return (noise + 3.0 * patterns[label]).flatten(1), label


@pytest.mark.parametrize("side", ["key", "value"])
def test_classes_that_share_a_side_are_told_apart_with_fewer_parameters(side: str) -> None:
    """Each head has another key, so that one set of values for all heads' keys together does not do."""
    (x, y), (test, truth) = of_heads(150, 1, 5, side), of_heads(1000, 2, 5, side)
    right, sizes = {}, {}
    settings = {
        "shared": {"heads": 2, "shared": f"{side}s"},
        "own": {"heads": 2},
        "other": {"heads": 2, "shared": "values" if side == "key" else "keys"},
    }
    for name, own in settings.items():
        probe = BilinearState(value_size=6, penalties=(1e-2,), **own).fit_many(x, {"y": y}, torch.arange(150))["y"]  # type: ignore[arg-type]
        right[name], sizes[name] = float((probe.predict(test) == truth).double().mean()), probe.parameters
    linear = Logistic().fit_many(x, {"y": y}, torch.arange(150))["y"]
    assert sizes["shared"] == 2 * (8 + 5 * 6) + 5 if side == "key" else 2 * (5 * 8 + 6) + 5
    assert sizes["shared"] < sizes["own"] == 5 * 2 * (8 + 6) + 5 < linear.parameters == 5 * 97
    assert right["shared"] > right["other"] + 0.1 and right["shared"] > 0.75, right
    assert right["shared"] >= max(right["own"], float((linear.predict(test) == truth).double().mean())) - 0.02, right


def test_each_head_is_probed_by_itself_and_read_under_a_key() -> None:
    x, y = of_heads(60, 1, 3, "key")
    states = x.view(60, 1, 2, 8, 6)
    capture = Capture({"blocks.0.attn.hook_state": states}, {"y": y[:, None]}, torch.zeros(60, 1).long(), torch.arange(60), (0,))
    heads = capture.by_head("blocks.0.attn.hook_state")
    assert heads.hooks == ["blocks.0.attn.hook_state[0]", "blocks.0.attn.hook_state[1]"]
    table = ProbeSweep(estimator="ridge", permutations=0, resamples=10).cross_validate(heads).to_frame()
    assert table["site"].tolist() == ["state[0]", "state[1]"] and (table["features"] == 48).all() and (table["layer"] == 0).all()
    key = torch.randn(2, 8, dtype=torch.float64)
    read = capture.read_outs("blocks.0.attn.hook_state", key).activation("blocks.0.attn.hook_state")
    torch.testing.assert_close(read[:, 0, 1], states[:, 0, 1].mT @ key[1])
    torch.testing.assert_close(
        capture.read_outs("blocks.0.attn.hook_state", key[0]).activation("blocks.0.attn.hook_state")[:, 0, 1],
        states[:, 0, 1].mT @ key[0],
    )
    for wrong in (key[:, :5], key[:1].repeat(3, 1)):
        with pytest.raises(ValueError, match="do not read a state"):
            capture.read_outs("blocks.0.attn.hook_state", wrong)
    with pytest.raises(ValueError, match="no axis of heads"):
        Capture({"h": x[:, None]}, {}, torch.zeros(60, 1).long(), torch.arange(60), (0,)).by_head("h")


def test_a_sweep_says_how_many_parameters_and_samples_a_probe_had() -> None:
    x, y = of_heads(60, 1, 3, "key")
    capture = Capture({"s": x.view(60, 1, 96)}, {"y": y[:, None]}, torch.arange(60)[:, None] % 5, torch.arange(60), (0,))
    table = ProbeSweep(
        estimator=BilinearState(value_size=6, heads=2, shared="keys", penalties=(1e-2,)), permutations=0, resamples=10
    )
    row = table.fit(capture).score(capture, same_groups=True).to_frame().iloc[0]
    assert row["parameters"] == 2 * (8 + 3 * 6) + 3 and row["fitted_samples"] == 60 and row["features"] == 96


def test_a_sequence_without_any_position_is_known_by_the_intercepts_alone() -> None:
    x, labels = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    x[7] = 0  # what `pooled` makes of a sequence of which nothing was captured
    probe = AttentionPooled(positions=2, penalties=(1e-2,)).fit_many(x, {"kind": labels}, torch.arange(40))["kind"]
    assert bool(probe.weights.isfinite().all())  # type: ignore[attr-defined]
    torch.testing.assert_close(probe.scores(x)[7], probe.intercepts)  # type: ignore[attr-defined]


def test_states_may_lie_in_memory_as_they_like_and_are_real() -> None:
    x, labels = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)).double(), torch.arange(60) % 2
    estimator = BilinearState(value_size=2, heads=2, penalties=(1e-2,))
    turned = x.T.contiguous().T
    found, straight = (estimator.fit_many(own, {"kind": labels}, torch.arange(60))["kind"] for own in (turned, x))
    torch.testing.assert_close(found.scores(turned), straight.scores(x), atol=1e-2, rtol=0)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="side by side"):
        estimator.fit_many(torch.complex(x, x), {"kind": labels}, torch.arange(60))
