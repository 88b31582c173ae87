"""Speed of the recurrences at B=2, H=4, T=1024, K=V=64, float32, one thread. Each row first checks that both are right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from statescope import Edit, delta_rule, gated_linear_attention, linear_attention
from timing import Ratio, compare
from torch import Tensor

pytestmark = pytest.mark.benchmark

B, T, H, SIZE = 2, 1024, 4, 64
TAPS = tuple(range(63, T, 64))


def inputs_of(family: str) -> dict[str, Tensor]:
    q, k, v = torch.randn(3, B, T, H, SIZE).unbind(0)
    inputs = {"q": q / SIZE**0.5, "k": torch.nn.functional.normalize(k, dim=-1), "v": v}
    if family == "delta_rule":
        inputs |= {"beta": 2 * torch.rand(B, T, H), "log_decay": -0.1 * torch.rand(B, T, H)}
    else:
        inputs["log_decay"] = -0.1 * torch.rand((B, T, H) if family == "linear_attention" else (B, T, H, SIZE))
    return {name: x.requires_grad_() for name, x in inputs.items()}


CALLS: dict[str, Callable[..., object]] = {
    "linear_attention": linear_attention,
    "gated_linear_attention": gated_linear_attention,
    "delta_rule": delta_rule,
}


def step(family: str, inputs: dict[str, Tensor], *, tapped_loss: bool = False, **how: object) -> Callable[[], list[Tensor]]:
    """Forward and backward."""

    def run() -> list[Tensor]:
        out = CALLS[family](**inputs, **how)
        loss = out.output.sum() + (out.states.sum() if tapped_loss else 0)
        return list(torch.autograd.grad(loss, list(inputs.values())))

    return run


def report(what: str, first: str, second: str, ratio: Ratio, wanted: str) -> None:
    print(f"\n{what}\n  {first}: {ratio.first:.1f} ms   {second}: {ratio.second:.1f} ms   ratio {ratio.ratio:.3f} ({wanted})")


@pytest.mark.parametrize("family", CALLS)
def test_chunked_against_the_token_loop(family: str) -> None:
    inputs = inputs_of(family)
    chunked, loop = step(family, inputs), step(family, inputs, implementation="reference")
    for found, truth in zip(chunked(), loop(), strict=True):
        assert (found - truth).norm() <= 1e-4 * truth.norm()
    ratio = compare(loop, chunked, pairs=3, warm_up=1)
    report(f"{family}, forward and backward", "token loop", "chunked", ratio, "at least 10")
    assert ratio.ratio >= 10


@pytest.mark.parametrize("in_loss", [False, True], ids=["read", "in-the-loss"])
def test_taps_against_no_taps(in_loss: bool) -> None:
    inputs = inputs_of("delta_rule")
    states = delta_rule(**inputs, taps=TAPS).states
    exact = delta_rule(**{name: x.double() for name, x in inputs.items()}, taps=TAPS, implementation="reference").states
    assert (states - exact).norm() <= 1e-5 * exact.norm()
    ratio = compare(step("delta_rule", inputs, taps=TAPS, tapped_loss=in_loss), step("delta_rule", inputs), pairs=21)
    what = "delta_rule, 16 taps, forward and backward" + (" through the taps" if in_loss else "")
    report(what, "taps", "none", ratio, "at most 1.15")
    assert ratio.ratio <= (1.25 if in_loss else 1.15)


def test_edits_against_no_edits() -> None:
    inputs = inputs_of("delta_rule")
    edits = [Edit(position, "scale", torch.tensor(0.5)) for position in (100, 400, 700, 1000)]
    found = delta_rule(**inputs, edits=edits).output
    truth = delta_rule(**inputs, edits=edits, implementation="reference").output
    assert (found - truth).norm() <= 1e-4 * truth.norm()
    ratio = compare(step("delta_rule", inputs, edits=edits), step("delta_rule", inputs), pairs=21)
    report("delta_rule, 4 edits, forward and backward", "edits", "none", ratio, "at most 1.25")
    assert ratio.ratio <= 1.25
