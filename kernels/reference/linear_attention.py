"""S_t = e^{g_t} S_{t-1} + k_t v_t^T, with a scalar decay for each head, or none."""

from torch import Tensor


def step(state: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None) -> Tensor:
    """One token. state [S, H, K, V], k [S, H, K], v [S, H, V], log_decay [S, H] or None."""
    if log_decay is not None:
        state = log_decay.exp()[..., None, None] * state
    return state + k[..., :, None] * v[..., None, :]
