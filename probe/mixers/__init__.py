"""Token mixers: one file a paper family, each with its update rule."""

from .attention import Attention
from .base import Mixer, MixerConfig
from .cells import GRU, LSTM, SLSTM, Elman
from .delta_net import DeltaNet, GatedDeltaNet
from .gate_loop import GateLoop
from .gated_linear_attention import GatedLinearAttention
from .gated_slot_attention import GatedSlotAttention
from .hgrn2 import HGRN2
from .kimi_delta_attention import KimiDeltaAttention
from .linear_attention import LinearAttention
from .linearized import Linearized
from .lssl import LSSL
from .mamba import Mamba, Mamba2
from .mlstm import MLSTM
from .ret_net import RetNet, TransNormer
from .rwkv import RWKV6, RWKV7
from .state_space import LRU, S4D, S5

__all__ = [
    "GRU",
    "HGRN2",
    "LRU",
    "LSSL",
    "LSTM",
    "MLSTM",
    "RWKV6",
    "RWKV7",
    "S4D",
    "S5",
    "SLSTM",
    "Attention",
    "DeltaNet",
    "Elman",
    "GateLoop",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "GatedSlotAttention",
    "KimiDeltaAttention",
    "LinearAttention",
    "Linearized",
    "Mamba",
    "Mamba2",
    "Mixer",
    "MixerConfig",
    "RetNet",
    "TransNormer",
]
