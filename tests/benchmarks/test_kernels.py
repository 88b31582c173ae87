"""Speed of the recurrences at B=2, H=4, T=1024, K=V=64, float32, one thread. Each row first checks that both are right."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory import peak_mib
from recurrences import RECURRENCES, Inputs
from timing import Ratio, compare
from torch import Tensor

from statescope import Edit, delta_rule

pytestmark = pytest.mark.benchmark

B, T, H, SIZE = 2, 1024, 4, 64
TAPS = tuple(range(63, T, 64))
FAMILIES = ("linear-decay", "mlstm", "gated", "bonus", "delta-decay", "delta-by-channel", "low-rank")
POSITIONS = {"at-row-ends": (255, 511, 767, 959), "anywhere": (100, 400, 700, 1000)}


def inputs_of(family: str, *, gradient: bool = True) -> Inputs:
    inputs = RECURRENCES[family].make(B, T, H, SIZE, SIZE, torch.float32, 0)
    return {name: x.requires_grad_(gradient) for name, x in inputs.items()}


def step(family: str, inputs: Inputs, *, tapped_loss: bool = False, **how: Any) -> Callable[[], list[Tensor]]:
    """Forward and backward."""

    def run() -> list[Tensor]:
        out = RECURRENCES[family].call(**inputs, **how)
        loss = out.output.sum() + (out.states.sum() if tapped_loss else 0)
        return list(torch.autograd.grad(loss, list(inputs.values())))

    return run


def report(what: str, first: str, second: str, ratio: Ratio, wanted: str) -> None:
    print(f"\n{what}\n  {first}: {ratio.first:.1f} ms   {second}: {ratio.second:.1f} ms   ratio {ratio.ratio:.3f} ({wanted})")


def close(found: Tensor, truth: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((found - truth).norm() <= tolerance * truth.norm())


def peer() -> Callable[..., Any]:
    """transformers' torch fallback for Qwen3-Next."""
    from transformers.models.qwen3_next import modeling_qwen3_next

    return inspect.unwrap(modeling_qwen3_next.torch_chunk_gated_delta_rule)


def test_forward_against_transformers() -> None:
    """The first of all, before others have left the allocator memory: their larger temporaries are what it has to fetch."""
    inputs = inputs_of("delta-decay", gradient=False)
    theirs = peer()

    def run_theirs() -> Tensor:
        q, k, v, beta, decay = (inputs[name] for name in ("q", "k", "v", "beta", "log_decay"))
        return theirs(q * SIZE**0.5, k, v, g=decay, beta=beta)[0]

    with torch.no_grad():
        assert close(delta_rule(**inputs).output, run_theirs())
        ratio = compare(run_theirs, lambda: delta_rule(**inputs), pairs=21)
    report("gated delta rule, forward", "transformers", "chunked", ratio, "at least 1.5")
    assert ratio.ratio >= 1.5


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked_against_the_token_loop(family: str) -> None:
    inputs = inputs_of(family)
    chunked, loop = step(family, inputs), step(family, inputs, implementation="reference")
    assert all(close(found, truth) for found, truth in zip(chunked(), loop(), strict=True))
    ratio = compare(loop, chunked, pairs=3, warm_up=1)
    report(f"{family}, forward and backward", "token loop", "chunked", ratio, "at least 10")
    assert ratio.ratio >= 10


@pytest.mark.parametrize("family", FAMILIES)
def test_taps_against_no_taps(family: str) -> None:
    inputs = inputs_of(family)
    states = RECURRENCES[family].call(**inputs, taps=TAPS).states
    wide = {name: x.double() for name, x in inputs.items()}
    assert close(states, RECURRENCES[family].call(**wide, taps=TAPS, implementation="reference").states, 1e-5)
    ratio = compare(step(family, inputs, taps=TAPS), step(family, inputs), pairs=21)
    report(f"{family}, 16 taps, forward and backward", "taps", "none", ratio, "at most 1.10")
    through = compare(step(family, inputs, taps=TAPS, tapped_loss=True), step(family, inputs), pairs=21)
    report("  the same with a gradient through every tap", "taps", "none", through, "no bound")
    assert ratio.ratio <= 1.10


@pytest.mark.parametrize("where", POSITIONS)
def test_edits_against_no_edits(where: str) -> None:
    """Between rows an edit is free but for itself; elsewhere it cuts a row in two."""
    inputs = inputs_of("delta-decay")
    edits = [Edit(position, "scale", torch.tensor(0.5)) for position in POSITIONS[where]]
    truth = delta_rule(**inputs, edits=edits, implementation="reference").output
    assert close(delta_rule(**inputs, edits=edits).output, truth)
    ratio = compare(step("delta-decay", inputs, edits=edits), step("delta-decay", inputs), pairs=21)
    report(f"delta-decay, 4 edits {where}, forward and backward", "edits", "none", ratio, "at most 1.15; anywhere 1.25")
    assert ratio.ratio <= (1.15 if where == "at-row-ends" else 1.25)


@pytest.mark.parametrize("length", [1024, 16384])
def test_peak_memory(length: int) -> None:
    """Of a forward: no more than transformers', and with taps no more than their states and 5% over none."""
    inputs = RECURRENCES["delta-decay"].make(B, length, H, SIZE, SIZE, torch.float32, 0)
    q, k, v, beta, decay = (inputs[name] for name in ("q", "k", "v", "beta", "log_decay"))
    taps = tuple(range(3, length, 4))
    with torch.no_grad():
        theirs = peak_mib(lambda: peer()(q, k, v, g=decay, beta=beta))
        ours = peak_mib(lambda: delta_rule(**inputs))
        tapped = peak_mib(lambda: delta_rule(**inputs, taps=taps))
    states = len(taps) * B * H * SIZE * SIZE * 4 / 2**20
    print(f"\npeak memory, T = {length}, forward: transformers {theirs:.1f} MiB, chunked {ours:.1f} MiB")
    print(f"  {len(taps)} taps: {tapped - ours:.1f} MiB more, their states are {states:.1f} MiB")
    assert ours <= theirs
    assert tapped - ours <= 1.05 * states


def test_time_per_token_is_flat() -> None:
    """From 1K to 64K tokens, forward."""
    short, long = (RECURRENCES["delta-decay"].make(1, length, 2, SIZE, SIZE, torch.float32, 0) for length in (1024, 65536))
    with torch.no_grad():
        ratio = compare(lambda: delta_rule(**long), lambda: [delta_rule(**short) for _ in range(64)], pairs=3, warm_up=1)
    report("delta-decay, forward, B=1, H=2", "64K tokens", "64 times 1K", ratio, "within 20%")
    assert 0.8 <= ratio.ratio <= 1.2
