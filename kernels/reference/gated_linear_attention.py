"""S_t = Diag(e^{g_t}) S_{t-1} + k_t v_t^T, with a decay for each key channel."""

from torch import Tensor


def step(state: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """One token. state [S, H, K, V], k [S, H, K], v [S, H, V], log_decay [S, H, K]."""
    return log_decay.exp()[..., :, None] * state + k[..., :, None] * v[..., None, :]


def step_with_bonus(state: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """The same: the bonus is only read."""
    return step(state, k, v, log_decay)


def read_with_bonus(before: Tensor, after: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """o_t = S_{t-1}^T q_t + (q_t . u k_t) v_t."""
    return (q[..., None, :] @ before).squeeze(-2) + (q * bonus * k).sum(-1, keepdim=True) * v
