"""What every token mixer shares: its configuration's base, its hook points, and the small modules it is built from."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ...kernels.forward_mode import differentiable
from ...kernels.precision import widened
from ...kernels.recurrence import Edit, TapRequest
from ..configuration import Configuration
from ..hooks.points import Point
from ..plugins import Kinds
from .spectrum import AllowedSpectrum

if TYPE_CHECKING:
    from torch import Generator


Memory = dict[str, Any]


class Snapshots(dict[str, Any]):
    """A memory that holds what each of several positions of one pass over one sequence leaves: entries [positions, ...].

    The positions are those of the taps. An entry "length" stands for what was not kept: positions that are counted.
    """

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__()
        self.positions = tuple(positions)


@dataclass(frozen=True)
class StateRequest:
    """What a forward pass asks of a mixer.

    taps, edits: of its states. memory: what the mixer left behind the tokens before these, which it reads and replaces; None
    starts from nothing and leaves nothing.
    """

    taps: TapRequest | None = None
    edits: Sequence[Edit] = ()
    memory: Memory | None = None


@dataclass(frozen=True)
class MixerConfig(Configuration, Kinds, family="mixer"):
    """Base of the token mixers' configurations.

    points: the hooks of the mixer, composed from those of `mixers/points.py` and its own. "attn.hook_state" says that it
        has a state, and whether that is complex.
    absences: why it lacks a hook that others have, by the hook's place such as "attn.hook_transition", for errors and tables.
    """

    points: ClassVar[tuple[Point, ...]]
    absences: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        """The module for a residual stream of `width`, its parameters drawn from `generator`; for the `layer`-th of `layers`."""

    @property
    def allowed(self) -> AllowedSpectrum | None:
        """Which eigenvalues a token's transition may have; None where there is no linear one, or the family does not say."""
        return None

    @property
    def has_state(self) -> bool:
        """Whether the mixer is a recurrence, which taps and edits apply to."""
        return state_point(self.points) is not None


def state_point(points: Iterable[Point]) -> Point | None:
    """The hook of the state among those of a mixer; None without a state."""
    return next((point for point in points if point.name == "attn.hook_state"), None)


class Mixer(nn.Module):
    """A token mixer: [B, T, width] -> [B, T, width], with the hooks that `points` lists.

    axis_sizes: sizes of the axes of its hooks ("head", "key", "value", "householder"), for the byte budget; "rank" is that of the
        low-rank part of its transitions, the number of householders where it is not given.
    """

    axis_sizes: dict[str, int]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Submodules, among them the hook points of the table."""

    def __init__(self, kind: str, points: tuple[Point, ...], absences: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.kind, self.points, self.absences = kind, points, dict(absences or {})
        for point in self.points:
            setattr(self, point.name.removeprefix("attn."), HookPoint())

    @property
    def title(self) -> str:
        """The name by which people know its family."""
        return self.kind

    @property
    @abstractmethod
    def W_O(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix by head, [H, V, width]."""

    @abstractmethod
    def forward(self, x: Tensor, request: StateRequest) -> Tensor:
        """Mix tokens. x [B, T, width]."""

    @property
    def is_complex(self) -> bool:
        """True where the state of the mixer is complex."""
        state = state_point(self.points)
        return state is not None and state.is_complex

    def has_hook(self, place: str) -> bool:
        """Whether the mixer has a hook, such as "attn.hook_pattern"."""
        return any(point.name == place for point in self.points)

    def fire(self, **tokens: Tensor) -> dict[str, Any]:
        """Each tensor through the hook of its name, as the recurrence then takes it.

        One that stands for several heads or tokens at one place in memory is copied out first: a change in place of one of them
        would be a change of all.
        """
        apart = {name: value.clone() if 0 in value.stride() else value for name, value in tokens.items()}
        return {name: getattr(self, f"hook_{name}")(value) for name, value in apart.items()}


def linear(inputs: int, outputs: int, generator: Generator, *, scale: float = 1.0) -> nn.Linear:
    """A linear map without bias, its entries N(0, scale^2 / inputs)."""
    made = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
    nn.init.normal_(made.weight, std=scale * inputs**-0.5, generator=generator)
    return made


class ComplexLinear(nn.Module):
    """A complex linear map without bias; its entries have variance 1 / inputs, and are kept as pairs of real numbers.

    It computes in complex64 at least: there are no complex numbers of bfloat16.
    """

    def __init__(self, inputs: int, outputs: int, generator: Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 2, generator=generator) / math.sqrt(2 * inputs))

    @property
    def matrix(self) -> Tensor:
        """The map as a complex matrix, [outputs, inputs]."""
        return torch.view_as_complex(widened(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.matrix
        return x.to(matrix.dtype) @ matrix.T


def step_bias(size: int, generator: Generator) -> Tensor:
    """Draw b with softplus(b) log-uniform in [1e-3, 0.1]."""
    step = torch.exp(torch.empty(size).uniform_(math.log(1e-3), math.log(0.1), generator=generator))
    return step + torch.log(-torch.expm1(-step))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * gain over the last axis. The scale is float32 at least: a square leaves float16 above 255."""

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self._normalize(x) * self.weight

    def _normalize(self, x: Tensor) -> Tensor:
        return (widened(x) * self._scale(x).reciprocal()).to(x.dtype)  # a quotient's gradient takes twice the passes

    def _scale(self, x: Tensor) -> Tensor:
        return (sum_of_squares(widened(x)) / x.shape[-1] + self.eps).sqrt()


class SumOfSquares(torch.autograd.Function):
    """s = sum_i x_i^2 along the last axis, which stays; backward dx = 2 ds x in one pass, where autograd's square takes three."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.square().sum(-1, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (2 * gradient) * x

    @staticmethod
    @differentiable
    def jvp(saved: Sequence[Tensor], tangent: Tensor) -> Tensor:
        (x,) = saved
        return 2 * (x * tangent).sum(-1, keepdim=True)


def sum_of_squares(x: Tensor) -> Tensor:
    """Real x [..., n] to sum_i x_i^2, [..., 1]."""
    found: Tensor = SumOfSquares.apply(x)  # type: ignore[no-untyped-call]
    return found


class HookedRMSNorm(RMSNorm):
    """RMSNorm with transformer-lens's hooks on its scale and on its result before the gain."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def _normalize(self, x: Tensor) -> Tensor:
        normalized: Tensor = self.hook_normalized((widened(x) * self.hook_scale(self._scale(x)).reciprocal()).to(x.dtype))
        return normalized


class ShortConvolution(nn.Module):
    """A causal depthwise convolution over a few tokens: y_t = sum_j w_j x_{t-j}, channel by channel."""

    def __init__(self, channels: int, width: int, generator: Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, width))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5, generator=generator)

    def forward(self, x: Tensor, memory: Memory | None = None, name: str = "") -> Tensor:
        """X [B, T, channels]. The last inputs are kept in `memory` as `name`."""
        padded = recall(memory, f"convolution {name}", x, self.weight.shape[1] - 1)
        weight = self.weight.mT.expand(len(x), -1, -1).clone()  # so that its gradient is seen sample by sample
        convolved: Tensor = CausalConvolution.apply(padded, weight)  # type: ignore[no-untyped-call]
        return convolved


class CausalConvolution(torch.autograd.Function):
    """y_t = sum_j w_j x_{t+j} of x [B, T + J - 1, channels] and w [B, J, channels]; backward dx_{t+j} += w_j dy_t in one tensor.

    Autograd alone would fill one of zeros for each lag and add them up.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(padded: Tensor, weight: Tensor) -> Tensor:
        found = _behind(padded, 0, weight) * weight[:, :1]
        for lag in range(1, weight.shape[1]):
            found = found + _behind(padded, lag, weight) * weight[:, lag, None]
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        padded, weight = ctx.saved_tensors
        of_padded, of_weight = ctx.needs_input_grad
        d_padded = d_weight = None
        if of_padded:
            d_padded = gradient.new_zeros(padded.shape)
            for lag in range(weight.shape[1]):
                _behind(d_padded, lag, weight).add_(gradient * weight[:, lag, None])
        if of_weight:
            lags = range(weight.shape[1])
            d_weight = torch.stack([(_behind(padded, lag, weight) * gradient).sum(1) for lag in lags], dim=1)
        return d_padded, d_weight

    @staticmethod
    @differentiable
    def jvp(saved: Sequence[Tensor], padded_tangent: Tensor, weight_tangent: Tensor) -> Tensor:
        padded, weight = saved
        return CausalConvolution.forward(padded_tangent, weight) + CausalConvolution.forward(padded, weight_tangent)


def _behind(padded: Tensor, lag: int, weight: Tensor) -> Tensor:
    """The tokens of x that meet w_lag, [B, T, channels]."""
    return padded[:, lag : padded.shape[1] - weight.shape[1] + 1 + lag]


def recall(memory: Memory | None, name: str, x: Tensor, count: int) -> Tensor:
    """X [B, T, ...] behind the `count` tokens before it (zeros at the start); its own last ones take their place."""
    before = None if memory is None else memory.get(name)
    if before is None:
        before = x.new_zeros(x.shape[0], count, *x.shape[2:])
    padded = torch.cat([before, x], dim=1)
    if isinstance(memory, Snapshots):
        memory[name] = torch.cat([padded[:, position + 1 : position + 1 + count] for position in memory.positions])
    elif memory is not None:
        memory[name] = padded[:, padded.shape[1] - count :]
    return padded


class LowRankProjection(nn.Module):
    """W_2 f(W_1 x) + b with few hidden units."""

    def __init__(
        self, inputs: int, rank: int, outputs: int, generator: Generator, activation: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.inward, self.outward = linear(inputs, rank, generator), linear(rank, outputs, generator)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inward(x)
        out: Tensor = self.outward(hidden if self.activation is None else self.activation(hidden)) + self.bias
        return out


class PerHead(nn.Module):
    """One learned number a head, expanded over the batch so that its gradient is seen sample by sample."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, batch: int) -> Tensor:
        """Expand the number of each head to [batch, 1, H]."""
        return self.value.expand(batch, 1, -1).clone()


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Reshape [B, T, heads * size] to [B, T, heads, size]."""
    return x.unflatten(-1, (heads, -1))


def head_size(width: int, heads: int) -> int:
    """Width / heads, for sizes that are not given. Raises ValueError where it is not whole."""
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of {heads} heads; choose another, or give key_size and value_size")
    return width // heads
