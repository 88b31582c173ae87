"""Tasks: one a file, each with ground truth at every position."""

from .base import Batch, Split, Task, generator_for
from .parity import Parity
from .source_code import SourceCode

__all__ = ["Batch", "Parity", "SourceCode", "Split", "Task", "generator_for"]
