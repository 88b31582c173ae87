"""Our Triton kernels beside flash-linear-attention's: the same recurrence from the same tokens, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope.kernels.fixed_decay import retnet_log_decay

CHUNKS = (32, 64)
AGREE = 2e-2  # bfloat16
Shape = tuple[int, int, int, int]
SHAPES: tuple[Shape, ...] = ((8, 4096, 16, 128), (2, 16384, 16, 128), (8, 1024, 8, 64))  # B, T, H, K = V
Tokens = dict[str, Tensor]


@dataclass(frozen=True)
class Peer:
    """A family of ours and the same recurrence in flash-linear-attention."""

    family: str
    module: str
    function: str
    arguments: Callable[[Tokens], dict[str, Any]]

    def make(self, shape: Shape, *, gradient: bool, device: str = "cuda") -> Tokens:
        """Tokens in bfloat16 (on a CPU float16, which Triton's interpreter rounds as it should), the same in every sequence."""
        batch, length, heads, size = shape
        made = RECURRENCES[self.family].make(1, length, heads, size, size, torch.float32, 0)
        if self.module == "retention":
            made["log_decay"] = retnet_log_decay(heads).expand(1, length, heads)
        types = {"log_decay": torch.float32}  # as flash-linear-attention's layers pass it
        half = torch.float16 if device == "cpu" else torch.bfloat16
        placed = {key: x.to(device, types.get(key, half)).repeat(batch, *[1] * (x.ndim - 1)) for key, x in made.items()}
        return {key: x.requires_grad_(gradient and self.trains(key)) for key, x in placed.items()}

    def trains(self, token: str) -> bool:
        """RetNet's decay is fixed."""
        return self.module != "retention" or token != "log_decay"

    def theirs(self, tokens: Tokens) -> Tensor:
        from importlib import import_module

        call = getattr(import_module(f"fla.ops.{self.module}"), self.function)
        return call(**self.arguments(tokens), scale=1.0)[0]

    def twin(self, tokens: Tokens) -> Tensor:
        """Ours in plain torch: the peer where flash-linear-attention does not run."""
        return RECURRENCES[self.family].call(**tokens, implementation="chunked").output

    def ours(self, tokens: Tokens, **how: Any) -> Tensor:
        return RECURRENCES[self.family].call(**tokens, implementation="triton", precision="fast", **how).output


def named(**names: str) -> Callable[[Tokens], dict[str, Any]]:
    """Their argument = our token."""
    return lambda tokens: {theirs: tokens[ours] for theirs, ours in names.items()}


PEERS = {
    "gated delta rule": Peer(
        "delta-decay", "gated_delta_rule", "chunk_gated_delta_rule", named(q="q", k="k", v="v", g="log_decay", beta="beta")
    ),
    "KDA": Peer("delta-by-channel", "kda", "chunk_kda", named(q="q", k="k", v="v", g="log_decay", beta="beta")),
    "GLA": Peer("gated", "gla", "chunk_gla", named(q="q", k="k", v="v", g="log_decay")),
    "Mamba-2": Peer("linear-decay", "simple_gla", "chunk_simple_gla", named(q="q", k="k", v="v", g="log_decay")),
    "RWKV-7": Peer("low-rank", "rwkv7", "chunk_rwkv7", named(r="q", w="log_decay", k="k", v="v", a="a", b="b")),
    "RetNet": Peer("linear-decay", "retention", "chunk_retention", named(q="q", k="k", v="v")),
}


class Timed(NamedTuple):
    """What was timed, the milliseconds of ours and of the peer, and the most that their ratio should be.

    refusal: what the peer says where it does not run here, as flash-linear-attention's gradients on Hopper before Triton 3.7.1;
        its time is then NaN.
    """

    what: str
    ours: float
    peer: float
    wanted: float
    refusal: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.peer


class DisagreementError(AssertionError):
    """Ours and the peer compute different things: nothing is timed."""


def milliseconds(*calls: Callable[[], object], rounds: int, device: str = "cuda") -> list[float]:
    """Median time of each call on the device, in turn."""
    for call in calls * (5 if device == "cuda" else 1):
        call()
    measure = _on_gpu if device == "cuda" else _on_cpu
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for own, call in zip(times, calls, strict=True):
            own.append(measure(call))
    return [statistics.median(own) for own in times]


def _on_gpu(call: Callable[[], object]) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def _on_cpu(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1e3


def step(call: Callable[[Tokens], Tensor], tokens: Tokens) -> Callable[[], object]:
    """Forward and backward."""
    return lambda: torch.autograd.grad(call(tokens).sum(), [x for x in tokens.values() if x.requires_grad])


def against(name: str, shape: Shape, *, device: str = "cuda", rounds: int = 30, other: str = "theirs") -> list[Timed]:
    """Forward, and forward and backward, with the rows of tokens that suit the machine best; each checked first.

    other: which peer, "theirs" or "twin".
    """
    peer = PEERS[name]
    tokens = peer.make(shape, gradient=True, device=device)
    plain = {key: x.detach() for key, x in tokens.items()}
    call = getattr(peer, other)
    chunks = [chunk for chunk in CHUNKS if chunk <= max(shape[1], min(CHUNKS))]
    own = {chunk: partial(peer.ours, chunk=chunk) for chunk in chunks}
    for chunk, ours in own.items():
        if not (apart := relative(ours(plain), call(plain))) <= AGREE:
            raise DisagreementError(f"{name} {shape}, rows of {chunk}: relative difference {apart:.2e}, at most {AGREE:g}")
    rows = []
    for what, given, how in (("forward", plain, partial), ("forward and backward", tokens, step)):
        timed = partial(milliseconds, rounds=rounds, device=device)
        refused = refusal(how(call, given))
        peer_calls = () if refused else (how(call, given),)
        each = [(timed(how(ours, given), *peer_calls), chunk) for chunk, ours in own.items()]
        (ours_ms, *peer_ms), chunk = min(each)
        rows.append(Timed(f"{what}, rows of {chunk}", ours_ms, *(peer_ms or [float("nan")]), 1.0, refused))
    return rows


def refusal(call: Callable[[], object]) -> str:
    """What a call raises, in a line; "" where it runs."""
    try:
        call()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def taps_against_none(shape: Shape, *, device: str = "cuda", rounds: int = 30) -> list[Timed]:
    """The gated delta rule's forward with 16 taps, and without."""
    peer, length = PEERS["gated delta rule"], shape[1]
    tokens = peer.make(shape, gradient=False, device=device)
    count = min(16, length)
    taps = list(range(length // count - 1, length, length // count))
    tapped, plain = milliseconds(lambda: peer.ours(tokens, taps=taps), lambda: peer.ours(tokens), rounds=rounds, device=device)
    return [Timed(f"forward with {count} taps, against none", tapped, plain, 1.05)]
