"""Token mixers: one file a paper family, each with its update rule."""

from .attention import Attention
from .base import Mixer, MixerConfig
from .delta_net import DeltaNet, GatedDeltaNet

__all__ = ["Attention", "DeltaNet", "GatedDeltaNet", "Mixer", "MixerConfig"]
