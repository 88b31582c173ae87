"""Bad input: an error that names the argument, what was found and what is needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recurrences import RECURRENCES

from statescope import Edit, Tap

B, T, H, K, V = 2, 10, 3, 4, 5


def call(name: str = "delta-decay", change: dict[str, Any] | None = None, **how: Any) -> Any:
    inputs: dict[str, Any] = {**RECURRENCES[name].make(B, T, H, K, V, torch.float32, 0), **(change or {})}
    return RECURRENCES[name].call(**inputs, **how)


def altered(name: str, key: str, index: tuple[int, ...], value: float) -> dict[str, Any]:
    tensor = RECURRENCES[name].make(B, T, H, K, V, torch.float32, 0)[key].clone()
    tensor[index] = value
    return {key: tensor}


SHAPES = [
    ("linear", {"k": torch.zeros(B, T, H, K + 1)}, r"k has shape \(2, 10, 3, 5\); its axis 3 \(K\) is 5 and must be 4"),
    ("linear", {"v": torch.zeros(B, T - 1, H, V)}, r"v has shape \(2, 9, 3, 5\); its axis 1 \(T\) is 9 and must be 10"),
    ("linear-decay", {"log_decay": torch.zeros(B, T)}, r"log_decay has shape \(2, 10\); it needs 3 dimensions \[B, T, H\]"),
    ("gated", {"log_decay": torch.zeros(B, T, H)}, r"log_decay .* needs 4 dimensions \[B, T, H, K\]"),
    ("delta-decay", {"beta": torch.zeros(B, T, H + 1)}, r"beta has shape .* \(H\) is 4 and must be 3"),
    ("delta-product", {"beta": torch.zeros(B, T, H, 2)}, r"beta has shape .* \(n\) is 2 and must be 3"),
]


@pytest.mark.parametrize(("name", "change", "message"), SHAPES)
def test_shapes(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(name, change)


def test_types() -> None:
    with pytest.raises(TypeError, match=r"v has dtype torch.int64; it must be a floating-point tensor"):
        call("linear", {"v": torch.zeros(B, T, H, V, dtype=torch.int64)})
    with pytest.raises(TypeError, match="v has dtype torch.float64 and q torch.float32; float64 does not mix"):
        call("linear", {"v": torch.zeros(B, T, H, V, dtype=torch.float64)})
    with pytest.raises(TypeError, match=r"q must be a torch.Tensor, got list"):
        call("linear", {"q": [1.0]})


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in ("gated", "delta-decay") for key in ("q", "k", "v", "log_decay")]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(name: str, key: str, value: float) -> None:
    index = (1, 7, 2, 3) if key != "log_decay" or name == "gated" else (1, 7, 2)
    with pytest.raises(ValueError, match=rf"{key} is (nan|inf) at index \({', '.join(map(str, index))}\)"):
        call(name, altered(name, key, index, value))


def test_large_values_whose_sum_overflows_are_finite() -> None:
    call("linear", {"v": torch.full((B, T, H, V), 1e38)})


def test_keys_and_gates() -> None:
    with pytest.raises(ValueError, match=r"k has length 2 at index \(0, 0, 0\): a delta rule needs unit keys"):
        inputs = RECURRENCES["delta-decay"].make(B, T, H, K, V, torch.float32, 0)
        call(change={"k": 2 * inputs["k"]})
    with pytest.raises(ValueError, match=r"log_decay ranges over .* must lie in \[-inf, 0\]"):
        call(change=altered("delta-decay", "log_decay", (0, 3, 1), 0.1))
    with pytest.raises(ValueError, match=r"beta ranges over .* must lie in \[0, 2\]"):
        call(change=altered("delta-decay", "beta", (0, 3, 1), 2.1))
    zero_key = altered("delta-decay", "k", (0, 3, 1), 0.0)
    call(change=zero_key)  # a token that writes nothing


@pytest.mark.parametrize("implementation", ["reference", "chunked"])
def test_taps_and_edits_out_of_range(implementation: str) -> None:
    with pytest.raises(IndexError, match="tap at position 10 is outside a sequence of 10 tokens"):
        call(taps=[3, 10], implementation=implementation)
    with pytest.raises(IndexError, match=r"Tap\(every=11\) taps nothing in a sequence of 10 tokens"):
        call(taps=Tap(every=11), implementation=implementation)
    with pytest.raises(IndexError, match=r"Edit\('scale'\) at position -11 is outside a sequence of 10 tokens"):
        call(edits=[Edit(-11, "scale", torch.tensor(1.0))], implementation=implementation)
    with pytest.raises(ValueError, match="tap positions must increase"):
        call(taps=[3, 2], implementation=implementation)
    with pytest.raises(ValueError, match='give "last", "all", positions'):
        call(taps="first", implementation=implementation)


def test_edits_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="operation 'erase' is not known; one of set, add"):
        Edit(0, "erase", torch.tensor(1.0))
    with pytest.raises(ValueError, match="verb 'maybe' is not known"):
        Edit(0, "scale", torch.tensor(1.0), verb="maybe")
    with pytest.raises(ValueError, match="direction of non-zero length"):
        Edit(0, "reflect_key", torch.zeros(K))
    for implementation in ("reference", "chunked"):
        with pytest.raises(ValueError, match=r"value of shape \(3,\) does not broadcast to \(2, 3, 4, 5\)"):
            call(edits=[Edit(2, "add", torch.zeros(3))], implementation=implementation)
        with pytest.raises(IndexError, match="head 3"):
            call(edits=[Edit(2, "add", torch.zeros(K, V), heads=(3,))], implementation=implementation)


def test_packing() -> None:
    inputs = RECURRENCES["linear"].make(1, T, H, K, V, torch.float32, 0)
    for bounds, message in (
        ([0, 5, 3, 10], "must increase"),
        ([0, 5, 5, 10], "must increase"),
        ([0, 5], "must run from 0 to the 10 tokens"),
        ([1, 10], "must run from 0 to the 10 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            RECURRENCES["linear"].call(**inputs, cu_seqlens=torch.tensor(bounds))
    with pytest.raises(ValueError, match="needs inputs of batch 1"):
        call("linear", cu_seqlens=torch.tensor([0, 10]))
    with pytest.raises(ValueError, match=r"initial_state has shape .* \(S\) is 1 and must be 2"):
        RECURRENCES["linear"].call(**inputs, cu_seqlens=torch.tensor([0, 4, 10]), initial_state=torch.zeros(1, H, K, V))


def test_implementations() -> None:
    with pytest.raises(ValueError, match="implementation='cuda' is not known; one of auto, reference, chunked"):
        call(implementation="cuda")
    with pytest.raises(ValueError, match="chunk"):
        call(chunk=0)
    with pytest.raises(ValueError, match="precision='half' is not known; one of exact, fast"):
        call(precision="half")


def test_grouped_heads_that_do_not_divide() -> None:
    two = {key: torch.nn.functional.normalize(torch.ones(B, T, 2, K), dim=-1) for key in ("q", "k")}
    with pytest.raises(ValueError, match="q has 2 heads and v 3; grouped heads need a multiple"):
        call(change=two)


@pytest.mark.parametrize("name", ["linear", "gated", "delta-decay"])
def test_an_empty_sequence_is_refused(name: str) -> None:
    inputs = {key: x[:, :0] for key, x in RECURRENCES[name].make(B, T, H, K, V, torch.float32, 0).items()}
    with pytest.raises(ValueError, match="the sequences are empty: batch 2, 0 tokens"):
        RECURRENCES[name].call(**inputs)
