"""P117: gated slot attention."""

from __future__ import annotations

import torch
from torch import Tensor

from ....kernels.gated_slot_attention import gated_slot_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_least, at_most, equals

TOKENS, SIZE, SLOTS = 150, 16, 8


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k, v = draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, SIZE), draw(2, TOKENS, 2, SIZE)
    log_decay = draw(2, TOKENS, 2, SLOTS).sigmoid().log() / 4
    write = -torch.expm1(log_decay)
    found = Findings()
    outputs, weights, memories = _slot_recurrence(q, k, v, write, log_decay)
    two_pass = gated_slot_attention(*(x.float() for x in (q, k, v, write, log_decay)))
    found.numbers["two passes in float32 against the slot recurrence"] = difference(two_pass.output, outputs)
    mixed = torch.einsum("bthm,bthmv->bthv", two_pass.slots.double(), memories)
    found.numbers["output minus the mean of slot values under its slot weights"] = difference(two_pass.output, mixed)
    found.numbers["least slot weight"] = float(two_pass.slots.min())
    found.numbers["sum of slot weights, largest distance from 1"] = float((two_pass.slots.double().sum(-1) - 1).abs().max())
    found.numbers["slot weights against the recurrence's"] = difference(two_pass.slots, weights)
    for length in (50, TOKENS):
        short = gated_slot_attention(*(x[:, :length] for x in (q, k, v, write, log_decay)))
        size = (short.final_keys.numel() + short.final_values.numel()) / 4  # 2 sequences x 2 heads
        found.numbers[f"numbers in the state after {length} tokens"] = size
    panel = "slot weights along a sequence"
    for slot in range(SLOTS):
        found.curves[panel, f"slot {slot}"] = (list(range(TOKENS)), two_pass.slots[0, :, 0, slot].tolist())
    return found


def _slot_recurrence(q: Tensor, k: Tensor, v: Tensor, write: Tensor, log_decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The definition, slot by slot: outputs, slot weights, and the value memories [B, T, H, M, V]."""
    keys = k.new_zeros(k.shape[0], k.shape[2], write.shape[-1], k.shape[-1])
    values = torch.zeros_like(keys)
    outputs, weights, memories = [], [], []
    for t in range(k.shape[1]):
        kept, share = log_decay[:, t, :, :, None].exp(), write[:, t, :, :, None]
        keys = kept * keys + share * k[:, t, :, None]
        values = kept * values + share * v[:, t, :, None]
        weights.append((keys @ q[:, t, :, :, None])[..., 0].softmax(-1))
        outputs.append((weights[-1][..., None] * values).sum(-2))
        memories.append(values)
    return torch.stack(outputs, 1), torch.stack(weights, 1), torch.stack(memories, 1)


class TwoPasses(Claim, kind="p117-two-passes"):
    """The equations."""

    paper, scope = "P117", Scope.IDENTITY
    statement = (
        "Two passes of gated linear attention are the slot recurrence; an output lies in the convex hull of the "
        "slots' values; the state has 2 M d numbers whatever the length."
    )
    measurements = (
        at_most("two passes in float32 against the slot recurrence", 1e-5),
        at_most("slot weights against the recurrence's", 1e-5),
        at_most("output minus the mean of slot values under its slot weights", 1e-5),
        at_least("least slot weight", 0.0),
        at_most("sum of slot weights, largest distance from 1", 1e-6),
        equals("numbers in the state after 50 tokens", 2 * SLOTS * SIZE),
        equals(f"numbers in the state after {TOKENS} tokens", 2 * SLOTS * SIZE),
    )
    panels = (Axes("slot weights along a sequence", "token", "weight of the slot"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
