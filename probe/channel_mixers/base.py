"""What every channel mixer shares: its configuration's base, its hooks, and its hidden units."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from ..configuration import Configuration
from ..hooks.points import Point
from ..plugins import Kinds

if TYPE_CHECKING:
    from torch import Generator

HIDDEN = (
    Point("mlp.hook_pre", "batch position hidden", "channel mixer before its activation"),
    Point("mlp.hook_post", "batch position hidden", "channel mixer's hidden units, which its output matrix reads"),
)


@dataclass(frozen=True)
class ChannelMixerConfig(Configuration, Kinds, family="channel_mixer"):
    """Base of the channel mixers' configurations.

    points: the hooks of the mixer; `HIDDEN`, and its own.
    hidden_share: hidden units as a multiple of `expansion * width`, so that mixers of one expansion have as many parameters.
    """

    points: ClassVar[tuple[Point, ...]] = HIDDEN
    hidden_share: ClassVar[float] = 1.0

    def hidden_size(self, width: int, expansion: float) -> int:
        """Hidden units, a multiple of 8."""
        return 8 * round(self.hidden_share * expansion * width / 8)

    @abstractmethod
    def build(self, width: int, hidden: int, generator: Generator) -> ChannelMixer:
        """The module for a residual stream of `width`, its parameters drawn from `generator`."""


class ChannelMixer(nn.Module):
    """A channel mixer: [B, T, width] -> [B, T, width], position by position, with the hooks that its configuration lists.

    outward: the matrix that reads its hidden units. axis_sizes: sizes of the axes of its hooks, for the byte budget.
    """

    outward: nn.Linear

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Submodules, among them the hook points."""

    def __init__(self, config: ChannelMixerConfig, hidden: int) -> None:
        super().__init__()
        self.kind, self.points, self.axis_sizes = config.kind, config.points, {"hidden": hidden}
        for point in self.points:
            setattr(self, point.name.removeprefix("mlp."), HookPoint())

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Mix channels. x [B, T, width]."""

    @property
    def W_out(self) -> Tensor:  # noqa: N802 (transformer-lens's name)
        """The output matrix has the shape [hidden, width]."""
        return self.outward.weight.T
