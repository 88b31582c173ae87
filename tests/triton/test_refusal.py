"""What happens where Triton cannot run."""

from __future__ import annotations

import pytest
import torch
from recurrences import RECURRENCES


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what a machine without a GPU says")
def test_without_a_gpu_they_are_refused_and_auto_takes_the_twin() -> None:
    inputs = RECURRENCES["delta-decay"].make(1, 5, 1, 4, 3, torch.float32, 0)
    with pytest.raises(ValueError, match=r"implementation='triton' needs tensors on an NVIDIA GPU, q is on cpu; .*'chunked'"):
        RECURRENCES["delta-decay"].call(**inputs, implementation="triton")
    assert RECURRENCES["delta-decay"].call(**inputs).implementation == "chunked"
