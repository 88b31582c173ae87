"""The description of a model."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import unknown_name
from ..mixers import DeltaNet, MixerConfig
from .channel_mixer import CHANNEL_MIXERS, hidden_size


@dataclass(frozen=True)
class ModelConfig:
    """A pre-norm language model: embedding, blocks of a token mixer and a channel mixer, norm, unembedding.

    vocabulary: number of tokens, in and out.
    width: of the residual stream.
    layers: number of blocks.
    mixer: the token mixer of every block, or a pattern of them that is repeated over the layers: ("delta_net", "delta_net",
        "delta_net", "attention") with 8 layers gives two attention layers. A name stands for the mixer with its defaults.
    channel_mixer: "swiglu", "glu", "reglu", "geglu", "bilinear" or "mlp".
    expansion: hidden units of a gated channel mixer as a multiple of the width, 2/3 of those of the MLP with as many parameters;
        0 leaves the channel mixer out.
    seed: of the initial parameters.
    """

    vocabulary: int
    width: int = 64
    layers: int = 2
    mixer: MixerConfig | tuple[MixerConfig, ...] = DeltaNet()
    channel_mixer: str = "swiglu"
    expansion: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.channel_mixer not in CHANNEL_MIXERS:
            raise unknown_name("channel mixer", self.channel_mixer, CHANNEL_MIXERS)
        if self.expansion < 0:
            raise ValueError(f"expansion must not be negative, got {self.expansion}")
        pattern = self.mixer if isinstance(self.mixer, tuple) else (self.mixer,)
        if not pattern:
            raise ValueError("mixer needs at least one entry")
        named = tuple(MixerConfig.of_kind(entry)() if isinstance(entry, str) else entry for entry in pattern)
        object.__setattr__(self, "mixer", named if isinstance(self.mixer, tuple) else named[0])

    @property
    def hidden(self) -> int:
        """Hidden units of the channel mixer; 0 without one."""
        return hidden_size(self.channel_mixer, self.width, self.expansion)

    def mixer_of(self, layer: int) -> MixerConfig:
        """The token mixer of a layer."""
        pattern = self.mixer if isinstance(self.mixer, tuple) else (self.mixer,)
        return pattern[layer % len(pattern)]
