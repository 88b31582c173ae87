"""Every analysis of a model on every mixer, and on one loaded model of each adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_analysis import (
    OF_STATES,
    OF_TRANSITIONS,
    check_analyses,
    check_behaviour,
    check_directions,
    check_operators,
    shown,
)
from every_method import check_methods
from every_mixer import MIXERS, label
from foreign_models import FOREIGN, OF_SOFTMAX
from torch import Tensor

from statescope import Model, ModelConfig, empirical_ntk, load, state_trajectory, transition_spectrum
from statescope.analyses.behaviour.accuracy_by_length import accuracy_by_length
from statescope.analyses.behaviour.error_by_position import error_by_position
from statescope.analyses.behaviour.training_curve import held_out_cost
from statescope.probe.loaders.foreign import adapters
from statescope.probe.models.hooked import HookedModel
from statescope.probe.tasks import InContextRegression, Parity, generator_for

VOCABULARY = 31
OF_EACH_ADAPTER = ("qwen3_next", "kimi_linear", "mamba", "mamba2", "recurrent_gemma", "minimax", "rwkv", "xlstm")
EXPERTS = ("kimi_linear", "minimax")  # whose mixtures of experts transformers runs by a product without float64
NAMES = [*map(label, MIXERS), *OF_EACH_ADAPTER]


def make(mixer: Any) -> Callable[[], HookedModel]:
    return lambda: Model(ModelConfig(vocabulary=VOCABULARY, width=12, layers=2, mixer=mixer)).eval()


MAKE = dict(zip(NAMES, [*map(make, MIXERS), *((lambda own=FOREIGN[name]: load(own())) for name in OF_EACH_ADAPTER)], strict=True))


def tokens_of(*shape: int) -> Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(1))


def test_each_adapter_of_transformers_is_here() -> None:
    """Those of flash-linear-attention need the library's interpreter to make a model, and have tests of their own."""
    made: list[Any] = [load(FOREIGN[name]()) for name in OF_EACH_ADAPTER]
    here = {type(model.mixer(layer).module).__name__ for model in made for layer in range(model.layers)}
    for adapter in adapters():
        if adapter.package == "transformers" and adapter.recurrence is not None:
            assert here & set(adapter.modules), adapter.title


@pytest.mark.parametrize("name", NAMES)
def test_the_spectrum_is_that_of_the_dense_transitions(name: str) -> None:
    """In both parts: complex eigenvalues, of complex transitions too."""
    model, tokens = MAKE[name](), tokens_of(2, 5)
    found = shown(model, tokens, "hook_transition")
    if not found:
        with pytest.raises(ValueError, match="no layer of this model has a linear transition"):
            transition_spectrum(model, tokens)
        return
    result = transition_spectrum(model, tokens)
    for layer, transition in found.items():
        heads = transition.shape[2]
        for head in {0, heads - 1}:
            own = result.select(layer=layer, head=head, sequence=1, position=3).table
            values = np.repeat(own["real"] + 1j * own["imaginary"], own["multiplicity"])
            exact = np.linalg.eigvals(transition.dense()[1, 3, head].numpy().astype(np.complex128))
            assert len(values) == len(exact)
            gap = np.abs(np.asarray(values)[:, None] - exact[None]).min(0).max()
            assert gap < 1e-4 * max(1.0, np.abs(exact).max())
            assert np.isclose(values.sum(), exact.sum(), atol=1e-4)
    assert result.summary() and result.specification().panels


@pytest.mark.parametrize("name", NAMES)
def test_the_trajectory_is_that_of_the_states(name: str) -> None:
    model, tokens = MAKE[name](), tokens_of(6)
    found = (
        shown(model, tokens[None], "hook_state", taps=list(range(6))) if any(map(model.has_state, range(model.layers))) else {}
    )
    known = {"texts": list("abcdef"), "labels": tokens % 2, "label": "odd"}
    if not found:
        with pytest.raises(ValueError, match="no layer of this model has a state"):
            state_trajectory(model, tokens, **known)
        return
    result = state_trajectory(model, tokens, **known)
    for layer, states in found.items():
        own = result.select(layer=layer, head=0).table.sort_values("position")
        state = states[0, :, 0].flatten(1).numpy()
        np.testing.assert_allclose(own["norm"], np.linalg.norm(state, axis=1), rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(own["change"].iloc[1:], np.linalg.norm(np.diff(state, axis=0), axis=1), rtol=1e-4, atol=1e-6)
        # The three axes hold the share of the variance that they are said to; of both parts where the state is complex.
        centred = state - state.mean(0)
        parts = np.concatenate([centred.real, centred.imag], axis=1) if np.iscomplexobj(centred) else centred
        total = float((np.abs(centred) ** 2).sum())
        share = float((np.linalg.svd(parts, compute_uv=False)[:3] ** 2).sum()) / max(total, 1e-30)
        place = f"model, layer {layer}, head 0"
        assert result.about["explained"][place] == pytest.approx(share, rel=1e-4)
        np.testing.assert_allclose((own[["axis_1", "axis_2", "axis_3"]] ** 2).sum().sum(), share * total, rtol=1e-3)
        assert (place in result.about["complex"]) == np.iscomplexobj(state)
    assert result.summary() and result.specification().panels


@pytest.mark.parametrize("name", OF_EACH_ADAPTER)
def test_every_analysis_takes_a_loaded_model(name: str) -> None:
    model: Any = MAKE[name]()
    if name in EXPERTS:
        with pytest.raises(ValueError, match=r"does not run in float64.*set_experts_implementation"):
            empirical_ntk(model, tokens_of(2, 4))
        model.foreign.set_experts_implementation("eager")
    check_analyses(model, tokens_of(2, 6))
    check_behaviour(model)
    check_directions(model, VOCABULARY)
    check_operators(model, tokens_of(2, 4))
    check_methods(model, tokens_of(2, 6), model.mixer(0).points)


def test_softmax_checkpoints_have_what_needs_no_state() -> None:
    model: Any = load(OF_SOFTMAX["llama"]())
    for analyses, what in ((OF_TRANSITIONS, "linear transition"), (OF_STATES, "state")):
        for analyse in analyses.values():
            with pytest.raises(ValueError, match=f"no layer of this model has a {what}"):
                analyse(model, tokens_of(2, 6))
    check_directions(model, VOCABULARY)
    check_operators(model, tokens_of(2, 4))
    check_methods(model, tokens_of(2, 6), model.mixer(0).points)


def test_a_loaded_model_reads_no_numbers() -> None:
    with pytest.raises(ValueError, match=r"tokens must be whole numbers \[batch, position\], got \(4, 8, 6\)"):
        error_by_position({"m": MAKE["mamba2"]()}, InContextRegression(dimension=5), 8, sequences=4, seed=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_EACH_ADAPTER])
def test_the_table_of_mixers_says_what_each_takes(name: str) -> None:
    model: Any = MAKE[name]()
    check_methods(model, tokens_of(2, 6), model.mixer(0).points)
    check_operators(model, tokens_of(2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_says_is_measured(name: str) -> None:
    """Accuracy and cost against a loop over the logits."""
    model = MAKE[name]()
    batch = Parity().batch(3, 8, "test", generator_for(0, 8))
    logits = model(batch.tokens).detach().double()
    pairs = [zip(row, targets, strict=True) for row, targets in zip(logits, batch.targets, strict=True)]
    right = [[int(one.argmax()) == int(target) for one, target in pair] for pair in pairs]
    result = accuracy_by_length({"m": model}, Parity(), [8], sequences=3, seed=0)
    assert result.value("accuracy", model="m", length=8) == pytest.approx(np.mean(right))
    assert result.table["last"].iloc[0] == pytest.approx(np.mean([row[-1] for row in right]))
    cost = held_out_cost({"m": model}, batch, seed=0).table["bits"].iloc[0]
    each = logits.log_softmax(-1).gather(2, batch.targets[..., None])
    assert cost == pytest.approx(-float(each.mean()) / np.log(2), rel=1e-5)


def test_the_pages_of_mixers_and_checkpoints_are_of_the_registry() -> None:
    from statescope.probe.loaders.table import checkpoint_page
    from statescope.probe.mixers.table import mixer_page

    for name, room, page in (("checkpoints", "loaders", checkpoint_page()), ("mixers", "mixers", mixer_page())):
        kept = (Path(__file__).parents[2] / "docs" / f"{name}.md").read_text()
        assert kept == page + "\n", f"python -m statescope.probe.{room}.table > docs/{name}.md"
