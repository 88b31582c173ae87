"""A folder with config.json and safetensors, read without trust: what stands in its files' headers, checked before any tensor is.

The rules, for checkpoints of ours and of others alike:

- Read are `config.json`, `model.safetensors` or else `model.safetensors.index.json` and the plain names in it, and nothing else.
- A file is read only from inside the folder. A link may leave it in one case: from `models--NAME/snapshots/REVISION/` to
  `models--NAME/blobs/`, which is how Hugging Face's cache keeps its files.
- Nothing is a pickle, and nothing is fetched.
- Whatever is wrong raises `UnreadableCheckpointError`, which names the file and says the fix.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from .errors import StatescopeError

CONFIGURATION, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
LARGEST_JSON = 64 * 2**20  # bytes
PLAIN_NAME = re.compile(r"[\w-][\w.-]*\.safetensors")
POINTER = b"version https://git-lfs.github.com/spec/"
LAYERS = re.compile(r"((num|n)_(\w+_)?)?(layers?|blocks?)")  # of config.json: what counts modules
SLACK = 2**26  # numbers that a model may hold beside what is stored: masks, tables
BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "C64": 8}


class UnreadableCheckpointError(StatescopeError, ValueError):
    """A folder that holds no checkpoint that can be read here, or one whose files are damaged or do not fit each other."""


@dataclass(frozen=True)
class Stored:
    """What a file's header says of a tensor. dtype: as safetensors spells it, such as "F32" or "I64"."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * BYTES.get(self.dtype, 8)

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


@dataclass(frozen=True)
class CheckpointFolder:
    """The files of a checkpoint, or the one file that holds all of it. configuration: its config.json. tensors: by name."""

    path: Path
    configuration: dict[str, Any]
    tensors: Mapping[str, Stored]

    @property
    def described_in(self) -> Path:
        """The file that the configuration stands in: that of the tensors itself, where it is one."""
        return self.path / CONFIGURATION if self.path.is_dir() else self.path

    @property
    def bytes(self) -> int:
        return sum(stored.bytes for stored in self.tensors.values())

    @property
    def elements(self) -> int:
        return sum(stored.elements for stored in self.tensors.values())

    def slices(self) -> dict[str, Any]:
        """By name, what reads a tensor when it is indexed; nothing is read yet."""
        opened = {file: _opened(file) for file in {stored.file for stored in self.tensors.values()}}
        return {name: opened[stored.file].get_slice(name) for name, stored in self.tensors.items()}


def open_checkpoint(source: str | Path) -> CheckpointFolder:
    """Read the configuration and the headers of a folder. Raises UnreadableCheckpointError where one of the rules is broken."""
    path = Path(source).expanduser()
    if not path.is_dir():
        raise UnreadableCheckpointError(f"{path} does not exist or is not a folder; nothing is downloaded here")
    if not has_file(path, CONFIGURATION):
        found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise UnreadableCheckpointError(f"{path} has no {CONFIGURATION}; it has {found}")
    if has_file(path, "adapter_config.json"):
        raise UnreadableCheckpointError(
            f"{path} holds an adapter beside the model (adapter_config.json); merge it into the weights"
        )
    configuration = read_object(path, CONFIGURATION)
    tensors: dict[str, Stored] = {}
    for file in _weight_files(path):
        for name, stored in read_header(file).items():
            if name in tensors:
                raise UnreadableCheckpointError(f"{path}: {name} is stored twice, in {tensors[name].file.name} and {file.name}")
            tensors[name] = stored
    if not tensors:
        raise UnreadableCheckpointError(f"{path}: its safetensors hold no tensor")
    return CheckpointFolder(path, configuration, tensors)


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder. Raises UnreadableCheckpointError for anything else."""
    file = checked_file(folder, name)
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise UnreadableCheckpointError(f"{folder / name} has {file.stat().st_size / 2**20:,.0f} MiB, too many for a {name}")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UnreadableCheckpointError):
            raise
        raise UnreadableCheckpointError(f"{folder / name} is no JSON that can be read: {error}") from error
    if not isinstance(found, dict):
        raise UnreadableCheckpointError(f"{folder / name} holds a {type(found).__name__}, where an object {{...}} belongs")
    return found


def read_header(file: Path) -> dict[str, Stored]:
    """What the header of a safetensors file says of its tensors."""
    opened = _opened(file)
    found = {}
    for name in opened.keys():  # noqa: SIM118 (no mapping)
        part = opened.get_slice(name)
        found[name] = Stored(file, part.get_dtype(), tuple(part.get_shape()))
    return found


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise UnreadableCheckpointError(
            f"{file} cannot be read as safetensors: {error}. It is damaged or cut off; copy or download it again"
        ) from error


def _refuse_pointer(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start = opened.read(len(POINTER))
    except OSError as error:
        raise UnreadableCheckpointError(f"{file} cannot be read: {error.strerror}") from error
    if start == POINTER:
        raise UnreadableCheckpointError(
            f"{file} is a pointer of Git LFS and not the file itself: run `git lfs pull` in the clone, or download the file"
        )


def _weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or else the files that the index names."""
    if has_file(folder, WEIGHTS):
        return [checked_file(folder, WEIGHTS)]
    if not has_file(folder, INDEX):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        found = "none"
        if pickles:
            found = f"{', '.join(pickles[:8])}, which are pickles and may run code: convert them to safetensors first"
        if others:
            found = f"{', '.join(others[:8])}, which no {INDEX} names"
        raise UnreadableCheckpointError(f"{folder} has no {WEIGHTS} and no {INDEX}; weights found: {found}")
    named = read_object(folder, INDEX).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise UnreadableCheckpointError(f"{folder / INDEX} needs a weight_map, from the name of each tensor to that of its file")
    for tensor, name in named.items():
        if not PLAIN_NAME.fullmatch(name):
            raise UnreadableCheckpointError(
                f"{folder / INDEX} puts {tensor} into {name!r}; only plain names of *.safetensors in the same folder are read"
            )
    return [checked_file(folder, name) for name in sorted(set(named.values()))]


def has_file(folder: Path, name: str) -> bool:
    """Whether anything of this name is there, a broken link too."""
    return (folder / name).is_symlink() or (folder / name).exists()


def checked_file(folder: Path, name: str) -> Path:
    """The file of this name, once it is known to be a file, and one of the folder's own."""
    own, file = folder.resolve(), (folder / name).resolve()
    cached = own.parent.name == "snapshots" and own.parent.parent.name.startswith("models--")
    if own not in file.parents and not (cached and file.parent == own.parent.parent / "blobs"):
        raise UnreadableCheckpointError(
            f"{folder / name} is a link to {file}, which is not in the folder: copy the file itself there "
            "(links are followed inside the folder, and in Hugging Face's cache from snapshots to blobs)"
        )
    if not file.is_file():
        raise UnreadableCheckpointError(f"{folder / name} is missing, or is no file")
    _refuse_pointer(file)
    return file


def check_layers(folder: CheckpointFolder) -> None:
    """Raise UnreadableCheckpointError where config.json, at any depth, counts more layers than there are tensors for."""
    for name, value in _numbers(folder.configuration):
        if LAYERS.fullmatch(name) and value > len(folder.tensors):
            layers = {found[1] for tensor in folder.tensors if (found := re.search(r"\.(\d+)\.", tensor))}
            size = folder.bytes / max(len(layers), 1) * value
            raise UnreadableCheckpointError(
                f"{folder.described_in} has {name} = {value:,}, some {size_text(size)} at the size of those stored; the "
                f"files hold {len(folder.tensors)} tensors, {size_text(folder.bytes)}: they are not of one checkpoint"
            )


def _numbers(value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, int) and not isinstance(item, bool):
                yield name, item
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


@contextmanager
def at_most(folder: CheckpointFolder) -> Iterator[None]:
    """Stop the building of a model once it has far more parameters than are stored. Tied weights are counted twice, so that twice
    as many pass.
    """
    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += 0 if parameter is None else parameter.numel()
        if made > 2 * folder.elements + SLACK:
            raise _too_large(folder, made)

    handle = register_module_parameter_registration_hook(count)
    try:
        with _NoneLargerThan(folder):
            yield
    finally:
        handle.remove()


def _too_large(folder: CheckpointFolder, count: int) -> UnreadableCheckpointError:
    return UnreadableCheckpointError(
        f"{folder.described_in} makes a model of more than {size_text(4 * count)} (in float32); the files hold "
        f"{size_text(folder.bytes)}: they are not of one checkpoint"
    )


class _NoneLargerThan(TorchDispatchMode):
    """Stops the making of a tensor with far more numbers than are stored, before it is filled."""

    def __init__(self, folder: CheckpointFolder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.folder = folder
        self.limit = 2 * folder.elements + SLACK

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for asked in args:
            if isinstance(asked, list | tuple) and asked and all(isinstance(size, int) for size in asked):
                self._check(math.prod(asked))
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self._check(made.numel())
        return made

    def _check(self, count: int) -> None:
        if count > self.limit:
            raise _too_large(self.folder, count)


def refuse_not_finite(folder: CheckpointFolder, tensors: Mapping[str, Tensor]) -> None:
    """Raise UnreadableCheckpointError naming the first tensor that holds a NaN or an infinity."""
    for name, tensor in tensors.items():
        if tensor.device.type != "meta" and not_finite(tensor.detach()):
            raise UnreadableCheckpointError(f"{folder.path}: {name} holds NaN or infinities; the weights are damaged")


def not_finite(tensor: Tensor) -> bool:
    """Whether a NaN or an infinity is in it: the least and the largest number show it without a copy of the tensor."""
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    parts = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    ends = torch.aminmax(parts if parts.itemsize > 1 else parts.float())  # eight bits are not compared
    return not bool(torch.isfinite(torch.stack(ends)).all())


def size_text(count: float) -> str:
    """Write a count of bytes for people, such as 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
