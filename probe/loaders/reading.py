"""A foreign checkpoint into its library's own class: the library is given a configuration and tensors, never a folder.

Whatever would make the model another than the one that was saved is an error that names it: a tensor that is missing, unexpected,
of another shape, of whole numbers where floats belong, or not finite; a configuration that the files are too small for.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint_folder import (
    CONFIGURATION,
    CheckpointFolder,
    UnreadableCheckpointError,
    at_most,
    check_layers,
    refuse_not_finite,
)
from ..errors import StatescopeError


def read_foreign(kind: Any, folder: CheckpointFolder, **how: Any) -> nn.Module:
    """A model of class `kind` with the folder's weights; `how`: dtype, device_map, attn_implementation.

    Raises UnreadableCheckpointError, in under a second where the configuration asks for a model far larger than the files.
    """
    check_layers(folder)
    config = _configuration(kind, folder)
    dtype = how.pop("dtype", None) or getattr(config, "dtype", None) or _first_dtype(folder)
    with described(folder, kind), at_most(folder), _quiet():
        foreign, found = kind.from_pretrained(
            None,
            config=config,
            state_dict=folder.slices(),
            dtype=dtype,
            **how,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told below, by name
            output_loading_info=True,
        )
    check_fit(folder, found, foreign)
    _restore(foreign, folder)
    refuse_not_finite(folder, dict(foreign.named_parameters()))
    return foreign


def _configuration(kind: Any, folder: CheckpointFolder) -> Any:
    """The class's configuration object, made by its own code from a copy of config.json that lies alone in a folder."""
    with described(folder, kind), TemporaryDirectory() as alone:
        (Path(alone) / CONFIGURATION).write_text(json.dumps(folder.configuration))
        return kind.config_class.from_pretrained(alone, local_files_only=True)


@contextmanager
def described(folder: CheckpointFolder, kind: Any) -> Iterator[None]:
    """What goes wrong in the library's code on a file is the file's: an error that names it."""
    try:
        yield
    except StatescopeError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise UnreadableCheckpointError(f"{folder.path}/config.json makes no {kind.__name__} of these files: {said}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own report of what does not fit: an error tells it."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_dtype(folder: CheckpointFolder) -> torch.dtype:
    """Of the first tensor of floats."""
    for name, stored in folder.tensors.items():
        if stored.floating:
            part = folder.slices()[name]
            return part[:0].dtype if stored.shape else part[...].dtype
    return torch.get_default_dtype()


def check_fit(folder: CheckpointFolder, found: Mapping[str, Any], foreign: nn.Module) -> None:
    """Raise UnreadableCheckpointError, with names, for what the library found and took, or did without.

    found: its loading report, from which it has taken tied weights and what the class says it ignores.
    """
    problems = []
    if found["missing_keys"]:
        problems.append(f"{_names(found['missing_keys'])} missing")
    if found["unexpected_keys"]:
        problems.append(f"{_names(found['unexpected_keys'])} not expected")
    for name, stored, own in sorted(found["mismatched_keys"]):
        problems.append(f"{name} has shape {list(stored)} instead of {list(own)}")
    state = foreign.state_dict()
    for name, stored in folder.tensors.items():
        own = own_name(foreign, name, state)
        expected = state.get(own)
        floats = expected is None or expected.is_floating_point()
        if floats != stored.floating and not (expected is None and _ignored(foreign, name)):
            kind = "floats" if floats else "whole numbers"
            problems.append(f"{name} is stored as {stored.dtype}, where {kind} belong")
    problems += [str(message) for message in found.get("error_msgs", ())]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UnreadableCheckpointError(
            f"{folder.path}: the tensors do not fit {type(foreign).__name__} of its config.json: {'; '.join(problems[:4])}{more}"
        )


def _names(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return f"{', '.join(listed[:4])}{more} {'is' if len(listed) == 1 else 'are'}"


def own_name(foreign: Any, name: str, state: Mapping[str, Tensor]) -> str:
    """The name of a stored tensor in the model: checkpoints of the model without its head leave out the first part."""
    prefix = f"{getattr(foreign, 'base_model_prefix', '')}."
    for candidate in (name, prefix + name, name.removeprefix(prefix)):
        if candidate in state:
            return candidate
    return name


def _ignored(foreign: Any, name: str) -> bool:
    """Whether the class says that it does without this tensor."""
    patterns = getattr(foreign, "_keys_to_ignore_on_load_unexpected", None) or ()
    return any(re.search(pattern, name) for pattern in patterns)


@torch.no_grad()
def _restore(foreign: nn.Module, folder: CheckpointFolder) -> None:
    """Give back what is in the files to tensors that were changed after loading.

    transformers 5 runs a family's initialisation on loaded models too, and Mamba-2's divides the output matrices by the root of
    the number of layers if its configuration has rescale_prenorm_residual. The last row of a tensor shows it.
    """
    state = foreign.state_dict()
    stored = folder.slices()
    for name, part in stored.items():
        own = state.get(own_name(foreign, name, state))
        if own is None or not own.is_floating_point() or own.device.type == "meta" or not own.ndim:
            continue
        if list(own.shape) == part.get_shape() and not torch.equal(own[-1:].cpu(), part[-1:].to(own.dtype)):
            own.copy_(part[:])
