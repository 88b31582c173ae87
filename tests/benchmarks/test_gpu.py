"""Speed on a GPU against flash-linear-attention in the same process, in bfloat16. Each row first checks that both agree."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope.kernels.fixed_decay import retnet_log_decay

pytestmark = [pytest.mark.benchmark, pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

CHUNKS = (32, 64)
SHAPES = ((8, 4096, 16, 128), (2, 16384, 16, 128), (8, 1024, 8, 64))
Tokens = dict[str, Tensor]


@dataclass(frozen=True)
class Peer:
    """A family of ours and the same recurrence in flash-linear-attention, from the same tokens."""

    family: str
    module: str
    function: str
    arguments: Callable[[Tokens], dict[str, Any]]

    def make(self, shape: tuple[int, ...], *, gradient: bool) -> Tokens:
        batch, length, heads, size = shape
        made = RECURRENCES[self.family].make(batch, length, heads, size, size, torch.float32, 0)
        if self.module == "retention":
            made["log_decay"] = retnet_log_decay(heads).expand(batch, length, heads)
        types = {"log_decay": torch.float32}  # as flash-linear-attention's layers pass it
        on_gpu = {key: x.to("cuda", types.get(key, torch.bfloat16)) for key, x in made.items()}
        return {key: x.requires_grad_(gradient and self.trains(key)) for key, x in on_gpu.items()}

    def trains(self, token: str) -> bool:
        """RetNet's decay is fixed."""
        return self.module != "retention" or token != "log_decay"

    def theirs(self, tokens: Tokens) -> Tensor:
        from importlib import import_module

        call = getattr(import_module(f"fla.ops.{self.module}"), self.function)
        return call(**self.arguments(tokens), scale=1.0)[0]

    def ours(self, tokens: Tokens, **how: Any) -> Tensor:
        return RECURRENCES[self.family].call(**tokens, implementation="triton", precision="fast", **how).output


def named(**names: str) -> Callable[[Tokens], dict[str, Any]]:
    """Their argument = our token."""
    return lambda tokens: {theirs: tokens[ours] for theirs, ours in names.items()}


PEERS = {
    "gated delta rule": Peer(
        "delta-decay", "gated_delta_rule", "chunk_gated_delta_rule", named(q="q", k="k", v="v", g="log_decay", beta="beta")
    ),
    "GLA": Peer("gated", "gla", "chunk_gla", named(q="q", k="k", v="v", g="log_decay")),
    "KDA": Peer("delta-by-channel", "kda", "chunk_kda", named(q="q", k="k", v="v", g="log_decay", beta="beta")),
    "RWKV-7": Peer("low-rank", "rwkv7", "chunk_rwkv7", named(r="q", w="log_decay", k="k", v="v", a="a", b="b")),
    "Mamba-2": Peer("linear-decay", "simple_gla", "chunk_simple_gla", named(q="q", k="k", v="v", g="log_decay")),
    "RetNet": Peer("linear-decay", "retention", "chunk_retention", named(q="q", k="k", v="v")),
}


def milliseconds(*calls: Callable[[], object], rounds: int = 30) -> list[float]:
    """Median device time of each call, in turn."""
    for call in calls * 5:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for own, call in zip(times, calls, strict=True):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            call()
            end.record()
            end.synchronize()
            own.append(begin.elapsed_time(end))
    return [statistics.median(own) for own in times]


def step(call: Callable[[Tokens], Tensor], tokens: Tokens) -> Callable[[], object]:
    return lambda: torch.autograd.grad(call(tokens).sum(), [x for x in tokens.values() if x.requires_grad])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PEERS)
def test_against_flash_linear_attention(name: str, shape: tuple[int, ...]) -> None:
    """With the rows that suit the machine best, which are printed."""
    peer = PEERS[name]
    tokens = peer.make(shape, gradient=True)
    forward, training = [], []
    for chunk in CHUNKS:
        ours = partial(peer.ours, chunk=chunk)
        assert relative(ours(tokens), peer.theirs(tokens)) <= 2e-2
        forward.append((*milliseconds(partial(ours, tokens), partial(peer.theirs, tokens)), chunk))
        training.append((*milliseconds(step(ours, tokens), step(peer.theirs, tokens)), chunk))
    for what, rows in (("forward", forward), ("forward and backward", training)):
        own, theirs, chunk = min(rows)
        print(f"\n{name} {shape}, {what}: {own:.3f} ms at chunk {chunk}, fla {theirs:.3f} ms, ratio {own / theirs:.2f}")
    assert all(min(rows)[0] <= min(rows)[1] for rows in (forward, training))


def test_taps() -> None:
    peer, length = PEERS["gated delta rule"], SHAPES[0][1]
    tokens = peer.make(SHAPES[0], gradient=False)
    taps = list(range(length // 16 - 1, length, length // 16))
    tapped, plain = milliseconds(lambda: peer.ours(tokens, taps=taps), lambda: peer.ours(tokens))
    print(f"\n16 taps: {tapped:.3f} ms, none {plain:.3f} ms, ratio {tapped / plain:.3f}")
    assert tapped <= 1.05 * plain
