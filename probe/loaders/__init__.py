"""Other people's checkpoints with our hooks: one adapter a family."""

from ..checkpoint_folder import UnreadableCheckpointError
from .bridge import replay
from .foreign import ForeignModel, UnknownArchitectureError
from .load import load
from .trust import UntrustedCheckpointError

__all__ = [
    "ForeignModel",
    "UnknownArchitectureError",
    "UnreadableCheckpointError",
    "UntrustedCheckpointError",
    "load",
    "replay",
]
