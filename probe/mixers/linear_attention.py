"""Linear attention: S_t = S_{t-1} + phi(k_t) v_t^T, o_t = S_t^T phi(q_t), divided by phi(q_t) . sum phi(k_j) if normalised.

Katharopoulos et al. 2020 (arXiv:2006.16236); with Taylor features the linear half of BASED (arXiv:2402.18668), with Hedgehog's
that of arXiv:2402.04347, with learned quadratics ReBased (arXiv:2402.10644).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor, nn

from .attention import rotate_on
from .base import Memory, Mixer, RMSNorm
from .feature_maps import NEVER_ZERO, feature_map, feature_size
from .heads import HeadMixer, HeadsConfig
from .points import MATRIX_STATE, QKV, Z, with_normaliser
from .recurrences import LINEAR_ATTENTION, NORMALISED_LINEAR_ATTENTION, Tokens
from .spectrum import NO_DECAY, AllowedSpectrum


@dataclass(frozen=True)
class LinearAttention(HeadsConfig, kind="linear_attention"):
    """Linear attention, whose memory adds up what it is given and never decays."""

    points = (*QKV, *with_normaliser(MATRIX_STATE, "its last column is the normaliser, if it normalises"), Z)

    feature_map: str = "elu_plus_one"
    """Queries and keys go through this map, a name of `feature_maps.py`."""
    normalise: bool = True
    """Read-outs are divided by the sum of scores, which wants features that are positive."""
    rotary: bool = False
    """Rotary positions turn q and k before their features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        feature_map(self.feature_map, 2)
        if self.normalise and self.feature_map not in NEVER_ZERO:
            raise ValueError(
                f"feature_map={self.feature_map!r} can give scores that sum to 0; use normalise=False, or one of "
                f"{', '.join(NEVER_ZERO)}"
            )

    @property
    def allowed(self) -> AllowedSpectrum:
        return NO_DECAY

    @property
    def turned(self) -> bool:
        return self.rotary

    def build(self, width: int, generator: Generator, layer: int = 0, layers: int = 1) -> Mixer:
        return LinearAttentionMixer(self, width, generator)


class LinearAttentionMixer(HeadMixer):
    """The module of LinearAttention. Its hooks of queries and keys hold features."""

    config: LinearAttention

    def __init__(self, config: LinearAttention, width: int, generator: Generator) -> None:
        super().__init__(config, width, generator, norm=_no_norm if config.normalise else RMSNorm)
        self.recurrence = NORMALISED_LINEAR_ATTENTION if config.normalise else LINEAR_ATTENTION  # type: ignore[misc]
        key_size, value_size = config.sizes(width)
        self.axis_sizes |= {"key": feature_size(config.feature_map, key_size), "state_value": value_size + config.normalise}
        self.features_q, self.features_k = (feature_map(config.feature_map, key_size) for _ in range(2))

    def tokens(self, x: Tensor, memory: Memory | None) -> Tokens:
        q, k, v = (self.projected(x, name, memory) for name in ("q", "k", "v"))
        if self.config.rotary:
            q, k = rotate_on(q, k, memory)
        return self.fire(q=self.features_q(q), k=self.features_k(k), v=v)


def _no_norm(size: int) -> nn.Module:
    return nn.Identity()
