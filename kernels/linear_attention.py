"""Linear attention with a scalar decay for each head, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .arguments import can_read_values, check_shapes, check_values, finite, group_heads, not_growing
from .chunked import linear_attention as chunked
from .dispatch import Family, ImplementationRequest, run
from .precision import outside_autocast, widened
from .recurrence import Edit, Precision, RecurrenceOutput, TapRequest
from .reference import linear_attention as reference

FAMILY = Family("linear_attention", reference.step, chunked.terms, one_decay=True)


@outside_autocast
def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    normalise: bool = False,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
    precision: Precision = "exact",
    chunk: int = 32,
) -> RecurrenceOutput:
    """S_t = e^{g_t} S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

    Katharopoulos et al. 2020 (arXiv:2006.16236) without decay; a fixed decay gives RetNet and Lightning attention, a
    data-dependent one Mamba-2's recurrence (`fixed_decay.py` has the papers' decays). There is no scaling of q.
    normalise: o_t = S_t^T q_t / (z_t . q_t) with z_t = e^{g_t} z_{t-1} + k_t, for features that are positive. The state is then
    [K, V + 1], its last column z.

    q, k: [B, T, H, K], or with fewer heads that consecutive heads of v share. v: [B, T, H, V].
    log_decay: [B, T, H], natural logarithm, <= 0; None means no decay.
    initial_state: [B, H, K, V], or [S, H, K, V] for S packed sequences; zero when None.
    cu_seqlens: [S + 1] bounds of sequences packed end to end in a batch of 1.
    taps, edits: see Tap and Edit. Positions count within [0, T), which for a packed batch is the packed index.
    implementation: "reference" (token loop), "chunked", "triton", or "auto": Triton on a GPU where the sizes fit, else chunked.
    precision: the storage of what a row of tokens contributes; the state itself is float32 in both. "exact" is float32, "fast"
        bfloat16. Relative error of the state against float64, for float32 inputs at 256 to 65536 tokens (K = V = 64): exact
        1e-7 with any decay, 9e-7 on strongly correlated keys, and without decay growing as the square root of the length to
        8e-7; fast 2.4e-3, up to 7e-3 on correlated keys, the same at every length.
    chunk: tokens a row of the chunked form; the Triton kernels take fewer where they do not hold as many.

    Raises ValueError, TypeError or IndexError naming the argument for shapes that disagree, values that are not finite, a
    positive log-decay, a normaliser that is zero, and taps or edits out of range.
    """
    q, k = group_heads(v, q=q, k=k)
    check_shapes({}, q=(q, "B T H K"), k=(k, "B T H K"), v=(v, "B T H V"), log_decay=(log_decay, "B T H"))
    check_values(*finite(q=q, k=k, v=v, log_decay=log_decay), *not_growing(log_decay))
    values = with_ones(v) if normalise else v
    out = run(
        FAMILY,
        (q, k, values, log_decay),
        initial_state=initial_state,
        cu_seqlens=cu_seqlens,
        taps=taps,
        edits=edits,
        implementation=implementation,
        precision=precision,
        chunk=chunk,
    )
    if not normalise:
        return out
    read, normaliser = out.output[..., :-1], out.output[..., -1:]
    if can_read_values(normaliser) and bool((normaliser == 0).any()):
        index = tuple(torch.nonzero(normaliser == 0)[0, :-1].tolist())
        raise ValueError(f"the normaliser z . q is 0 at index {index}: it needs positive features, such as elu(x) + 1")
    return replace(out, output=(read / normaliser).to(v.dtype))


def with_ones(v: Tensor) -> Tensor:
    """Append a column of ones to values, [..., V + 1], whose read-out is the normaliser.

    The result is widened, so that their ratio is taken before either is rounded.
    """
    v = widened(v)
    return torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
