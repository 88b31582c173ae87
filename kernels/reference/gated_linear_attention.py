"""S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T, with a decay for each key channel."""

from torch import Tensor


def step(state: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """One token. state [S, H, K, V], k [S, H, K], v [S, H, V], log_decay [S, H, K]."""
    return log_decay.exp()[..., :, None] * state + k[..., :, None] * v[..., None, :]
