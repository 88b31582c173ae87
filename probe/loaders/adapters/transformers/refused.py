"""Families of transformers that are refused, each with its reason."""

from __future__ import annotations

from ...adapter import RefusedFamily


class ZambaAdapter(RefusedFamily, kind="zamba"):
    """Mamba with a scan for each of several heads."""

    title, checkpoints, modules = "Mamba by heads", ("Zamba",), ("ZambaMambaMixer",)
    refused = "each head of a layer is scanned by a call of its own, so that no run shows the state of the layer; Zamba2 is read"


class ShortConvolutionAdapter(RefusedFamily, kind="short_convolution"):
    """A gated convolution over the last tokens."""

    title, checkpoints = "gated short convolution", ("LFM2", "LFM3")
    modules = ("Lfm2ShortConv", "Lfm2MoeShortConv", "Lfm3ShortConv")
    refused = "it keeps the last inputs of a convolution, and no state that a transition moves"
