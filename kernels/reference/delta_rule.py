"""S <- e^{g_t} S (or Diag(e^{g_t}) S), and then for each of the token's n keys, S <- (I - beta k k^T) S + beta k v^T."""

from torch import Tensor


def step(state: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None) -> Tensor:
    """One token. state [S, H, K, V], k [S, H, n, K], v [S, H, n, V], beta [S, H, n], log_decay [S, H], [S, H, K] or None."""
    if log_decay is not None:
        decay = log_decay.exp() if log_decay.ndim == 3 else log_decay.exp()[..., None]
        state = decay[..., None] * state
    for key, value, rate in zip(k.unbind(2), v.unbind(2), beta.unbind(2), strict=True):
        error = value - (key[..., None, :] @ state).squeeze(-2)
        state = state + (rate[..., None] * key)[..., :, None] * error[..., None, :]
    return state
