"""P097: a signal taken out of what a layer writes, in its weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ....probe.erasure.weight_projection import project_module, project_weights
from ....probe.mixers import DeltaNet
from ....probe.runs.run import Run
from ....probe.subspaces.subspace import Subspace
from ....probe.subspaces.subspace_finders import PartialLeastSquares
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, small_model
from ..measurement import Scope, at_least, at_most

HOOK, SIZE, INPUTS, SAMPLES, RANKS = "blocks.0.hook_mlp_out", 24, 40, 2000, (1, 2, 4, 8)

HOOKS = "logits of the projected model against hooks that ablate the subspace"
TWICE = "projecting twice against once"
LEFT = "what the projected weights write in the subspace"
SLOPE = "slope of a read-out on the signal after the projection, over that before"
RANDOM = "the same after a random projection of the same rank"
OTHER = "error of a read-out of what has nothing to do with the signal, over its variance"
BY_RANK = Axes("signal taken out of a layer's weights", "dimensions", "share of the slope left")


class Projection(Claim, kind="p097-weight-projection"):
    """A layer of a model is projected, and a linear layer that writes a signal beside other things."""

    paper, scope = "P097", Scope.CONSTRUCTION
    statement = (
        "W <- (I - P) W does what ablating the subspace does in every run, and with the directions of what a layer writes "
        "that go with a signal, found by partial least squares, takes the signal out and leaves the rest."
    )
    measurements = (
        at_most(HOOKS, 1e-10),
        at_most(TWICE, 1e-12),
        at_most(LEFT, 1e-10),
        at_most(SLOPE, 0.1, "ratio"),
        at_least(RANDOM, 0.7, "ratio"),
        at_most(OTHER, 0.02, "share of variance"),
    )
    panels = (BY_RANK,)
    note = "The signal is planted; a language model with a learned bias, and causal tracing of its layers, are not measured."

    def experiment(self, seed: int, run: Run) -> Findings:
        draw, found = seeded(seed), Findings()
        model, tokens = small_model(DeltaNet(heads=2), seed, layers=2), drawn_tokens(seed, 10)
        span = Subspace(torch.linalg.qr(draw(16, 2)).Q, HOOK, "drawn")
        with torch.no_grad():
            edited = project_weights(model, [span])
            hooked = model.run_with_hooks(tokens, fwd_hooks=[span.ablate()])
            found.numbers[HOOKS] = difference(edited(tokens), hooked)
            found.numbers[TWICE] = difference(project_weights(edited, [span])(tokens), edited(tokens))
        weight = edited.writer(HOOK).weight.detach()
        found.numbers[LEFT] = float((span.basis.mT @ weight).norm() / weight.norm())
        planted = _planted(seed)
        slopes = {rank: _slope(*planted, rank, random=False, seed=seed)[0] for rank in RANKS}
        found.numbers[SLOPE], found.numbers[OTHER] = _slope(*planted, 1, random=False, seed=seed)
        found.numbers[RANDOM] = _slope(*planted, 1, random=True, seed=seed)[0]
        found.curves[BY_RANK.title, "partial least squares"] = (RANKS, list(slopes.values()))
        return found


def _planted(seed: int) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A linear layer, inputs [N, inputs], of which the first holds a signal, and two orthogonal read-outs of what it writes."""
    draw = seeded(100 + seed)
    axes = torch.linalg.qr(draw(SIZE, SIZE)).Q
    layer = nn.Linear(INPUTS, SIZE, bias=False).double()
    x = draw(SAMPLES, INPUTS)
    with torch.no_grad():
        others = axes[:, 1:] @ draw(SIZE - 1, INPUTS) / INPUTS**0.5
        others[:, 0] = 0
        others[:, 0] += 2 * axes[:, 0]
        layer.weight.copy_(others)
    return layer, x, axes[:, 0] + 0.3 * axes[:, 1], axes[:, 2]


def _slope(
    layer: nn.Linear, x: Tensor, read: Tensor, other: Tensor, rank: int, *, random: bool, seed: int
) -> tuple[float, float]:
    """The slope of a read-out on the signal after a projection found on the first half, over that before, on the second; and the
    error of the other read-out, over its variance.
    """
    half, signal = SAMPLES // 2, x[:, 0]
    with torch.no_grad():
        before = layer(x)
        span = PartialLeastSquares(rank=rank).fit(before[:half], signal[:half], hook="layer", name="signal")
        if random:
            span = Subspace.random(span, torch.Generator().manual_seed(seed))
        edited = copy.deepcopy(layer)
        project_module(edited, span)
        after = edited(x)
        slopes = [((own[half:] @ read) * signal[half:]).mean() for own in (after, before)]
        moved, truth = (after - before)[half:] @ other, before[half:] @ other
        return float((slopes[0] / slopes[1]).abs()), float(moved.square().mean() / truth.var())
