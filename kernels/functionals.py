"""What can be said of every state of a sequence without keeping them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .precision import outside_autocast, widened
from .recurrence import RecurrenceOutput


@outside_autocast
def of_every_state(
    recurrence: Callable[..., RecurrenceOutput],
    tokens: Mapping[str, Tensor],
    functional: Callable[[Tensor], Tensor],
    *,
    chunk: int = 32,
) -> Tensor:
    """functional(S_t) at every token, [B, T, H, ...], holding the states of `chunk` tokens at a time.

    recurrence: a matrix-state recurrence, such as `delta_rule` or `mlstm`. tokens: its arguments by name, each [B, T, ...].
    functional: from states [B, P, H, K, V] to [B, P, H, ...], such as `frobenius_norm` or `torch.linalg.svdvals`.
    """
    length = next(iter(tokens.values())).shape[1]
    found, carried = [], dict[str, Tensor]()
    for first in range(0, length, chunk):
        own = {name: x[:, first : first + chunk] for name, x in tokens.items()}
        out = recurrence(**own, **carried, taps=tuple(range(min(chunk, length - first))))
        assert out.states is not None
        found.append(functional(out.states))
        carried = out.carried()
    return torch.cat(found, dim=1)


def frobenius_norm(states: Tensor) -> Tensor:
    """Compute |S|_F of states [..., K, V], which has the shape [...]."""
    return states.flatten(-2).norm(dim=-1)


def read_out(recurrence: Callable[..., RecurrenceOutput], tokens: Mapping[str, Tensor], direction: Tensor) -> Tensor:
    """S_t^T p at every token for a fixed p [K] or [H, K], [B, T, H, V], at the cost of one run: p takes the place of q."""
    return recurrence(**{**tokens, "q": direction.expand_as(tokens["q"])}).output


@outside_autocast
def norm_by_gram(k: Tensor, v: Tensor, log_decay: Tensor | None = None) -> Tensor:
    """|S_t|_F at every token of linear attention with a scalar decay or none, from Gram matrices alone, [B, T, H].

    |S_t|^2 = sum_{i, j <= t} e^{2 c_t - c_i - c_j} (k_i . k_j)(v_i . v_j), from a zero state. k [B, T, H, K], v [B, T, H, V].
    For a delta rule, v are the values after erasure. Memory is O(B H T^2).
    """
    k, v = widened(k), widened(v)
    products = torch.einsum("bihk,bjhk->bhij", k, k) * torch.einsum("bihv,bjhv->bhij", v, v)
    if log_decay is None:
        return _corner_sums(products).transpose(1, 2).clamp(min=0).sqrt()
    log_decay = widened(log_decay)
    squares, total = [], products.new_zeros(products.shape[:2])
    for t in range(k.shape[1]):
        # The cross terms of the newest token with the decayed older ones: k_t^T S_{t-1} v_t by Gram matrices.
        c = log_decay[:, : t + 1].double().cumsum(1).transpose(1, 2)
        decay = (c[..., -1:] - c).to(products.dtype).exp()
        total = log_decay[:, t].mul(2).exp() * total + 2 * (products[:, :, t, :t] * decay[..., :t]).sum(-1) + products[:, :, t, t]
        squares.append(total)
    return torch.stack(squares, dim=1).clamp(min=0).sqrt()


def _corner_sums(products: Tensor) -> Tensor:
    """The sums over the leading t x t corners of [..., T, T], for every t."""
    return products.cumsum(-1).cumsum(-2).diagonal(dim1=-2, dim2=-1)
