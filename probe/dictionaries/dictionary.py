"""A sparse dictionary: an activation as a sum of few directions, each with a strength."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..captures.capture import Capture
from ..checkpoint_folder import not_finite
from ..errors import StatescopeError
from ..subspaces.direction import Direction

HookFunction = tuple[str, Callable[..., Any]]


class DictionaryError(StatescopeError, ValueError):
    """A dictionary that does not fit what it is applied to, or that cannot be read."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Features f(x) = sparse(scale (x - shift) W_enc + b_enc), and the reconstruction f W_dec + b_dec.

    encoder [D, F], encoder_bias [F], decoder [F, D_out], decoder_bias [D_out], float. D_out = D in an autoencoder; a transcoder
    gives the activation of another hook.
    k: the k largest positive pre-activations are kept; None keeps all. threshold [F]: pre-activations not above it are 0
        (JumpReLU); None for 0. Both None is ReLU.
    subtract: whether decoder_bias is taken from x first. by_norm: whether features are measured in units of their decoder rows.
    hook, target: the activation that is read, and the one that is given. about: what is known of the fit.
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    k: int | None = None
    threshold: Tensor | None = None
    subtract: bool = True
    by_norm: bool = False
    hook: str = ""
    target: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        axes = {"encoder": 2, "encoder_bias": 1, "decoder": 2, "decoder_bias": 1}
        for name, count in (axes if self.threshold is None else axes | {"threshold": 1}).items():
            value = getattr(self, name)
            if value.ndim != count or not value.is_floating_point():
                raise DictionaryError(f"{name} is of real numbers on {count} axes, got {list(value.shape)} of {value.dtype}")
            if not_finite(value):
                raise DictionaryError(f"{name} holds numbers that are not finite")
        inputs, features = self.encoder.shape
        shapes = {
            "encoder_bias": (self.encoder_bias, (features,)),
            "decoder": (self.decoder, (features, len(self.decoder_bias))),
            "decoder_bias": (self.decoder_bias, (self.decoder.shape[-1],)),
        }
        if self.threshold is not None:
            shapes["threshold"] = (self.threshold, (features,))
        for name, (value, shape) in shapes.items():
            if tuple(value.shape) != shape:
                raise DictionaryError(
                    f"{name} is {tuple(value.shape)}; it needs {shape} beside an encoder of {(inputs, features)}"
                )
        if self.k is not None and self.threshold is not None:
            raise DictionaryError("features are kept by k or by a threshold, not by both; give one of them")
        if self.k is not None and not 0 < self.k <= features:
            raise DictionaryError(f"k = {self.k} of {features} features")
        if self.subtract and len(self.decoder_bias) != inputs:
            raise DictionaryError(
                f"decoder_bias of {len(self.decoder_bias)} numbers cannot be taken from {inputs}; subtract=False"
            )

    def __repr__(self) -> str:
        inputs, features = self.encoder.shape
        kind = "ReLU" if self.threshold is None else "JumpReLU"
        kind = kind if self.k is None else f"Top{self.k}"
        leads = f" to {self.target}" if self.target and self.target != self.hook else ""
        return f"Dictionary({kind}, {features} features of {inputs} numbers at {self.hook or 'no hook'}{leads})"

    @property
    def features(self) -> int:
        """The number F of features."""
        return self.encoder.shape[1]

    @property
    def is_transcoder(self) -> bool:
        """Whether it gives another activation than it reads."""
        return bool(self.target) and self.target != self.hook

    def pre_activations(self, x: Tensor) -> Tensor:
        """The strengths [..., F] of x [..., D] before they are made sparse. Raises DictionaryError for another width."""
        if x.shape[-1] != len(self.encoder):
            raise DictionaryError(f"the dictionary reads {len(self.encoder)} numbers, got {x.shape[-1]}")
        given = x.to(self.encoder)
        given = given - self.decoder_bias if self.subtract else given
        pre = given @ self.encoder + self.encoder_bias
        return pre * self.decoder.norm(dim=1) if self.by_norm else pre

    def encode(self, x: Tensor) -> Tensor:
        """The features [..., F] of x [..., D], 0 or more."""
        return sparse(self.pre_activations(x), self.k, self.threshold)

    def decode(self, features: Tensor) -> Tensor:
        """The reconstruction [..., D_out] of features [..., F]."""
        rows = self.decoder / self.decoder.norm(dim=1, keepdim=True) if self.by_norm else self.decoder
        return features.to(rows) @ rows + self.decoder_bias

    def __call__(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def direction(self, feature: int) -> Direction:
        """The direction along which a feature writes, for steering and comparison."""
        row = self.decoder[feature]
        return Direction(row / row.norm(), self.target or self.hook, f"feature {feature}")

    def splice(self) -> HookFunction:
        """A hook for `run_with_hooks` that puts the reconstruction in the place of the activation.

        Raises DictionaryError for a transcoder, whose target is another hook: use `splice_transcoder`.
        """
        if self.is_transcoder:
            raise DictionaryError(f"this is a transcoder from {self.hook} to {self.target}; use splice_transcoder()")
        return self.hook, lambda value, hook: from_rows(self(as_rows(value, len(self.encoder))), value)

    def splice_transcoder(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Hooks that give what the transcoder makes of its input in the place of its target, in one run."""
        seen: dict[str, Tensor] = {}

        def read(value: Tensor, hook: Any) -> None:
            seen["input"] = as_rows(value, len(self.encoder))

        def write(value: Tensor, hook: Any) -> Tensor:
            return from_rows(self(seen.pop("input")), value)

        return [(self.hook, read), (self.target, write)]

    def features_of(self, capture: Capture) -> Capture:
        """A capture whose activations are the features [N, P, F] of one that holds `hook`, under "HOOK.features", for probes."""
        features = self.encode(as_rows(capture.activation(self.hook), len(self.encoder)))
        features = features.flatten(2) if features.ndim > 3 else features
        return replace(capture, activations={f"{self.hook}.features": features})

    def connections(self, later: Dictionary) -> Tensor:
        """What each feature adds to each pre-activation of a later dictionary through the residual stream, whatever the input is:
        W_dec W_enc' [F, F'] (Dunefsky et al. 2024, arXiv:2406.11944), in the units that the features are measured in.
        """
        if self.decoder.shape[1] != len(later.encoder):
            raise DictionaryError(f"{self.decoder.shape[1]} numbers are written and {len(later.encoder)} read: not one stream")
        return self.in_own_units().decoder @ later.in_own_units().encoder

    def in_own_units(self) -> Dictionary:
        """The same features without `by_norm`: the lengths of decoder rows are worked into the encoder."""
        if not self.by_norm:
            return self
        lengths = self.decoder.norm(dim=1)
        return replace(
            self,
            encoder=self.encoder * lengths,
            encoder_bias=self.encoder_bias * lengths,
            decoder=self.decoder / lengths[:, None],
            by_norm=False,
        )


def sparse(pre: Tensor, k: int | None, threshold: Tensor | None) -> Tensor:
    """ReLU of pre-activations [..., F], of those alone that are above their threshold, or among the k largest."""
    if threshold is not None:
        return pre.relu() * (pre > threshold)
    if k is None:
        return pre.relu()
    values, places = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, places, values.relu())


def as_rows(value: Tensor, width: int) -> Tensor:
    """The numbers of an activation or state as rows [..., width]: all behind the position, or those of each head.

    A complex number is two. Raises DictionaryError where neither has that width.
    """
    value = torch.view_as_real(value.resolve_conj()).flatten(-2) if value.is_complex() else value
    for axis in (2, 3):
        if value.ndim > axis and value[0, 0].numel() // (1 if axis == 2 else value.shape[2]) == width:
            return value.flatten(axis)
    raise DictionaryError(f"the dictionary reads {width} numbers; {tuple(value.shape)} has them neither by position nor by head")


def from_rows(rows: Tensor, like: Tensor) -> Tensor:
    """Rows in the shape and dtype of the activation that they were made of."""
    if like.is_complex():
        parts = torch.view_as_real(like.resolve_conj())
        return torch.view_as_complex(rows.to(parts).reshape(parts.shape).contiguous())
    return rows.to(like).reshape(like.shape)
