"""Speed on a GPU against flash-linear-attention in the same process, in bfloat16. Each row first checks that both agree.

`make gpu` prints the same rows where there is no pytest.
"""

from __future__ import annotations

import pytest
import torch
from peers import PEERS, SHAPES, Shape, Timed, against, taps_against_none

pytestmark = [pytest.mark.benchmark, pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def show(name: str, shape: Shape, rows: list[Timed]) -> None:
    for row in rows:
        print(f"\n{name} {shape}, {row.what}: {row.ours:.3f} ms, peer {row.peer:.3f} ms, ratio {row.ratio:.2f}")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PEERS)
def test_against_flash_linear_attention(name: str, shape: Shape) -> None:
    show(name, shape, against(name, shape))


def test_taps() -> None:
    show("gated delta rule", SHAPES[0], taps_against_none(SHAPES[0]))
