"""Families of flash-linear-attention that are refused, each with its reason."""

from __future__ import annotations

from ...adapter import RefusedFamily


class RefusedOfFla(RefusedFamily):
    """Base of those of this library."""

    package = "fla"


class MesaNetAdapter(RefusedOfFla, kind="fla_mesa_net"):
    """o_t = S_t^T (H_t + Lambda)^{-1} q_t, with a second state H_t of the keys."""

    title, checkpoints, modules = "MesaNet", ("MesaNet",), ("MesaNet",)
    refused = "its read-out solves a linear system in a second state, of the keys: no recurrence of ours reads so"


class LogLinearMamba2Adapter(RefusedOfFla, kind="fla_log_linear_mamba2"):
    """One state a level of a binary tree over the tokens."""

    title, checkpoints, modules = "log-linear Mamba-2", ("log-linear Mamba-2",), ("LogLinearMamba2",)
    refused = "it keeps a state for each level of a tree over the tokens, and their number grows with the sequence"


class Mamba3Adapter(RefusedOfFla, kind="fla_mamba3"):
    """Rotated keys and queries, and a trapezoid rule."""

    title, checkpoints, modules = "Mamba-3", ("Mamba-3",), ("Mamba3",)
    refused = "its trapezoid rule writes two tokens into the state at each step, which no recurrence of ours does"


class MomAdapter(RefusedOfFla, kind="fla_mom"):
    """Several memories, to which a router sends tokens."""

    title, checkpoints, modules = "mixture of memories", ("MoM",), ("MomAttention",)
    refused = "a router sends tokens to several memories, packed by memory: positions in them are no positions of the sequence"


class PathAdapter(RefusedOfFla, kind="fla_path_attention"):
    """Softmax attention whose positions are products of Householder matrices."""

    title, checkpoints, modules = "PaTH attention", ("PaTH",), ("PaTHAttention",)
    refused = "its scores hold products of reflections between each two tokens, which its kernel makes and does not hand out"


class RodimusAdapter(RefusedOfFla, kind="fla_rodimus"):
    """Gated linear attention beside sliding-window attention of shared keys."""

    title, checkpoints, modules = "Rodimus", ("Rodimus",), ("RodimusAttention", "SlidingWindowSharedKeyAttention")
    refused = "its layers hold two mixers each, and its window attention runs on a package for GPUs alone"
