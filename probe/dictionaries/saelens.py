"""Dictionaries in SAELens's files: a folder with cfg.json and sae_weights.safetensors, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..files import DamagedFileError, check_regular, read_json, write_text
from ..tensor_file import write_plain
from .dictionary import Dictionary, DictionaryError

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "topk", "jumprelu", "transcoder", "jumprelu_transcoder")
PLAIN = {"normalize_activations": "none", "reshape_activations": "none"}


def read_saelens(folder: str | Path) -> Dictionary:
    """Read a dictionary that SAELens (version 6) wrote: its standard, top-k and JumpReLU autoencoders and plain transcoders.

    Raises DictionaryError for another architecture, or one that rescales its input; DamagedFileError for a file that is missing,
    cut short, or does not fit the other.
    """
    folder = Path(folder)
    try:
        config = read_json(folder / CONFIG)
        check_regular(folder / WEIGHTS)
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError, RecursionError) as error:
        raise DamagedFileError(f"{folder} cannot be read as a dictionary of SAELens: {error}") from error
    if not isinstance(config, dict):
        raise DamagedFileError(f"{folder / CONFIG} is no table of settings")
    architecture = config.get("architecture", "standard")
    if architecture not in ARCHITECTURES:
        raise DictionaryError(f"{folder} is of the architecture {architecture!r}; read are {', '.join(ARCHITECTURES)}")
    for name, plain in PLAIN.items():
        if config.get(name, plain) != plain:
            raise DictionaryError(
                f"{folder} has {name} = {config[name]!r}; dictionaries that change their input first are not read"
            )
    try:
        return _dictionary(config, tensors, architecture)
    except KeyError as error:
        raise DamagedFileError(f"{folder / WEIGHTS} has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{folder}: {error}") from error


def _dictionary(config: dict[str, Any], tensors: dict[str, Tensor], architecture: str) -> Dictionary:
    about = _setting(config, "metadata", dict) or {}
    hook = _setting(about, "hook_name", str) or _setting(config, "hook_name", str) or ""
    given = _setting(about, "hook_name_out", str) or ""
    transcoder = architecture.endswith("transcoder")
    if transcoder and "W_skip" in tensors:
        raise DictionaryError("it has a skip connection, which is not read")
    subtract, k = _setting(config, "apply_b_dec_to_input", bool), _setting(config, "k", int)
    if architecture == "topk" and k is None:
        raise DictionaryError(f"{CONFIG} has no k")
    found = Dictionary(
        _real(tensors, "W_enc"),
        _real(tensors, "b_enc"),
        _real(tensors, "W_dec"),
        _real(tensors, "b_dec"),
        k=k if architecture == "topk" else None,
        threshold=_real(tensors, "threshold") if architecture.startswith("jumprelu") else None,
        subtract=subtract is not False and not transcoder,
        by_norm=_setting(config, "rescale_acts_by_decoder_norm", bool) or False,
        hook=hook,
        target=given if transcoder else hook,
        about={name: about[name] for name in ("model_name", "sae_lens_version") if isinstance(about.get(name), str)},
    )
    for name, size in {"d_in": len(found.encoder), "d_sae": found.features}.items():
        if _setting(config, name, int) not in (None, size):
            raise DictionaryError(f"{CONFIG} says {name} = {config[name]}, and the weights have {size}")
    return found


T = TypeVar("T")


def _setting(config: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """A setting of this very type, or None where there is none; a whole number is no switch, and a switch no number."""
    value = config.get(name)
    if value is not None and type(value) is not kind:
        raise DictionaryError(f"{name} is a {kind.__name__}, got {value!r:.40}")
    return value


def _real(tensors: dict[str, Tensor], name: str) -> Tensor:
    """A tensor in float32; complex and whole numbers are no weights of theirs."""
    if not tensors[name].is_floating_point():
        raise DictionaryError(f"{name} is of {tensors[name].dtype}, which is no real number")
    return tensors[name].float()


def write_saelens(dictionary: Dictionary, folder: str | Path) -> Path:
    """Write a dictionary as SAELens reads it: the weights first, then cfg.json; each file appears whole or not at all.

    SAELens measures features in units of their decoder rows in its top-k autoencoders alone; in others these units are worked
    into the weights, which give the same features.

    Raises DictionaryError for a transcoder of top k, which SAELens does not have.
    """
    folder = Path(folder)
    dictionary = dictionary if dictionary.k is not None else dictionary.in_own_units()
    architecture = "jumprelu" if dictionary.threshold is not None else "standard" if dictionary.k is None else "topk"
    if dictionary.is_transcoder:
        if dictionary.k is not None:
            raise DictionaryError("SAELens has no transcoder of top k; train it with JumpReLU or L1")
        architecture = "transcoder" if dictionary.threshold is None else "jumprelu_transcoder"
    tensors = {"W_enc": dictionary.encoder, "b_enc": dictionary.encoder_bias, "W_dec": dictionary.decoder}
    tensors["b_dec"] = dictionary.decoder_bias
    if dictionary.threshold is not None:
        tensors["threshold"] = dictionary.threshold
    held = {name: tensor.to("cpu", torch.float32) for name, tensor in tensors.items()}
    metadata: dict[str, Any] = {"hook_name": dictionary.hook}
    if dictionary.is_transcoder:
        metadata["hook_name_out"] = dictionary.target
    config: dict[str, Any] = {"architecture": architecture, "d_in": dictionary.encoder.shape[0], "d_sae": dictionary.features}
    config |= {"dtype": "float32", "device": "cpu", "apply_b_dec_to_input": dictionary.subtract, **PLAIN, "metadata": metadata}
    if dictionary.is_transcoder:
        config["d_out"] = len(dictionary.decoder_bias)
    if dictionary.k is not None:
        config |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": dictionary.by_norm}
    write_plain(folder / WEIGHTS, held)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return folder
