"""Loading a model from a folder, of ours or other people's, or hooking one that is already loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoint_folder import CheckpointFolder, UnreadableCheckpointError, has_file, open_checkpoint
from ..models.hooked import HookedModel
from ..models.saved import load_model
from ..models.saving import FORMAT
from ..models.text import TOKENIZER, Tokenizer
from .bridge import is_bridge, tokenizer_of, unbridged
from .foreign import ForeignModel, UnknownArchitectureError, known_architectures
from .reading import described, read_foreign
from .trust import refuse_foreign_code

HEADS = ("ForCausalLM", "LMHeadModel")  # the ends of the names of causal language models
LIBRARIES = {"transformers": "transformers", "flash-linear-attention": "fla.models"}


def load(
    source: str | Path | nn.Module,
    *,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
) -> HookedModel:
    """A model with hooks: one of ours that `Model.save` wrote, a checkpoint of transformers or flash-linear-attention in a folder
    with config.json and safetensors, a module of theirs already loaded, or a `TransformerBridge` of transformer-lens.

    dtype, device_map, attn_implementation: for a folder of theirs, as `from_pretrained` takes them; it is given nothing else.
        Of a folder its JSON and safetensors alone are read, nothing is fetched, and no code of the folder's or of a hub's is run.

    The folder's tokenizer.json comes along as `model.tokenizer`: text then goes wherever tokens go.

    Raises UnreadableCheckpointError where a file is missing, damaged, or does not fit the others, which names the tensor;
    UntrustedCheckpointError where code or files from elsewhere are asked for; UnknownArchitectureError with the mixers that are
    known; ValueError for an argument with a model of ours or one already loaded.
    """
    asked = {"dtype": dtype, "device_map": device_map, "attn_implementation": attn_implementation}
    how = {name: value for name, value in asked.items() if value is not None}
    if isinstance(source, nn.Module):
        _refuse_arguments(how, "a model that is already loaded")
        if not is_bridge(source):
            return ForeignModel(source)
        model: HookedModel = ForeignModel(unbridged(source))
        model.tokenizer = tokenizer_of(source)
        return model
    folder = open_checkpoint(source)
    refuse_foreign_code(folder.configuration | how, folder.path)
    if folder.configuration.get("model_type") == FORMAT:
        _refuse_arguments(how, f"{folder.path}, a model of statescope")
        model = load_model(folder)
    else:
        kind = _class_of(folder)
        foreign = read_foreign(kind, folder, **how)
        with described(folder, kind):
            model = ForeignModel(foreign)
    if has_file(folder.path, TOKENIZER):
        model.tokenizer = Tokenizer.read(folder.path)
    return model


def _refuse_arguments(how: Mapping[str, Any], source: str) -> None:
    if how:
        raise ValueError(f"{', '.join(how)}: not for {source}; call .to(...) on what load returns")


def _class_of(folder: CheckpointFolder) -> Any:
    """The library's own class of the architecture. Never one of `Auto...`, behind which other packages and files put classes."""
    named = folder.configuration.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise UnreadableCheckpointError(
            f'{folder.path}/config.json names no architecture: it needs one such as "architectures": ["MambaForCausalLM"]'
        )
    architecture = named[0]
    for package in LIBRARIES.values():
        if architecture.endswith(HEADS) and find_spec(package.partition(".")[0]) is not None:
            kind = getattr(import_module(package), architecture, None)
            if isinstance(kind, type) and issubclass(kind, nn.Module):
                return kind
    raise UnknownArchitectureError(
        f"{folder.path}/config.json names {architecture!r}, which is no causal language model of {' nor of '.join(LIBRARIES)} "
        f"as they are installed here; {known_architectures()}"
    )
