"""Erasure against its closed form, its theorem, and the package concept-erasure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from statescope import Edit, Model, ModelConfig
from statescope.mixers import DeltaNet
from statescope.probe.erasure.eraser import Eraser, EraserFitter
from statescope.probe.erasure.labelled_erasers import OracleLeace
from statescope.probe.erasure.linear_erasers import Leace, MeanProjection
from statescope.probe.erasure.moments import Moments
from statescope.probe.estimators.logistic import Logistic
from statescope.probe.estimators.ridge import Ridge

FITTERS: list[EraserFitter] = [MeanProjection(), Leace()]
WHERE = {"hook": "blocks.0.hook_resid_post", "name": "concept"}


def drawn(samples: int = 500, features: int = 8, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(features, features, generator=generator, dtype=torch.float64)
    label = torch.randint(0, classes, (samples,), generator=generator)
    moved = 2 * torch.randn(classes, features, generator=generator, dtype=torch.float64)
    return torch.randn(samples, features, generator=generator, dtype=torch.float64) @ mix + moved[label] + 3, label


def covariance(x: Tensor, z: Tensor) -> Tensor:
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def test_leace_is_its_closed_form() -> None:
    x, label = drawn()
    z = torch.nn.functional.one_hot(label).double()
    values, vectors = torch.linalg.eigh(covariance(x, x))
    whiten = vectors @ torch.diag(values**-0.5) @ vectors.T
    across = whiten @ covariance(x, z)
    projector = across @ torch.linalg.pinv(across, rtol=1e-10)
    expected = x - (x - x.mean(0)) @ (torch.linalg.inv(whiten) @ projector @ whiten).T
    erased = Leace().fit(x, label, **WHERE)(x)
    torch.testing.assert_close(erased, expected, atol=1e-10, rtol=0)
    wrong = x - (x - x.mean(0)) @ (whiten @ projector @ torch.linalg.inv(whiten)).T  # whitened on the other side
    assert (erased - wrong).abs().max() > 0.1


def test_both_agree_with_concept_erasure() -> None:
    stored = json.loads((Path(__file__).parent / "oracles" / "leace.json").read_text())
    x, label = torch.tensor(stored["x"], dtype=torch.float64), torch.tensor(stored["z"])
    for fitter, name in ((Leace(), "leace"), (MeanProjection(), "orth")):
        theirs = torch.tensor(stored[name], dtype=torch.float64)
        torch.testing.assert_close(fitter.fit(x, label, **WHERE)(x), theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fitter", FITTERS, ids=lambda fitter: fitter.kind)
def test_after_erasure_no_linear_probe_beats_the_majority(fitter: EraserFitter) -> None:
    x, label = drawn()
    eraser = fitter.fit(x, label, **WHERE)
    erased = eraser(x)
    z = torch.nn.functional.one_hot(label).double()
    assert covariance(erased, z).abs().max() < 1e-12 < 0.1 < covariance(x, z).abs().max()
    assert eraser.rank == 2
    torch.testing.assert_close(eraser(erased), erased)
    torch.testing.assert_close(erased.mean(0), x.mean(0))
    majority = float(label.bincount().max()) / len(label)
    for estimator in (Ridge(penalties=(1e-6,)), Logistic(penalties=(1e-6,), tolerance=1e-8)):
        before, after = (estimator.fit_many(of, {"y": label}, torch.arange(len(x)))["y"].predict(of) for of in (x, erased))
        assert (before == label).double().mean() > majority + 0.3
        assert float((after == label).double().mean()) == majority


def test_leace_moves_activations_less_and_is_the_same_in_any_coordinates() -> None:
    x, label = drawn()
    leace, mean = (fitter.fit(x, label, **WHERE)(x) for fitter in (Leace(), MeanProjection()))
    assert (leace - x).square().sum() < 0.9 * (mean - x).square().sum()
    turn = torch.randn(8, 8, dtype=torch.float64)
    torch.testing.assert_close(Leace().fit(x @ turn, label, **WHERE)(x @ turn), leace @ turn, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(
        Leace().fit(x @ turn, label, **WHERE)(x @ turn) @ torch.linalg.inv(turn), leace, atol=1e-7, rtol=1e-7
    )


def test_batches_leave_what_all_samples_at_once_do() -> None:
    x, label = drawn()
    x = x + 1e6  # where sums of squares would cancel
    z = torch.nn.functional.one_hot(label).double()
    whole, parts = Moments.of(x, z), [Moments.of(x[i::3], z[i::3]) for i in range(3)]
    for sum_ in (parts[0] + parts[1] + parts[2], parts[2] + (parts[0] + parts[1])):
        assert sum_.count == whole.count
        torch.testing.assert_close(sum_.covariance_xx, whole.covariance_xx, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(sum_.covariance_xz, whole.covariance_xz, rtol=1e-8, atol=1e-8)
    streamed = Leace().fit_batches(((x[i::3], label[i::3]) for i in range(3)), label.unique(), **WHERE)
    torch.testing.assert_close(streamed(x), Leace().fit(x, label, **WHERE)(x))


def test_numbers_are_erased_and_samples_without_a_label_left_out() -> None:
    x, _ = drawn()
    value = x[:, 0] - 0.5 * x[:, 4]
    erased = Leace().fit(x, value, **WHERE)(x)
    assert covariance(erased, value[:, None]).abs().max() < 1e-10
    both = torch.stack([value, x[:, 1]], 1)
    assert Leace().fit(x, both, **WHERE).rank == 2
    x, label = drawn()
    holed, broken = label.clone(), x.clone()
    holed[:50], broken[:50] = -100, torch.nan
    torch.testing.assert_close(Leace().fit(broken, holed, **WHERE)(x), Leace().fit(x[50:], label[50:], **WHERE)(x))
    with pytest.raises(ValueError, match="nothing to erase"):
        Leace().fit(x, torch.ones(len(x), dtype=torch.long), **WHERE)
    with pytest.raises(ValueError, match="must be finite"):
        Leace().fit(broken, label, **WHERE)


def test_features_that_do_not_span_their_space_are_erased_within_their_span() -> None:
    x, label = drawn(features=4)
    lifted = x @ torch.randn(4, 9, dtype=torch.float64)
    erased = Leace().fit(lifted, label, **WHERE)(lifted)
    assert covariance(erased, torch.nn.functional.one_hot(label).double()).abs().max() < 1e-10
    assert torch.linalg.matrix_rank(erased - erased.mean(0), rtol=1e-9) == 2


@pytest.mark.parametrize("side", ["key", "value"])
def test_a_side_of_a_state_is_erased_and_the_recurrence_goes_on(side: str) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).double().eval()
    tokens, hook = torch.randint(0, 5, (40, 6)), "blocks.0.attn.hook_state"
    state = model.run_with_cache(tokens, names_filter=hook, taps=[3])[1]["state", 0][:, 0]  # [B, H, K, V]
    vectors = state.transpose(-1, -2) if side == "key" else state
    label = (tokens[:, 3] > 1).long()[:, None, None].expand(vectors.shape[:-1])
    eraser = Leace().fit(vectors.flatten(0, -2), label.flatten(), hook=hook, name="late", side=side)  # type: ignore[arg-type]
    with torch.no_grad():
        changed = model.run_with_hooks(tokens, fwd_hooks=[eraser.ablate()], taps=[3])
        assert (changed - model(tokens))[:, 4:].abs().max() > 1e-4
        torch.testing.assert_close(changed[:, :4], model(tokens)[:, :4])
    erased = eraser(state)
    assert erased.shape == state.shape
    own = (erased.transpose(-1, -2) if side == "key" else erased).flatten(0, -2)
    assert covariance(own, torch.nn.functional.one_hot(label.flatten()).double()).abs().max() < 1e-12
    with pytest.raises(ValueError, match="does not fit an activation"):
        eraser(torch.randn(3, 7, 7))


def test_complex_activations_lose_both_parts() -> None:
    x, label = drawn(features=8)
    z = torch.view_as_complex(x.view(-1, 4, 2))
    eraser = Leace().fit(z, label, **WHERE)
    torch.testing.assert_close(torch.view_as_real(eraser(z)).flatten(1), Leace().fit(x, label, **WHERE)(x))
    torch.testing.assert_close(eraser(z.view(50, 10, 4)), eraser(z).view(50, 10, 4))


@pytest.mark.parametrize("side", ["key", "value"])
def test_an_eraser_is_an_edit_that_propagates_or_is_read_out(side: str) -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=2, mixer=DeltaNet(heads=2))).double().eval()
    tokens, hook = torch.randint(0, 5, (40, 6), generator=torch.Generator().manual_seed(0)), "blocks.0.attn.hook_state"
    state = model.run_with_cache(tokens, names_filter=hook, taps=[3])[1]["state", 0][:, 0]
    vectors = state.transpose(-1, -2) if side == "key" else state
    label = (tokens[:, 3] > 1).long()[:, None, None].expand(vectors.shape[:-1])
    where = {"hook": hook, "name": "late", "side": side}
    eraser = Leace().fit(vectors.flatten(0, -2), label.flatten(), **where)  # type: ignore[arg-type]
    with torch.no_grad():
        plain = model(tokens)
        by_hook = model.run_with_hooks(tokens, fwd_hooks=[eraser.ablate()], taps=[3])
        edited = model.run_with_edits(tokens, {hook: [eraser.edit(model, tokens, 3)]})
        torch.testing.assert_close(edited, by_hook)
        read = model.run_with_edits(tokens, {hook: [eraser.edit(model, tokens, -3, verb="readout")]})
        torch.testing.assert_close(read[:, :3], plain[:, :3])
        assert (read - plain)[:, 3].abs().max() > 1e-4
        z = "blocks.0.attn.hook_z"
        _, seen = model.run_with_cache(tokens, names_filter=z, edits={hook: [eraser.edit(model, tokens, 3, verb="readout")]})
        _, own = model.run_with_cache(tokens, names_filter=z)
        torch.testing.assert_close(seen[z][:, 4:], own[z][:, 4:])  # the state itself stays
        axis = torch.zeros(state.shape[-2 if side == "key" else -1], dtype=torch.float64)
        axis[1] = 1
        through_zero = Eraser(axis[:, None], axis[None], 0 * axis, **where)  # type: ignore[arg-type]
        for verb in ("propagate", "readout"):
            wanted = Edit(3, f"project_out_{side}", axis.expand(1, 1, -1), (1,), verb)  # type: ignore[arg-type]
            expected = model.run_with_edits(tokens, {hook: [wanted]})
            found = model.run_with_edits(tokens, {hook: [through_zero.edit(model, tokens, 3, heads=(1,), verb=verb)]})  # type: ignore[arg-type]
            torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="takes no edits"):
        Eraser(torch.eye(8, 1), torch.eye(1, 8), torch.zeros(8), "blocks.0.hook_resid_post", "c").edit(model, tokens, 3)


def test_an_eraser_that_is_told_the_label_is_an_edit_too() -> None:
    model = Model(ModelConfig(vocabulary=5, width=8, layers=1, mixer=DeltaNet(heads=2))).double().eval()
    tokens, hook = torch.randint(0, 5, (40, 6), generator=torch.Generator().manual_seed(0)), "blocks.0.attn.hook_state"
    state = model.run_with_cache(tokens, names_filter=hook, taps=[3])[1]["state", 0][:, 0]
    labels = (tokens > 1).long()
    spread = labels[:, 3, None, None].expand(state.shape[:-1])
    eraser = OracleLeace().fit(state.flatten(0, -2), spread.flatten(), hook=hook, name="late", side="value")
    with torch.no_grad():
        edit = eraser.edit(model, tokens, labels, 3)
        torch.testing.assert_close(edit.value, eraser(state, labels[:, 3]))
        found = model.run_with_edits(tokens, {hook: [edit]})
        by_hook = model.run_with_hooks(tokens, fwd_hooks=[eraser.ablate(labels[:, [3]])], taps=[3])
        torch.testing.assert_close(found, by_hook)
    assert eraser.rank == 1 and covariance(edit.value.flatten(0, -2), spread.flatten()[:, None].double()).abs().max() < 1e-12
