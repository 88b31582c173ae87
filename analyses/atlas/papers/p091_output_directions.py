"""P091: directions of an activation that move the output, without labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....probe.mixers import DeltaNet
from ....probe.models.model import Model
from ....probe.runs.run import Run
from ....probe.subspaces.jacobians import Jacobians, activation_jacobians
from ....probe.subspaces.subspace import Subspace
from ....probe.subspaces.subspace_finders import PrincipalComponents
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, logits_after_step, small_model
from ..measurement import Scope, at_least, at_most

HOOK, AT, BATCH, RANK, STEP = "blocks.0.hook_resid_post", 2, 12, 4, 1e-5

MOVED = "what a small step along a direction does to the logits, against the Jacobian's product with it"
ALONE = "leading direction of one sample: 1 - |cosine| with the singular vector of its Jacobian"
TOGETHER = "directions of all samples: 1 - cosine of the largest angle with the singular vectors of all Jacobians"
FURTHER = "how far the first direction moves the logits, over random directions"
LEFT = "what a direction without the span of another attribute's moves of that attribute, over what it did before"
FACTORS = "least cosine of planted factors with the leading principal components"
GAINS = Axes("how far a small step moves the logits", "direction", "gain", y_log=True)


class Directions(Claim, kind="p091-output-directions"):
    """The stream behind the first of two layers, and the logits at the last token."""

    paper, scope = "P091", Scope.IDENTITY
    statement = (
        "The singular vectors of the Jacobians are the directions of an activation that move the output furthest, a step "
        "along them does what the Jacobian says, what moves another attribute can be taken out of them, and principal "
        "components find planted factors."
    )
    measurements = (
        at_most(MOVED, 1e-6),
        at_most(ALONE, 1e-6, "1 - cosine"),
        at_most(TOGETHER, 1e-6, "1 - cosine"),
        at_least(FURTHER, 1.5, "ratio"),
        at_most(LEFT, 1e-6, "ratio"),
        at_least(FACTORS, 0.95, "cosine"),
    )
    panels = (GAINS,)
    note = "The model is a recurrent one with random weights; the paper's are diffusion models."

    def experiment(self, seed: int, run: Run) -> Findings:
        model, tokens = small_model(DeltaNet(heads=2), seed, layers=2), drawn_tokens(seed, 8, BATCH)
        jacobians = activation_jacobians(model, tokens, HOOK, at=AT)
        directions, found = jacobians.directions(RANK), Findings()
        first = directions.basis[:, 0].double()
        predicted = jacobians.matrices.double() @ first
        ahead, behind = (logits_after_step(model, tokens, HOOK, AT, step) for step in (STEP * first, -STEP * first))
        found.numbers[MOVED] = difference((ahead - behind) / (2 * STEP), predicted)
        one = jacobians.select(torch.tensor([0]))
        right = torch.linalg.svd(one.matrices[0].double())[2][:1].mT
        found.numbers[ALONE] = 1 - float((right.mT @ one.directions(1).basis.double()).abs())
        right = torch.linalg.svd(jacobians.matrices.double().flatten(0, 1), full_matrices=False)[2][:RANK].mT
        found.numbers[TOGETHER] = 1 - float(torch.linalg.svdvals(right.mT @ directions.basis.double()).min())
        drawn = normalize(seeded(seed)(64, len(first)), dim=1)
        gains = (drawn @ jacobians.gram * drawn).sum(1).sqrt()
        found.numbers[FURTHER] = directions.about["gains"][0] / float(gains.mean())
        found.numbers[LEFT] = _untangled(model, tokens)
        found.numbers[FACTORS] = _planted(seed)
        found.curves[GAINS.title, "singular vectors"] = (list(range(RANK)), directions.about["gains"])
        return found


def _untangled(model: Model, tokens: Tensor) -> float:
    """Two attributes are differences of logits. How much a step for the one moves the other, of one sample, once what moves the
    other is taken out of it, over what it did before.
    """
    own, other = (_of_attribute(model, tokens[:1], first) for first in (0, 2))
    step, span = own.directions(1).basis[:, 0].double(), other.directions(1)
    return _moves(other, Subspace(span.basis.double(), HOOK, "other").remove(step[None])[0]) / _moves(other, step)


def _of_attribute(model: Model, tokens: Tensor, first: int) -> Jacobians:
    """The Jacobian of the difference of two logits, which follow each other."""
    return activation_jacobians(
        model, tokens, HOOK, at=AT, output=lambda logits: logits[:, first : first + 1] - logits[:, first + 1 : first + 2]
    )


def _moves(jacobians: Jacobians, step: Tensor) -> float:
    return float((jacobians.matrices.double() @ step).norm())


def _planted(seed: int) -> float:
    """Two factors of different strength in noise, along random directions."""
    draw = seeded(seed)
    axes = torch.linalg.qr(draw(16, 16)).Q[:, :2]
    x = draw(1000, 2) * torch.tensor([4.0, 3.0]) @ axes.mT + 0.5 * draw(1000, 16)
    labels = torch.arange(1000) % 2  # which components do not look at
    span = PrincipalComponents(rank=2).fit(x, labels, hook=HOOK, name="factors")
    return float((axes * span.basis.double()).sum(0).abs().min())
