"""Tasks with ground truth at every position, and how batches of them are drawn."""

from __future__ import annotations

from .probe import tasks
from .probe.tasks import *  # noqa: F403
from .probe.tasks.base import draw_split
from .probe.tasks.check import check_task

__all__ = ["check_task", "draw_split"]
__all__ += tasks.__all__
