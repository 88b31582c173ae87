"""What the tables of mixers and checkpoints name, done once with a model: each runs, or says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from statescope import Edit, ProbeSweep, capture, empirical_ntk, patch_states, state_trajectory, transition_spectrum
from statescope.probe.errors import UnknownNameError
from statescope.probe.hooks.methods import METHODS, can
from statescope.probe.hooks.points import Point


def tap_and_edit(model: Any, tokens: Tensor) -> None:
    name = "blocks.0.attn.hook_state"
    with torch.no_grad():
        plain, cache = model.run_with_cache(tokens, names_filter=name, taps=[1, 4])
        edited = model.run_with_edits(tokens, {name: [Edit(4, "scale", torch.tensor(0.0))]})
    assert cache[name].shape[:2] == (len(tokens), 2)
    torch.testing.assert_close(edited[:, :5], plain[:, :5], rtol=1e-4, atol=1e-5)
    assert (edited[:, 5:] - plain[:, 5:]).abs().max() > 0


def patch(model: Any, tokens: Tensor) -> None:
    result = patch_states(model, tokens[:1], tokens[1:2], lambda logits: logits[:, -1, 3], [2])
    assert result.effect.isfinite().all()


def follow(model: Any, tokens: Tensor) -> None:
    texts = [str(int(token)) for token in tokens[0]]
    assert len(state_trajectory(model, tokens[0], texts=texts, labels=tokens[0] % 2, label="odd").table)


def generate(model: Any, tokens: Tensor) -> None:
    made = model.generate(tokens, 1)
    with torch.no_grad():
        assert torch.equal(made, torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1))


def mix(model: Any, tokens: Tensor) -> None:
    shown = [name for name in model.hook_dict if name in ("blocks.0.attn.hook_effective_attention", "blocks.0.attn.hook_pattern")]
    _, cache = model.run_with_cache(tokens, names_filter=shown or "blocks.0.attn.hook_effective_attention")
    assert cache[shown[0]].shape[2:4] == (tokens.shape[1],) * 2


def probe(model: Any, tokens: Tensor) -> None:
    rows = torch.randint(0, 5, (24, 4), generator=torch.Generator().manual_seed(3))
    labels = {"odd": (rows[:, -1] % 2).tolist()}
    kept = capture(model, rows, ["blocks.0.hook_resid_post"], positions="last", labels=labels, groups=range(24))
    assert 0 <= ProbeSweep().cross_validate(kept, labels=["odd"]).table["accuracy"].iloc[0] <= 1


def tangent(model: Any, tokens: Tensor) -> None:
    kernel = empirical_ntk(model, tokens[:, :3], read=lambda logits: logits[:, -1, :1])
    assert float(torch.linalg.eigvalsh(kernel)[-1]) > 0


DO: dict[str, Callable[[Any, Tensor], object]] = {
    "taps and edits": tap_and_edit,
    "patching": patch,
    "trajectories": follow,
    "spectra": transition_spectrum,
    "mixing matrix": mix,
    "generation": generate,
    "tangent kernel": tangent,
    "probes": probe,
}
assert list(DO) == list(METHODS)


def check_methods(model: Any, tokens: Tensor, points: Iterable[Point]) -> None:
    """What a table says of these hooks is so for a model all of whose layers have them, or the first."""
    shown = list(points)
    for method, do in DO.items():
        if can(method, shown):
            do(model, tokens)
        else:
            with pytest.raises((ValueError, UnknownNameError)):
                do(model, tokens)
