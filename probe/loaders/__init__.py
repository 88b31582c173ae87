"""Other people's checkpoints with our hooks: one adapter a family."""

from .bridge import replay
from .foreign import ForeignModel, UnknownArchitectureError
from .load import UnreadableCheckpointError, load

__all__ = ["ForeignModel", "UnknownArchitectureError", "UnreadableCheckpointError", "load", "replay"]
