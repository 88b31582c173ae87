"""Every recurrence with inputs that suit it: what the tests of `kernels` walk over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from statescope import Edit, delta_rule, diagonal_plus_low_rank, gated_linear_attention, linear_attention, mlstm
from statescope.kernels.mlstm import scaled_gates

Inputs = dict[str, Tensor]


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def _base(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int) -> tuple[torch.Generator, Inputs]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return generator, {"q": normal(b, t, h, k) / k**0.5, "k": normal(b, t, h, k), "v": normal(b, t, h, v)}


def _uniform(generator: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def linear(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int, decay: float | None) -> Inputs:
    generator, inputs = _base(b, t, h, k, v, dtype, seed)
    if decay is not None:
        inputs["log_decay"] = -decay * _uniform(generator, dtype, b, t, h)
    return inputs


def gated(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int, decay: float) -> Inputs:
    generator, inputs = _base(b, t, h, k, v, dtype, seed)
    return inputs | {"log_decay": -decay * _uniform(generator, dtype, b, t, h, k)}


def delta(
    b: int,
    t: int,
    h: int,
    k: int,
    v: int,
    dtype: torch.dtype,
    seed: int,
    decay: float | None,
    keys: int,
    correlated: float = 0,
    by_channel: bool = False,
) -> Inputs:
    """`correlated`: how much all keys of a head share one direction; beta goes up to 2."""
    generator, inputs = _base(b, t, h, k, v, dtype, seed)
    shape = (b, t, h) if keys == 1 else (b, t, h, keys)
    key = torch.randn(*shape, k, generator=generator, dtype=torch.float64)
    inputs["k"] = unit(key + correlated * k**0.5 * unit(key[:1, :1])).to(dtype)
    inputs["v"] = torch.randn(*shape, v, generator=generator, dtype=torch.float64).to(dtype)
    inputs["beta"] = 2 * _uniform(generator, dtype, *shape)
    if decay is not None:
        shape = (b, t, h, k) if by_channel else (b, t, h)
        inputs["log_decay"] = -decay * _uniform(generator, dtype, *shape)
    return inputs


def low_rank(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int, decay: float) -> Inputs:
    """As in RWKV-7: a unit vector is read, and taken back in part, channel by channel."""
    generator, inputs = _base(b, t, h, k, v, dtype, seed)
    a = unit(torch.randn(b, t, h, k, generator=generator, dtype=torch.float64)).to(dtype)
    rate = _uniform(generator, dtype, b, t, h, k)
    return inputs | {"a": a, "b": -rate * a, "log_decay": -decay * _uniform(generator, dtype, b, t, h, k)}


def normalised(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int) -> Inputs:
    """Positive features."""
    inputs = linear(b, t, h, k, v, dtype, seed, decay=0.5)
    return inputs | {name: inputs[name].abs() + 0.1 for name in ("q", "k")}


def bonus(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int) -> Inputs:
    generator, inputs = _base(b, t, h, k, v, dtype, seed)
    decay = {"log_decay": -_uniform(generator, dtype, b, t, h, k)}
    return inputs | decay | {"bonus": torch.randn(h, k, generator=generator, dtype=torch.float64).to(dtype)}


def exponential(b: int, t: int, h: int, k: int, v: int, dtype: torch.dtype, seed: int, reach: float = 2.0) -> Inputs:
    """Input gates from e^-reach to e^reach."""
    inputs = linear(b, t, h, k, v, dtype, seed, decay=1.0)
    generator = torch.Generator().manual_seed(seed + 1)
    return inputs | {"log_input": reach * (2 * _uniform(generator, dtype, b, t, h) - 1)}


def away_from_the_bound(inputs: Inputs, edits: Sequence[Edit]) -> Tensor:
    """[B, T, H]: whether the mLSTM's |n^T q| is at least a tenth away from e^{-m}. Where they meet, the gradient has a step, and
    whichever side rounding falls on is right.
    """
    scaled = scaled_gates(inputs["log_input"], inputs["log_decay"])
    keys, ones = inputs["k"] * scaled.input_gate[..., None], torch.ones_like(inputs["v"][..., :1])
    own = [replace(edit, value=edit.value[..., -1:]) for edit in edits]
    read = linear_attention(inputs["q"], keys, ones, scaled.log_decay, edits=own, implementation="reference").output[..., 0]
    return (read.abs().log() + scaled.maxima).abs() > 0.1


@dataclass(frozen=True)
class Recurrence:
    """A public call and how to make inputs for it: make(B, T, H, K, V, dtype, seed).

    extra_columns: of the state beyond V. readouts: whether it takes read-out edits. smooth_at: (inputs, edits) -> [B, T, H], at
        which tokens the output has a gradient; None at all.
    """

    call: Callable[..., Any]
    make: Callable[[int, int, int, int, int, torch.dtype, int], Inputs]
    extra_columns: int = 0
    readouts: bool = True
    smooth_at: Callable[[Inputs, Sequence[Edit]], Tensor] | None = None

    def resume(self, out: Any) -> dict[str, Tensor]:
        """What goes on from a result."""
        carried: dict[str, Tensor] = out.carried()
        return carried


def span(inputs: Inputs, start: int | None, stop: int | None) -> Inputs:
    """Tokens start to stop; what is not by token stays."""
    return {name: x if name == "bonus" else x[:, start:stop] for name, x in inputs.items()}


def sequences(inputs: Inputs, which: Any) -> Inputs:
    """Some sequences of the batch."""
    return {name: x if name == "bonus" else x[which] for name, x in inputs.items()}


RECURRENCES: dict[str, Recurrence] = {
    "linear": Recurrence(linear_attention, partial(linear, decay=None)),
    "linear-decay": Recurrence(linear_attention, partial(linear, decay=1.0)),
    "linear-decay-20": Recurrence(linear_attention, partial(linear, decay=20.0)),
    "gated": Recurrence(gated_linear_attention, partial(gated, decay=1.0)),
    "gated-20": Recurrence(gated_linear_attention, partial(gated, decay=20.0)),
    "gated-100": Recurrence(gated_linear_attention, partial(gated, decay=100.0)),
    "delta-by-channel-100": Recurrence(delta_rule, partial(delta, decay=100.0, keys=1, by_channel=True)),
    "delta": Recurrence(delta_rule, partial(delta, decay=None, keys=1)),
    "delta-correlated": Recurrence(delta_rule, partial(delta, decay=None, keys=1, correlated=3.0)),
    "delta-decay": Recurrence(delta_rule, partial(delta, decay=1.0, keys=1)),
    "delta-decay-20": Recurrence(delta_rule, partial(delta, decay=20.0, keys=1)),
    "delta-by-channel": Recurrence(delta_rule, partial(delta, decay=1.0, keys=1, by_channel=True)),
    "delta-by-channel-20": Recurrence(delta_rule, partial(delta, decay=20.0, keys=1, by_channel=True, correlated=3.0)),
    "delta-product-by-channel": Recurrence(delta_rule, partial(delta, decay=0.5, keys=2, by_channel=True)),
    "normalised": Recurrence(partial(linear_attention, normalise=True), normalised, extra_columns=1),
    "bonus": Recurrence(gated_linear_attention, bonus, readouts=False),
    "mlstm": Recurrence(mlstm, exponential, extra_columns=1, smooth_at=away_from_the_bound),
    "mlstm-40": Recurrence(mlstm, partial(exponential, reach=40.0), extra_columns=1),
    "low-rank": Recurrence(diagonal_plus_low_rank, partial(low_rank, decay=0.6)),
    "low-rank-20": Recurrence(diagonal_plus_low_rank, partial(low_rank, decay=20.0)),
    "delta-product": Recurrence(delta_rule, partial(delta, decay=0.5, keys=3)),
}

ONE_OF_EACH = ("linear-decay", "gated", "delta-decay", "delta-by-channel", "delta-product", "low-rank", "bonus", "mlstm")


def relative(found: Tensor, truth: Tensor) -> float:
    """|found - truth| / |truth| in the Euclidean norm."""
    found, truth = (x.detach().to(torch.promote_types(x.dtype, torch.float64)) for x in (found, truth))
    return float((found - truth).norm() / truth.norm().clamp(min=1e-300))
