"""P128: GateLoop."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....kernels.diagonal_scan import diagonal_scan
from ....kernels.fixed_decay import retnet_log_decay
from ....kernels.gate_loop import gate_loop
from ....kernels.linear_attention import linear_attention
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..measurement import Scope, at_most, equals

TOKENS, SIZE = 120, 8
MODULI = (2, 3, 5, 7)
LONG = 4096


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    q, k, v = (draw(2, TOKENS, 2, SIZE) for _ in range(3))
    log_decay, phase = draw(2, TOKENS, 2, SIZE).sigmoid().log() / 4, draw(2, TOKENS, 2, SIZE)
    found = Findings()
    found.numbers["chunked in float32 against the token loop"] = agreement(gate_loop, (q, k, v, log_decay, phase))
    loop = gate_loop(q, k, v, log_decay, phase, implementation="reference").output
    found.numbers["associative scan against the token loop"] = difference(_scan(q, k, v, log_decay, phase), loop)
    found.numbers["surrogate attention against the token loop"] = difference(_surrogate(q, k, v, log_decay, phase), loop)
    fixed = retnet_log_decay(2).expand(2, TOKENS, 2)
    constant = gate_loop(q, k, v, fixed[..., None].expand(q.shape), torch.zeros_like(q)).output
    found.numbers["constant real gate against RetNet"] = difference(constant, linear_attention(q, k, v, fixed).output)
    panel = "distance between the states after n and n + 1 ones"
    for modulus in MODULI:
        bits = torch.randint(0, 2, (1, LONG), generator=torch.Generator().manual_seed(seed))
        found.numbers[f"counting mod {modulus} over {LONG} tokens by phase: share right"] = _count(bits, modulus)
    for name, angle, decay in (("phase 2 pi / 3", 2 * math.pi / 3, 0.0), ("real gate 0.9", 0.0, math.log(0.9))):
        states = _states_of_ones(angle, decay)
        gaps = (states[1:] - states[:-1]).abs()
        found.numbers[f"{name}: least distance of consecutive counts"] = float(gaps.min())
        found.curves[panel, name] = (list(range(1, 200)), gaps[:199].clamp_min(1e-18).tolist())
    return found


def _gate(log_decay: Tensor, phase: Tensor) -> Tensor:
    return torch.polar(log_decay.exp(), phase)


def _scan(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, phase: Tensor) -> Tensor:
    """The state as a vector of K V complex channels."""
    writes = (k[..., :, None] * v[..., None, :]).flatten(-2)
    gates = _gate(log_decay, phase)[..., None].expand(*k.shape, v.shape[-1]).flatten(-2)
    states = diagonal_scan(writes, gates, implementation="chunked").output.unflatten(-1, (k.shape[-1], v.shape[-1]))
    return torch.einsum("bthk,bthkv->bthv", q.to(states.dtype), states).real


def _surrogate(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, phase: Tensor) -> Tensor:
    """Attention with the weights Re sum_k q_ik k_jk prod_{j < l <= i} a_lk."""
    c, angle = log_decay.cumsum(1), phase.cumsum(1)
    between = (c[:, :, None] - c[:, None]).clamp(max=0).exp() * (angle[:, :, None] - angle[:, None]).cos()
    weights = torch.einsum("bihk,bjhk,bijhk->bijh", q, k, between)
    causal = torch.ones(k.shape[1], k.shape[1], dtype=torch.bool).tril()
    return torch.einsum("bijh,bjhv->bihv", weights * causal[None, :, :, None], v)


def _count(bits: Tensor, modulus: int) -> float:
    """A state of one channel that starts at 1 and turns by 2 pi / m for every one; its angle is the count."""
    turn = (2 * math.pi / modulus * bits.double())[..., None, None]
    start = torch.ones(1, 1, 1, 1, dtype=torch.complex128)
    nothing = torch.zeros(*bits.shape, 1, 1, dtype=torch.float64)
    states = gate_loop(nothing, nothing, nothing, nothing, turn, initial_state=start, taps=list(range(bits.shape[1]))).states
    assert states is not None
    counted = (states.flatten().angle() * modulus / (2 * math.pi)).round().long() % modulus
    return float((counted == bits[0].cumsum(0) % modulus).double().mean())


def _states_of_ones(angle: float, decay: float) -> Tensor:
    ones = torch.ones(1, LONG, 1, 1, dtype=torch.float64)
    start = torch.ones(1, 1, 1, 1, dtype=torch.complex128)
    writes = ones if decay else 0 * ones
    out = gate_loop(ones, writes, ones, decay * ones, angle * ones, initial_state=start, taps=list(range(LONG)))
    assert out.states is not None
    return out.states.flatten()


class Modes(Claim, kind="p128-modes"):
    """The equations."""

    paper, scope = "P128", Scope.IDENTITY
    statement = (
        "Recurrent, scan and surrogate-attention modes agree; a constant gate is RetNet; an input-controlled phase "
        "counts modulo m at any length, where the states of a real gate in [0, 1] run together."
    )
    measurements = (
        at_most("chunked in float32 against the token loop", 1e-4),
        at_most("associative scan against the token loop", 1e-10),
        at_most("surrogate attention against the token loop", 1e-10),
        at_most("constant real gate against RetNet", 1e-12),
        *(equals(f"counting mod {m} over {LONG} tokens by phase: share right", 1.0) for m in MODULI),
        equals("phase 2 pi / 3: least distance of consecutive counts", 3**0.5, 1e-6),
        at_most("real gate 0.9: least distance of consecutive counts", 1e-12),
    )
    panels = (Axes("distance between the states after n and n + 1 ones", "n", "distance", y_log=True),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)
