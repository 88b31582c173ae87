"""Deep recurrent networks of the least width: what many units of one layer compute, few units of many layers compute as well.

A wide recurrence of d_x inputs in [0, 1] and d_y outputs keeps K sums of the past and reads them by N rectified units,

    s_k,t = lambda_k s_k,t-1 + <u_k, x_t>,     y_t = o + C relu(A s_t + b),     0 <= lambda_k < 1,   u_k >= 0

which fits any map of the past that forgets, as K and N grow. A ReLU network of width d_x + d_y + 2 computes the same at any
length: it carries the input and the outputs so far upwards, remakes one sum after another in a third place, adds them up in a
fourth, and rectifies what comes of it before it goes on to the next unit. That width is enough for every continuous map, and
max(d_x + 1, d_y) in the mean; neither depends on the length (Song et al. 2022, arXiv:2211.13866). With one unit a layer no such
network fits a map that is not monotone in its last input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor, nn

from ...kernels.arguments import check_finite
from ...kernels.shown import with_shapes


@dataclass(frozen=True)
class WideRecurrence:
    """K sums of the past, read by N rectified units.

    decays: [K], from 0 to less than 1. inputs: [K, d_x], none negative. weights: [N, K]. biases: [N]. outputs: [d_y, N].
    offsets: [d_y].
    """

    decays: Tensor
    inputs: Tensor
    weights: Tensor
    biases: Tensor
    outputs: Tensor
    offsets: Tensor

    __repr__ = with_shapes

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that do not fit, and for sums that could be negative or grow without end."""
        sums, units = self.inputs.shape[0], self.outputs.shape[1]
        shapes = self.decays.shape, self.weights.shape, self.biases.shape, self.offsets.shape
        if shapes != ((sums,), (units, sums), (units,), (self.outputs.shape[0],)):
            raise ValueError(
                f"decays, weights, biases and offsets must be [K], [N, K], [N] and [d_y] for inputs [K, d_x] and outputs "
                f"[d_y, N], here K = {sums}, N = {units}; got {', '.join(str(tuple(shape)) for shape in shapes)}"
            )
        if not bool(((self.decays >= 0) & (self.decays < 1)).all() and (self.inputs >= 0).all()):
            raise ValueError(
                "decays must be from 0 to less than 1, and inputs not negative: sums of the past stay positive and end"
            )

    def sums(self, x: Tensor) -> Tensor:
        """s_t for x [B, T, d_x], each in [0, 1]: [B, T, K]. Raises ValueError for others."""
        driven, state = _in_domain(x) @ self.inputs.T, x.new_zeros(len(x), len(self.decays))
        states = list[Tensor]()
        for token in driven.unbind(1):
            state = self.decays * state + token
            states.append(state)
        return torch.stack(states, 1)

    def __call__(self, x: Tensor) -> Tensor:
        """y_t for x [B, T, d_x]: [B, T, d_y]."""
        return (self.sums(x) @ self.weights.T + self.biases).relu() @ self.outputs.T + self.offsets


class NarrowNetwork(nn.Module):
    """Layers of torch's ReLU network, h^l_t = relu(W h^{l-1}_t + R h^l_{t-1} + b), from zero, and a linear read-out."""

    def __init__(self, inputs: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.layers = nn.RNN(inputs, width, depth, nonlinearity="relu", batch_first=True, dtype=torch.float64)
        self.read_out = nn.Linear(width, outputs, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [B, T, d_y] for x [B, T, d_x]."""
        found: Tensor = self.read_out(self.layers(x)[0])
        return found


def narrow_network(wide: WideRecurrence) -> NarrowNetwork:
    """The ReLU network of width d_x + d_y + 2 and N (K + 1) layers that is a wide recurrence, for inputs in [0, 1].

    Layers have the places x [d_x], sum, total and outputs [d_y]. No place is negative, so that relu changes none but where it is
    meant to: total and outputs are kept above their least values, which the read-out takes off.
    """
    (units, sums), (d_y, d_x) = wide.weights.shape, (len(wide.outputs), wide.inputs.shape[1])
    largest = wide.inputs.sum(1) / (1 - wide.decays)
    below = (-wide.weights).clamp_min(0) @ largest
    heights = (wide.weights.clamp_min(0) @ largest + wide.biases).clamp_min(0)
    floor = (-wide.outputs).clamp_min(0) @ heights
    network = NarrowNetwork(d_x, d_x + d_y + 2, units * (sums + 1), d_y)
    place, total, so_far = d_x, d_x + 1, slice(d_x + 2, None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for unit in range(units):
            for k in range(sums + 1):
                layer = unit * (sums + 1) + k
                weight, recurrent, bias, _ = network.layers.all_weights[layer]
                weight[:d_x, :d_x] = torch.eye(d_x, dtype=weight.dtype)
                if layer == 0:
                    bias[total], bias[so_far] = below[0], floor
                else:
                    weight[so_far, so_far] = torch.eye(d_y, dtype=weight.dtype)
                    if k == 0:  # the place holds the unit before
                        weight[total, total] = 1
                        weight[so_far, place] = wide.outputs[:, unit - 1]
                if k < sums:
                    weight[place, :d_x], recurrent[place, place] = wide.inputs[k], wide.decays[k]
                    if k > 0:
                        weight[total, total], weight[total, place] = 1, wide.weights[unit, k - 1]
                else:
                    weight[place, total], weight[place, place] = 1, wide.weights[unit, k - 1]
                    bias[place] = wide.biases[unit] - below[unit]
                    bias[total] = below[unit + 1] if unit + 1 < units else 0.0
        network.read_out.weight[:, place] = wide.outputs[:, -1]
        network.read_out.weight[:, so_far] = torch.eye(d_y, dtype=torch.float64)
        network.read_out.bias.copy_(wide.offsets - floor)
    return network


def running_maximum() -> NarrowNetwork:
    """The largest input so far, of inputs [B, T, 1] in [0, 1], by one layer of two units: the largest before, and what the token
    adds to it.
    """
    network = NarrowNetwork(1, 2, 1, 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        weight, recurrent, *_ = network.layers.all_weights[0]
        weight[1] = 1
        recurrent[0], recurrent[1] = 1, -1
        network.read_out.weight.fill_(1)
    return network


def monotone_floor(targets: Tensor) -> float:
    """The least root mean squared error with which a network of width 1 could fit targets [P, G], of P pasts and G last inputs
    that increase.

    Every unit of a chain of units is monotone in the last input, in a direction that the past does not change; so is what is read
    of it. The error is that of the best such values, whatever the depth. Raises ValueError for other shapes and no targets, and
    NonFiniteError for NaN and infinity.
    """
    if targets.ndim != 2 or targets.numel() == 0:
        raise ValueError(f"targets must be [pasts, last inputs], one at least, got {tuple(targets.shape)}")
    check_finite(targets=targets)
    rows, errors = targets.detach().double().cpu().numpy(), []
    for increasing in (True, False):
        fits = np.stack([isotonic_regression(row, increasing=increasing).x for row in rows])
        errors.append(float(np.sqrt(np.square(rows - fits).mean())))
    return min(errors)


def _in_domain(x: Tensor) -> Tensor:
    if x.ndim != 3 or not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"x must be [B, T, d_x] with entries from 0 to 1, got {tuple(x.shape)}")
    return x
