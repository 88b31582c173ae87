"""P128: GateLoop."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....kernels.diagonal_scan import diagonal_scan
from ....kernels.gate_loop import gate_loop
from ....probe.mixers import RetNet
from ....probe.runs.run import Run
from ...studies.findings import Axes, Findings
from ..agreement import agreement, difference, seeded
from ..claim import Claim
from ..hooked import drawn_tokens, observed, small_model
from ..measurement import Scope, at_most, equals

TOKENS, SIZE, HEADS = 120, 8, 2
MODULI = (2, 3, 5, 7)
LONG = 2048

CHUNKED = "chunked in float32 against the token loop"
ASSOCIATIVE = "associative scan against the token loop"
SURROGATE = "surrogate attention against the token loop"
RETNET = "constant real gates 1 - 2^(-5 - h) against the RetNet mixer"


class Modes(Claim, kind="p128-modes"):
    """The three modes of computation are compared with each other."""

    paper, scope = "P128", Scope.IDENTITY
    statement = "Recurrent, scan and surrogate-attention modes agree; a constant real gate is RetNet."
    measurements = (at_most(CHUNKED, 1e-4), at_most(ASSOCIATIVE, 1e-10), at_most(SURROGATE, 1e-10), at_most(RETNET, 1e-6))

    def experiment(self, seed: int, run: Run) -> Findings:
        draw = seeded(seed)
        q, k, v = (draw(2, TOKENS, HEADS, SIZE) for _ in range(3))
        tokens = (q, k, v, draw(2, TOKENS, HEADS, SIZE).sigmoid().log() / 4, draw(2, TOKENS, HEADS, SIZE))
        loop = gate_loop(*tokens, implementation="reference").output
        return Findings(
            {
                CHUNKED: agreement(gate_loop, tokens),
                ASSOCIATIVE: difference(_scan(*tokens), loop),
                SURROGATE: difference(_surrogate(*tokens), loop),
                RETNET: _against_retnet(seed),
            }
        )


def _scan(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, phase: Tensor) -> Tensor:
    """The state as a vector of K V complex channels."""
    writes = (k[..., :, None] * v[..., None, :]).flatten(-2)
    gates = torch.polar(log_decay.exp(), phase)[..., None].expand(*k.shape, v.shape[-1]).flatten(-2)
    states = diagonal_scan(writes, gates, implementation="chunked").output.unflatten(-1, (k.shape[-1], v.shape[-1]))
    return torch.einsum("bthk,bthkv->bthv", q.to(states.dtype), states).real


def _surrogate(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, phase: Tensor) -> Tensor:
    """Attention with the weights Re sum_k q_ik k_jk prod_{j < l <= i} a_lk."""
    c, angle = log_decay.cumsum(1), phase.cumsum(1)
    between = (c[:, :, None] - c[:, None]).clamp(max=0).exp() * (angle[:, :, None] - angle[:, None]).cos()
    weights = torch.einsum("bihk,bjhk,bijhk->bijh", q, k, between)
    causal = torch.ones(k.shape[1], k.shape[1], dtype=torch.bool).tril()
    return torch.einsum("bijh,bjhv->bihv", weights * causal[None, :, :, None], v)


def _against_retnet(seed: int) -> float:
    """The read-out of the mixer, and that of real gates which are RetNet's equation 8."""
    own = observed(small_model(RetNet(heads=HEADS), seed), drawn_tokens(seed, 60), "q", "k", "v", "recurrence_out")
    gate = torch.log(1 - 2.0 ** (-5.0 - torch.arange(HEADS, dtype=torch.float64)))
    gates = gate[:, None].expand(*own["k"].shape)
    read = gate_loop(own["q"], own["k"], own["v"], gates, torch.zeros_like(gates)).output
    return difference(read, own["recurrence_out"])


COUNTED = "counting mod {} over 2048 tokens by phase: share right"
APART = "{}: least distance of the states after n and n + 1 ones"
GROWN = "{}: modulus of the state after 2048 ones"
PHASE, BELOW, ONE = "phase 2 pi / 3", "real gate 0.9", "real gate 1"
GAPS = Axes("distance between the states after n and n + 1 ones", "n", "distance", y_log=True)


class Counting(Claim, kind="p128-counting"):
    """A phase that the token chooses is made to count."""

    paper, scope = "P128", Scope.CONSTRUCTION
    statement = (
        "A phase that the token chooses counts modulo m at any length, in a state of modulus 1. With a real gate below 1 the "
        "states of neighbouring counts run together; with a gate of 1 they stay apart, in a state that grows with the count."
    )
    measurements = (
        *(equals(COUNTED.format(m), 1.0, unit="share") for m in MODULI),
        equals(APART.format(PHASE), 3**0.5, 1e-6, "distance"),
        at_most(APART.format(BELOW), 1e-12, "distance"),
        equals(APART.format(ONE), 1.0, 1e-12, "distance"),
        equals(GROWN.format(PHASE), 1.0, 1e-9, "modulus"),
        equals(GROWN.format(ONE), LONG + 1.0, unit="modulus"),
    )
    panels = (GAPS,)

    def experiment(self, seed: int, run: Run) -> Findings:
        bits = torch.randint(0, 2, (1, LONG), generator=torch.Generator().manual_seed(seed))
        found = Findings({COUNTED.format(modulus): _count(bits, modulus) for modulus in MODULI})
        for name, angle, gate, write in ((PHASE, 2 * math.pi / 3, 1.0, 0.0), (BELOW, 0.0, 0.9, 1.0), (ONE, 0.0, 1.0, 1.0)):
            states = _states_of_ones(angle, gate, write)
            gaps = (states[1:] - states[:-1]).abs()
            found.numbers |= {APART.format(name): float(gaps.min()), GROWN.format(name): float(states[-1].abs())}
            found.curves[GAPS.title, name] = (list(range(1, 200)), gaps[:199].clamp_min(1e-18).tolist())
        return found


def _count(bits: Tensor, modulus: int) -> float:
    """A state of one channel that starts at 1 and turns by 2 pi / m for every one; its angle is the count."""
    turn = (2 * math.pi / modulus * bits.double())[..., None, None]
    states = _states(torch.zeros_like(turn), turn, torch.zeros_like(turn))
    counted = (states.angle() * modulus / (2 * math.pi)).round().long() % modulus
    return float((counted == bits[0].cumsum(0) % modulus).double().mean())


def _states_of_ones(angle: float, gate: float, write: float) -> Tensor:
    ones = torch.ones(1, LONG, 1, 1, dtype=torch.float64)
    return _states(math.log(gate) * ones, angle * ones, write * ones)


def _states(log_decay: Tensor, phase: Tensor, write: Tensor) -> Tensor:
    """The states [T] of one channel that starts at 1; each token adds `write`."""
    start = torch.ones(1, 1, 1, 1, dtype=torch.complex128)
    ones, taps = torch.ones_like(write), list(range(write.shape[1]))
    states = gate_loop(ones, write, ones, log_decay, phase, initial_state=start, taps=taps).states
    assert states is not None
    return states.flatten()
