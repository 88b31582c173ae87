"""S_t = (Diag(e^{g_t}) + b_t a_t^T) S_{t-1} + k_t v_t^T."""

from torch import Tensor


def step(state: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor) -> Tensor:
    """One token. state [S, H, K, V], k, a, b, log_decay [S, H, K], v [S, H, V]."""
    read = a[..., None, :] @ state
    return log_decay.exp()[..., None] * state + b[..., None] * read + k[..., None] * v[..., None, :]
