"""P001: DeltaNet and its chunkwise form."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....kernels.delta_rule import delta_rule
from ....kernels.linear_attention import linear_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most

SIZE = 32


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    tokens = 200
    keys, values = normalize(draw(2, tokens, 2, SIZE), dim=-1), draw(2, tokens, 2, SIZE)
    inputs = (draw(2, tokens, 2, SIZE), keys, values, draw(2, tokens, 2).sigmoid())
    found = Findings()
    for chunk in (16, 32, 64, 128):
        found.numbers[f"chunk {chunk}: relative error in float32"] = agreement(delta_rule, inputs, chunk=chunk)
    basis = torch.linalg.qr(draw(SIZE, SIZE))[0]
    written, overwriting = draw(SIZE, SIZE), draw(SIZE, SIZE)
    for name, recall in (("delta rule", _recall_delta), ("linear attention", _recall_linear)):
        found.numbers[f"{name}: recall error of {SIZE} orthonormal pairs"] = recall(basis, basis, written)
        twice = torch.cat([written, overwriting])
        found.numbers[f"{name}: recall error after overwriting them"] = recall(torch.cat([basis, basis]), basis, twice)
        pairs = (4, 8, 16, 24, 32, 48, 64)
        keys = normalize(draw(max(pairs), SIZE), dim=-1)
        content = draw(max(pairs), SIZE)
        errors = [recall(keys[:n], keys[:n], content[:n]) for n in pairs]
        found.curves["recall of random pairs", name] = (pairs, errors)
    return found


def _recall(call: object, keys: Tensor, asked: Tensor, values: Tensor) -> float:
    """|S^T k - v| / |v| over the asked keys, v being the last value stored under each."""
    batch = [x[None, :, None] for x in (keys, keys, values)]
    state = call(*batch).final_state[0, 0]  # type: ignore[operator]
    wanted = values[-len(asked) :]
    return float((asked @ state - wanted).norm() / wanted.norm())


def _recall_delta(keys: Tensor, asked: Tensor, values: Tensor) -> float:
    ones = keys.new_ones(1, len(keys), 1)
    return _recall(lambda q, k, v: delta_rule(q, k, v, ones), keys, asked, values)


_recall_linear = partial(_recall, linear_attention)


class DeltaRule(Claim, kind="p001-forms"):
    """The equations."""

    paper, scope = "P001", Scope.IDENTITY
    statement = (
        "The chunkwise form is the recurrence at any chunk size. With orthonormal keys and beta = 1 a state "
        "recalls as many pairs as it has key channels, overwritten ones too, exactly; linear attention adds the "
        "old value to the new."
    )
    measurements = (
        *(at_most(f"chunk {chunk}: relative error in float32", 1e-4) for chunk in (16, 32, 64, 128)),
        at_most(f"delta rule: recall error of {SIZE} orthonormal pairs", 1e-12),
        at_most("delta rule: recall error after overwriting them", 1e-12),
        at_most(f"linear attention: recall error of {SIZE} orthonormal pairs", 1e-12),
        at_least("linear attention: recall error after overwriting them", 0.5),
    )
    panels = (Axes("recall of random pairs", "pairs stored", f"relative error, {SIZE} x {SIZE} state"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
