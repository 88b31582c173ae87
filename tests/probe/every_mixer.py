"""A small one of every token mixer."""

from __future__ import annotations

from statescope.probe.mixers import (
    GRU,
    HGRN2,
    LRU,
    LSSL,
    LSTM,
    MLSTM,
    RWKV6,
    RWKV7,
    S4D,
    S5,
    SLSTM,
    Attention,
    DeltaNet,
    Elman,
    GatedDeltaNet,
    GatedLinearAttention,
    GatedSlotAttention,
    GateLoop,
    KimiDeltaAttention,
    LinearAttention,
    Linearized,
    Mamba,
    Mamba2,
    MixerConfig,
    RetNet,
    TransNormer,
)

OF_HEADS = (
    *(Attention, DeltaNet, GatedDeltaNet, KimiDeltaAttention, RetNet, TransNormer, GatedLinearAttention, HGRN2),
    *(GatedSlotAttention, GateLoop, RWKV6, RWKV7, MLSTM, Elman, GRU, LSTM, SLSTM),
)
MIXERS = [
    DeltaNet(heads=2, key_size=4, value_size=6, householders=2),
    *(make(heads=2, key_size=4, value_size=6) for make in OF_HEADS),
    LinearAttention(heads=2, key_size=4, value_size=6, feature_map="taylor"),
    LinearAttention(heads=2, key_size=4, value_size=6, feature_map="identity", normalise=False),
    Linearized(heads=2, key_size=4, value_size=6),
    Linearized(heads=2, key_size=4, value_size=6, form="mamba"),
    LinearAttention(heads=2, key_size=4, value_size=6, feature_map="hedgehog", rotary=True),
    Mamba(state_size=5, short_convolution=3),
    Mamba2(heads=2, state_size=5),
    LRU(state_size=5),
    S5(state_size=6),
    S4D(state_size=6),
    LSSL(state_size=6),
]


def label(mixer: MixerConfig) -> str:
    return f"{mixer.kind}-{getattr(mixer, 'householders', '')}{getattr(mixer, 'feature_map', '')}{getattr(mixer, 'form', '')}"
