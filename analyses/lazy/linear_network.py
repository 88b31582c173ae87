"""Training of linear networks of two layers, W_2 W_1, by gradient flow, solved exactly."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators.precise import precise_numbers

BALANCED = 1e-8  # what W_2^T W_2 - W_1 W_1^T may be off a multiple of the identity, relative to the weights
GROWTH = 6.0  # of the logarithm of a mode in a step
MOST_STEPS = 10**5
STILL = 16  # roundings that a mode may move by in a step when the flow has ended


class LinearTrajectory(NamedTuple):
    """The two layers' products over time, which decide what the network says and its tangent kernel.

    map: W_2 W_1 [S, O, D]. input_gram: W_1^T W_1 [S, D, D]. output_gram: W_2 W_2^T [S, O, O]. The tangent kernel of outputs o and
    p at x and x' is x . x' output_gram_op + [o = p] x^T input_gram x'.
    """

    map: Tensor
    input_gram: Tensor
    output_gram: Tensor


def aligned_mode(strength: float, start: float, times: Tensor, time_constant: float = 1.0) -> Tensor:
    """How a linear network of two layers learns one singular mode of its task: a sigmoid in time, [S].

    a(t) = s e^{2 s t / tau} / (e^{2 s t / tau} - 1 + s / a_0) solves tau da/dt = 2 a (s - a), for layers that are aligned with
    the task and balanced (Saxe, McClelland and Ganguli 2014, arXiv:1312.6120). Strong modes come first: half of s is
    reached at tau ln(s / a_0 - 1) / (2 s).

    strength: s, the singular value of the task, positive. start: a_0, between 0 and s. times: [S], from 0. time_constant: tau.
    Raises ValueError for numbers outside these ranges, and what `precise_numbers` raises.
    """
    (times,) = precise_numbers(times=(times, "S"))
    if not (0 < start <= strength < math.inf and time_constant > 0) or bool((times < 0).any()):
        given = f"{start}, {strength} and {time_constant}"
        raise ValueError(f"0 < start <= strength, a positive time constant and times from 0 are needed, got {given}")
    left = torch.exp(-2 * strength / time_constant * times)  # so that late times do not overflow
    return strength / (1 + (strength / start - 1) * left)


def balanced_network(inward: Tensor, outward: Tensor, target: Tensor, times: Tensor) -> LinearTrajectory:
    """The whole trajectory of W_2 W_1 under gradient flow on 1/2 |W_2 W_1 - S|^2, from lambda-balanced layers.

    dW_1/dt = W_2^T (S - W_2 W_1), dW_2/dt = (S - W_2 W_1) W_1^T, which is training on whitened inputs. The flow conserves
    W_2^T W_2 - W_1 W_1^T, and where that is lambda I the products Q Q^T of Q = [W_1^T; W_2] obey a matrix Riccati equation,

        d(Q Q^T)/dt = F Q Q^T + Q Q^T F - (Q Q^T)^2,   F = [[-lambda/2 I, S^T], [S, lambda/2 I]]
        Q Q^T(t) = e^{F t} Q_0 (I + Q_0^T G Q_0)^{-1} Q_0^T e^{F t},   G = int_0^t e^{2 F s} ds

    (Fukumizu 1998; Braun et al. 2022; Domine et al. 2025, arXiv:2409.14623). A large lambda of either sign is lazy, 0 rich.

    inward: W_1 [H, D]. outward: W_2 [O, H]. target: S [O, D]. times: [S], from 0.
    Raises ValueError for layers that are not balanced, times below 0 and times that take more than 100,000 steps before all modes
    stand still, and what `precise_numbers` raises.
    """
    inward, outward, target, times = precise_numbers(
        inward=(inward, "H D"), outward=(outward, "O H"), target=(target, "O D"), times=(times, "S")
    )
    hidden, size = inward.shape
    conserved = outward.mT @ outward - inward @ inward.mT
    balance = float(conserved.diagonal().mean())
    identity = torch.eye(hidden, dtype=torch.float64, device=inward.device)
    off = float((conserved - balance * identity).norm())
    if off > BALANCED * float(inward.square().sum() + outward.square().sum()):
        raise ValueError(f"W_2^T W_2 - W_1 W_1^T must be a multiple of the identity; it is off by {off:.3g}")
    if bool((times < 0).any()):
        raise ValueError(f"times start from 0, got {float(times.min()):.4g}")
    start, (values, vectors) = torch.cat([inward.mT, outward]), torch.linalg.eigh(_generator(target, balance))
    layers, before = vectors.mT @ start, 0.0
    found = torch.empty(len(times), len(values), len(values), dtype=torch.float64, device=inward.device)
    for place in times.argsort().tolist():
        layers, before = _flowed(layers, values, float(times[place]) - before), float(times[place])
        found[place] = vectors @ layers @ layers.mT @ vectors.mT
    return LinearTrajectory(found[:, size:, :size], found[:, :size, :size], found[:, size:, size:])


def _generator(target: Tensor, balance: float) -> Tensor:
    """F, [D + O, D + O]."""
    outputs, inputs = target.shape
    half = torch.cat([target.new_full((inputs,), -balance / 2), target.new_full((outputs,), balance / 2)]).diag()
    half[inputs:, :inputs], half[:inputs, inputs:] = target, target.mT
    return half


def _flowed(layers: Tensor, values: Tensor, time: float) -> Tensor:
    """Q after this time but for a rotation of the hidden units, which changes no product; all in F's eigenbasis.

    It goes in steps in which nothing grows by more than e^GROWTH, so that no mode is lost beside a faster one, until the
    products stand still.
    """
    steps = max(1, math.ceil(float(values.abs().max()) * time / GROWTH))
    grown, still = torch.exp(values * time / steps), torch.eye(layers.shape[1], dtype=torch.float64, device=layers.device)
    integral = torch.expm1(2 * values * time / steps) / torch.where(values == 0, 1.0, 2 * values)
    integral = torch.where(values == 0, time / steps, integral)
    for taken in range(steps):
        if taken == MOST_STEPS:
            raise ValueError(f"after {taken} of {steps} steps slow modes still move beside fast ones; give earlier times")
        own, rotation = torch.linalg.eigh(still + layers.mT @ (integral[:, None] * layers))
        moved = grown[:, None] * layers @ (rotation * own.rsqrt()) @ rotation.mT
        apart, layers = (moved - layers).norm(dim=1), moved
        if bool((apart <= STILL * torch.finfo(layers.dtype).eps * layers.norm(dim=1)).all()):
            break
    return layers
