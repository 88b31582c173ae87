"""Channel mixers: one file a paper family."""

from .base import HIDDEN, ChannelMixer, ChannelMixerConfig
from .gated_linear_units import GEGLU, GLU, Bilinear, ReGLU, SwiGLU
from .mlp import MLP

__all__ = ["GEGLU", "GLU", "HIDDEN", "MLP", "Bilinear", "ChannelMixer", "ChannelMixerConfig", "ReGLU", "SwiGLU"]
