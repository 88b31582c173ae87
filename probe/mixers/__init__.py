"""Token mixers: one file a paper family, each with its update rule; and what a mixer of one's own is made from."""

from ..hooks.points import Point, complex_of
from .attention import Attention
from .base import ComplexLinear, Memory, Mixer, MixerConfig, RMSNorm, StateRequest, linear
from .cells import GRU, LSTM, SLSTM, Elman
from .delta_net import DeltaNet, GatedDeltaNet
from .gate_loop import GateLoop
from .gated_linear_attention import GatedLinearAttention
from .gated_slot_attention import GatedSlotAttention
from .heads import HeadMixer, HeadsConfig, RecurrentMixer
from .hgrn2 import HGRN2
from .kimi_delta_attention import KimiDeltaAttention
from .linear_attention import LinearAttention
from .linearized import Linearized
from .lssl import LSSL
from .mamba import Mamba, Mamba2
from .mlstm import MLSTM
from .points import (
    BETA,
    DECAY,
    DIAGONAL_VECTOR_STATE,
    GATE,
    LOG_DECAY,
    LOG_DECAY_BY_CHANNEL,
    MATRIX_STATE,
    QKV,
    STEP,
    TRANSITION,
    VECTOR_STATE,
    Z_WITHOUT_HEADS,
    X,
    Z,
    with_normaliser,
)
from .recurrences import DIAGONAL_SCAN, Recurrence, Tokens, of_transition
from .ret_net import RetNet, TransNormer
from .rwkv import RWKV6, RWKV7
from .state_space import LRU, S4D, S5

__all__ = [
    "BETA",
    "DECAY",
    "DIAGONAL_SCAN",
    "DIAGONAL_VECTOR_STATE",
    "GATE",
    "GRU",
    "HGRN2",
    "LOG_DECAY",
    "LOG_DECAY_BY_CHANNEL",
    "LRU",
    "LSSL",
    "LSTM",
    "MATRIX_STATE",
    "MLSTM",
    "QKV",
    "RWKV6",
    "RWKV7",
    "S4D",
    "S5",
    "SLSTM",
    "STEP",
    "TRANSITION",
    "VECTOR_STATE",
    "Z_WITHOUT_HEADS",
    "Attention",
    "ComplexLinear",
    "DeltaNet",
    "Elman",
    "GateLoop",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "GatedSlotAttention",
    "HeadMixer",
    "HeadsConfig",
    "KimiDeltaAttention",
    "LinearAttention",
    "Linearized",
    "Mamba",
    "Mamba2",
    "Memory",
    "Mixer",
    "MixerConfig",
    "Point",
    "RMSNorm",
    "Recurrence",
    "RecurrentMixer",
    "RetNet",
    "StateRequest",
    "Tokens",
    "TransNormer",
    "X",
    "Z",
    "complex_of",
    "linear",
    "of_transition",
    "with_normaliser",
]
