"""Token mixers and channel mixers, one configuration a family, and what mixers of one's own are made from."""

from __future__ import annotations

from .probe import channel_mixers, mixers
from .probe.channel_mixers import *  # noqa: F403
from .probe.mixers import *  # noqa: F403
from .probe.mixers.check import check_mixer

__all__ = ["check_mixer"]
__all__ += channel_mixers.__all__
__all__ += mixers.__all__
