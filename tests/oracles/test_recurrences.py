"""The recurrences against code that nobody here wrote: flash-linear-attention's naive loops and transformers' torch paths.

Each comparison runs the token loop and the chunked form. The others compute in float32, so that is the tolerance.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from statescope import delta_rule, diagonal_plus_low_rank, diagonal_scan, gated_linear_attention, linear_attention
from statescope.kernels.fixed_decay import retnet_log_decay

fla = pytest.importorskip("fla.ops", reason="needs flash-linear-attention")

B, T, H, K, V = 2, 45, 4, 16, 8
IMPLEMENTATIONS = ("reference", "chunked")
TOLERANCE = 1e-5


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape)


def tokens(heads: int = H) -> tuple[Tensor, Tensor, Tensor]:
    return normal(B, T, heads, K), normalize(normal(B, T, heads, K), dim=-1), normal(B, T, H, V)


def close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).norm() <= TOLERANCE * expected.norm()


def compare(call: Callable[..., Any], arguments: dict[str, Tensor], output: Tensor, state: Tensor, **how: Any) -> None:
    for implementation in IMPLEMENTATIONS:
        out = call(**arguments, implementation=implementation, **how)
        close(out.output, output)
        close(out.final_state, state)


def by_head(*tensors: Tensor) -> list[Tensor]:
    return [x.transpose(1, 2) for x in tensors]


def test_linear_attention() -> None:
    from fla.ops.linear_attn.naive import naive_recurrent_linear_attn

    (q, k, v), state = tokens(), normal(B, H, K, V)
    output, last = naive_recurrent_linear_attn(q, k, v, scale=1.0, initial_state=state, output_final_state=True)[:2]
    compare(linear_attention, {"q": q, "k": k, "v": v, "initial_state": state}, output, last)


def test_retention() -> None:
    from fla.ops.retention.naive import naive_retention

    q, k, v = tokens()
    expected = naive_retention(*by_head(q, k, v)).transpose(1, 2)
    decay = retnet_log_decay(H).float().expand(B, T, H)
    for implementation in IMPLEMENTATIONS:
        close(linear_attention(q * K**-0.5, k, v, decay, implementation=implementation).output, expected)


def test_scalar_decay() -> None:
    from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

    (q, k, v), g, state = tokens(), -torch.rand(B, T, H), normal(B, H, K, V)
    output, last = naive_recurrent_simple_gla(q, k, v, g, scale=1.0, initial_state=state, output_final_state=True)
    compare(linear_attention, {"q": q, "k": k, "v": v, "log_decay": g, "initial_state": state}, output, last)


def test_gated_linear_attention() -> None:
    from fla.ops.gla.naive import naive_recurrent_gla

    (q, k, v), g, state = tokens(), -torch.rand(B, T, H, K), normal(B, H, K, V)
    output, last = naive_recurrent_gla(q, k, v, g, initial_state=state, output_final_state=True)
    compare(gated_linear_attention, {"q": q * K**-0.5, "k": k, "v": v, "log_decay": g, "initial_state": state}, output, last)


def test_rwkv6() -> None:
    from fla.ops.rwkv6.recurrent_naive import naive_recurrent_rwkv6

    (q, k, v), w, u = tokens(), -torch.rand(B, T, H, K), normal(H, K)
    output, last = naive_recurrent_rwkv6(*by_head(q, k, v, w), u, scale=1.0, output_final_state=True)
    compare(gated_linear_attention, {"q": q, "k": k, "v": v, "log_decay": w, "bonus": u}, output.transpose(1, 2), last)


def test_delta_rule() -> None:
    from fla.ops.delta_rule.naive import delta_rule_recurrence

    (q, k, v), beta = tokens(), 2 * torch.rand(B, T, H)
    output, last = delta_rule_recurrence(*by_head(q, k, v, beta))
    compare(delta_rule, {"q": q * K**-0.5, "k": k, "v": v, "beta": beta}, output.transpose(1, 2), last)


def test_gated_delta_rule() -> None:
    from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule

    (q, k, v), beta, g, state = tokens(), torch.rand(B, T, H), -torch.rand(B, T, H), normal(B, H, K, V)
    output, last = naive_recurrent_gated_delta_rule(q, k, v, beta, g, scale=1.0, initial_state=state, output_final_state=True)
    compare(delta_rule, {"q": q, "k": k, "v": v, "beta": beta, "log_decay": g, "initial_state": state}, output, last)


@pytest.mark.parametrize("keys", [1, 3])
def test_gated_delta_product(keys: int) -> None:
    from fla.ops.gated_delta_product.naive import naive_recurrent_gated_delta_product

    q, g = normal(B, T, H, K), -torch.rand(B, T, H)
    k, v = normalize(normal(B, T * keys, H, K), dim=-1), normal(B, T * keys, H, V)
    beta = 2 * torch.rand(B, T * keys, H)
    output, last = naive_recurrent_gated_delta_product(q, k, v, g, beta, 1.0, output_final_state=True, num_householder=keys)
    grouped = {name: x.unflatten(1, (T, keys)).transpose(2, 3) for name, x in (("k", k), ("v", v), ("beta", beta))}
    compare(delta_rule, {"q": q, "log_decay": g, **grouped}, output, last)


@pytest.mark.parametrize("heads", [H, 2], ids=["own-heads", "grouped-heads"])
def test_kimi_delta_attention(heads: int) -> None:
    from fla.ops.kda.naive import naive_recurrent_kda

    (q, k, v), beta, g = tokens(heads), torch.rand(B, T, H), -torch.rand(B, T, H, K)
    output, last = naive_recurrent_kda(q, k, v, g, beta, scale=1.0, output_final_state=True)
    compare(delta_rule, {"q": q, "k": k, "v": v, "beta": beta, "log_decay": g}, output, last)


def test_diagonal_plus_low_rank() -> None:
    from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence

    (q, k, v), g = tokens(), -torch.rand(B, T, H, K)
    a = normalize(normal(B, T, H, K), dim=-1)
    b = -torch.rand(B, T, H, K) * a
    output, last = dplr_recurrence(*by_head(q, k, v, a, b, g))
    arguments = {"q": q * K**-0.5, "k": k, "v": v, "a": a, "b": b, "log_decay": g}
    compare(diagonal_plus_low_rank, arguments, output.transpose(1, 2), last)


def test_hgrn() -> None:
    from fla.ops.hgrn.naive import naive_recurrent_hgrn

    x, g = normal(B, T, K), -torch.rand(B, T, K)
    output, last = naive_recurrent_hgrn(x, g, output_final_state=True)
    for implementation in IMPLEMENTATIONS:
        out = diagonal_scan(x[:, :, None], g.exp()[:, :, None], implementation=implementation)
        close(out.output[:, :, 0], output)
        close(out.final_state[:, 0], last)


@pytest.mark.parametrize("path", ["recurrent", "chunk"])
@pytest.mark.parametrize("heads", [H, 2], ids=["own-heads", "grouped-heads"])
def test_qwen3_next(path: str, heads: int) -> None:
    from transformers.models.qwen3_next import modeling_qwen3_next as qwen

    (q, k, v), beta, g, state = tokens(heads), torch.rand(B, T, H), -torch.rand(B, T, H), normal(B, H, K, V)
    call = inspect.unwrap(getattr(qwen, f"torch_{path}_gated_delta_rule"))  # its torch path, not the fla it finds
    output, last = call(q, k, v, g=g, beta=beta, initial_state=state, output_final_state=True)
    arguments = {"q": q * K**-0.5, "k": k, "v": v, "beta": beta, "log_decay": g, "initial_state": state}
    compare(delta_rule, arguments, output, last)


@pytest.mark.parametrize("path", ["recurrent", "chunk"])
def test_kimi_linear(path: str) -> None:
    from transformers.models.kimi_linear import modeling_kimi_linear as kimi

    (q, k, v), beta, g = tokens(), torch.rand(B, T, H), -torch.rand(B, T, H, K)
    call = inspect.unwrap(getattr(kimi, f"{path}_kimi_delta_attention"))
    output, last = call(q, k, v, g=g, beta=beta, initial_state=None, output_final_state=True)
    compare(delta_rule, {"q": q * K**-0.5, "k": k, "v": v, "beta": beta, "log_decay": g}, output, last)


def test_mamba() -> None:
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    width, size = 6, 5
    u, dt = normal(B, width, T), torch.rand(B, width, T)
    a, b, c = -torch.rand(width, size), normal(B, size, T), normal(B, size, T)
    output, last = inspect.unwrap(mamba_selective_scan)(u, dt, a, b, c, return_last_state=True)
    step = dt.transpose(1, 2)[..., None]
    x = step * b.transpose(1, 2)[:, :, None] * u.transpose(1, 2)[..., None]
    for implementation in IMPLEMENTATIONS:
        out = diagonal_scan(x, (step * a).exp(), implementation=implementation)
        close((out.output * c.transpose(1, 2)[:, :, None]).sum(-1).transpose(1, 2), output)
        close(out.final_state, last)


def test_mamba2() -> None:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    groups = 2
    x, dt, a = normal(B, T, H, V), torch.rand(B, T, H), -torch.rand(H)
    b, c = normal(B, T, groups, K), normal(B, T, groups, K)
    output, last = inspect.unwrap(mamba2_chunk_scan)(x, dt, a, b, c, chunk_size=16, return_final_states=True)
    # B is the key and dt x the value; groups are shared by consecutive heads.
    compare(linear_attention, {"q": c, "k": b, "v": dt[..., None] * x, "log_decay": dt * a}, output, last.transpose(2, 3))


def test_recurrent_gemma() -> None:
    from transformers import RecurrentGemmaConfig
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRglru

    unit = RecurrentGemmaRglru(RecurrentGemmaConfig(hidden_size=16, lru_width=16, num_attention_heads=2, num_hidden_layers=1))
    x, gate = normal(B, T, 16), torch.rand(B, T, 16)
    reset = torch.rand(B, T, 1) < 0.1
    output, last = unit._rnn_scan(x, gate, reset, None)
    for implementation in IMPLEMENTATIONS:
        out = diagonal_scan(x[:, :, None], gate[:, :, None], resets=reset[..., 0], implementation=implementation)
        close(out.output[:, :, 0], output)
        close(out.final_state[:, 0], last)
