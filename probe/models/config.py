"""The description of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from ..channel_mixers import ChannelMixerConfig, SwiGLU
from ..configuration import Configuration, Count, Natural, NotEmpty, NotNegative
from ..hooks.names import resolve_layer
from ..mixers import DeltaNet, MixerConfig

Parametrisation = Literal["standard", "ntk", "mup"]
PARAMETRISATIONS = get_args(Parametrisation)


@dataclass(frozen=True)
class ModelConfig(Configuration):
    """A pre-norm language model: embedding, blocks of a token mixer and a channel mixer, norm, unembedding.

    vocabulary: number of tokens, in and out.
    width: of the residual stream.
    layers: number of blocks.
    mixer: the token mixer of every block, or a pattern of them that is repeated over the layers: ("delta_net", "delta_net",
        "delta_net", "attention") with 8 layers gives two attention layers. A name stands for the mixer with its defaults.
    channel_mixer: the channel mixer of every block, `SwiGLU()` or another of `channel_mixers`; a name stands for it too.
    expansion: hidden units of a gated channel mixer as a multiple of the width, 2/3 of those of the MLP with as many parameters;
        0 leaves the channel mixer out.
    inputs: 0 for tokens that are whole numbers; else the real numbers that each position is given as. A linear map then takes the
        place of the embedding, and `vocabulary` counts the numbers that come out.
    parametrisation: "standard", "ntk" or "mup", how parameters and their changes scale with the width; see `parametrise`.
    base_width: the width at which "mup" is the standard one.
    seed: of the initial parameters.
    """

    vocabulary: Count
    width: Count = 64
    layers: Count = 2
    mixer: MixerConfig | Annotated[tuple[MixerConfig, ...], NotEmpty()] = DeltaNet()
    channel_mixer: ChannelMixerConfig = SwiGLU()
    expansion: NotNegative = 2.0
    inputs: Natural = 0
    parametrisation: Parametrisation = "standard"
    base_width: Count = 64
    seed: int = 0

    @property
    def hidden(self) -> int:
        """Hidden units of the channel mixer; 0 without one."""
        return self.channel_mixer.hidden_size(self.width, self.expansion)

    def mixer_of(self, layer: int) -> MixerConfig:
        """The token mixer of a layer. Raises LayerError for one that the model lacks."""
        pattern = self.mixer if isinstance(self.mixer, tuple) else (self.mixer,)
        return pattern[resolve_layer(layer, self.layers) % len(pattern)]
