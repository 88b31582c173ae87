"""A tangent kernel in tiles on disk: symmetric, filled by one or several processes, gone on with where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...kernels.arguments import NonFiniteError
from ...kernels.operators.operator import Operator
from ...probe.checkpoint_folder import not_finite
from ...probe.errors import StatescopeError
from ...probe.files import DamagedFileError, read_json, remove_leftovers, write_text
from ...probe.tensor_file import UNREADABLE, read_tensors, write_tensors
from .empirical_ntk import tangent_kernel
from .jacobian import Parameters, chosen, refuse_without_values
from .samples import Read, Samples, last_position
from .task import Output, as_output, as_tile

MANIFEST, VERSION, TILE = "manifest.json", 2, "tile"
PROOF = 4  # samples of a tile that is there already, whose kernel is computed anew
SAME = 1e-3  # of their kernel's norm: machines differ by less, and another kernel by more
MOST_BLOCKS = 10**5  # of rows: the name of a tile has five digits for each


class OtherKernelError(StatescopeError, ValueError):
    """A folder that holds the tiles of another kernel: other parameters, samples or settings."""


class TileStore(Operator):
    """The kernel [N, N] that a folder holds in tiles of `tile` rows and columns; those above the diagonal stand for both halves.

    It is an operator: products read one tile after another, so that memory is that of a tile, whatever N is. Each tile carries
    a digest of its numbers, which is compared whenever it is read. Everything is float64.
    """

    self_adjoint = True

    def __init__(self, folder: str | Path) -> None:
        """Open a folder that `store_tangent_kernel` filled or is filling.

        Raises DamagedFileError for a manifest that is none.
        """
        self.folder = Path(folder)
        manifest = read_json(self.folder / MANIFEST)
        try:
            if manifest["version"] != VERSION:
                raise ValueError(
                    f"it is of version {manifest['version']!r}, not {VERSION}, in which store_tangent_kernel fills another folder"
                )
            self.samples: int = manifest["samples"]
            self.tile: int = manifest["tile"]
            self.digest: str = manifest["digest"]
            counts = type(self.samples) is type(self.tile) is int and self.samples > 0 and self.tile > 0
            if not counts or not isinstance(self.digest, str) or self.blocks > MOST_BLOCKS:
                raise ValueError("it needs samples and tile (counts, which give at most 100,000 blocks) and a digest")
        except (KeyError, TypeError, ValueError) as error:
            said = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise DamagedFileError(f"{self.folder / MANIFEST} is no manifest of tiles: {said}") from error
        self.manifest: dict[str, Any] = manifest

    @property
    def blocks(self) -> int:
        """The number of blocks of rows."""
        return -(-self.samples // self.tile)

    @property
    def shape(self) -> torch.Size:
        """The shape is [N, N]."""
        return torch.Size([self.samples, self.samples])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The tiles (row, column) that are not there yet, in the order in which they are filled."""
        return [place for place in self.places() if not self.has(*place)]

    def places(self) -> Iterator[tuple[int, int]]:
        """All tiles on and above the diagonal, row after row, to and fro, so that one block of samples stays at hand."""
        for row in range(self.blocks):
            columns = range(row, self.blocks)
            yield from ((row, column) for column in (columns if row % 2 == 0 else reversed(columns)))

    def has(self, row: int, column: int) -> bool:
        """Whether something stands where a tile does."""
        return self.path(row, column).exists()

    def path(self, row: int, column: int) -> Path:
        """The file of a tile."""
        return self.folder / f"tile-{row:05d}-{column:05d}.safetensors"

    def rows(self, block: int) -> slice:
        """The samples of a block."""
        return slice(block * self.tile, min((block + 1) * self.tile, self.samples))

    def read(self, row: int, column: int) -> Tensor:
        """The kernel between two blocks; below the diagonal the transpose of what is stored.

        Raises DamagedFileError for a tile that is missing, cut short, altered, or another tile or kernel.
        """
        if row > column:
            return self.read(column, row).mT
        path = self.path(row, column)
        if not path.exists():
            raise DamagedFileError(
                f"{path} is missing; call store_tangent_kernel with the same arguments to fill what is missing"
            )
        try:
            tensors, about = read_tensors(path, TILE)
            values = tensors["kernel"]
        except UNREADABLE as error:
            raise DamagedFileError(f"{path} is damaged ({error}); delete it and fill it again") from error
        if about != {"kernel": self.digest, "tile": [row, column], "digest": _digest(values)}:
            raise DamagedFileError(f"{path} is not as it was written, or another tile or kernel; delete it and fill it again")
        here, there = self.rows(row), self.rows(column)
        shape = here.stop - here.start, there.stop - there.start
        if values.dtype != self.dtype or values.shape != shape or not_finite(values):
            raise DamagedFileError(f"{path} holds no finite numbers {list(shape)} in float64; delete it and fill it again")
        checked: Tensor = values
        return checked

    def write(self, row: int, column: int, values: Tensor) -> None:
        """Store a tile; it appears whole or not at all. Raises NonFiniteError for one with NaN or infinities."""
        values = values.detach().cpu().contiguous()
        if not_finite(values):
            raise NonFiniteError(f"tile {row}, {column} of the kernel has NaN or infinities: the model has no finite derivatives")
        about = {"kernel": self.digest, "tile": [row, column], "digest": _digest(values)}
        write_tensors(self.path(row, column), TILE, {"kernel": values}, about)

    def matmat(self, x: Tensor) -> Tensor:
        """Theta @ x for x [N, m], each tile read once."""
        self.check(x)
        out = torch.zeros_like(x)
        for row, column in self.places():
            values = self.read(row, column).to(x.dtype)
            here, there = self.rows(row), self.rows(column)
            out[here] += values @ x[there]
            if row != column:
                out[there] += values.mT @ x[here]
        return out

    def diagonal(self) -> Tensor:
        """The kernel of each sample with itself, [N]."""
        return torch.cat([self.read(block, block).diagonal() for block in range(self.blocks)])

    def adjoint(self) -> TileStore:
        return self


def store_tangent_kernel(
    model: nn.Module,
    x: Tensor | Samples,
    folder: str | Path,
    output: Output = "trace",
    *,
    tile: int = 256,
    parameters: Parameters = None,
    read: Read = last_position,
    memory: int | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> TileStore:
    """Compute the kernel of a model on the samples x tile by tile into a folder, those that are there already left as they are.

    output: "trace" or the index of one output. tile: rows and columns of a tile, which is computed as `tangent_kernel` does it.
    memory: bytes that one may take. advance: called with (tiles done, tiles in all). The rest is as for `tangent_kernel`.

    Several processes may fill one folder: a tile is written whole, and is the same whoever writes it. A process that was killed
    leaves the tiles it had finished. A folder without any tile gives way to another kernel.

    Raises OtherKernelError for a folder with the tiles of other parameters, samples or settings, or of a model or a `read` that
    says other numbers of a few samples of a tile that is there, which are computed anew; NotEnoughMemoryError where a tile does
    not fit; and ValueError for all outputs with all, a tile that is no positive whole number, or a parameter without values.
    """
    samples, output, tile = Samples.of(x), as_output(output), as_tile(tile)
    if output == "full":
        raise ValueError('tiles hold the trace over outputs or one output; ask for output="trace" or an index')
    refuse_without_values(model)

    def kernel(rows: slice | Tensor, columns: slice | None) -> Tensor:
        other = None if columns is None else samples[columns]
        return tangent_kernel(model, samples[rows], other, output, parameters=parameters, read=read, memory=memory).values

    store = _opened(Path(folder), _manifest(model, samples, output, tile, parameters, read))
    _check_same(store, lambda rows: kernel(rows, None))
    todo, total = store.missing, len(list(store.places()))
    for row, column in todo:
        advance(total - len(store.missing), total)
        if store.has(row, column):  # another process has been here
            continue
        store.write(row, column, kernel(store.rows(row), None if row == column else store.rows(column)))
    advance(total, total)
    return store


def _opened(folder: Path, manifest: dict[str, Any]) -> TileStore:
    path, text = folder / MANIFEST, json.dumps(manifest, indent=1)
    if not path.exists():
        write_text(path, text)
    store = TileStore(folder)
    remove_leftovers(folder)
    if store.manifest != manifest and not any(store.folder.glob("tile-*")):
        write_text(path, text)
        store = TileStore(folder)
    if store.manifest != manifest:
        differing = [name for name, value in manifest.items() if store.manifest.get(name) != value and name != "digest"]
        raise OtherKernelError(
            f"{folder} holds the tiles of another kernel (it differs in {', '.join(differing) or 'samples or parameters'}); "
            "choose another folder"
        )
    return store


def _check_same(store: TileStore, kernel: Callable[[Tensor], Tensor]) -> None:
    """What no digest of tensors tells, such as another activation function or `read` of the same name, tells the kernel of a few
    samples of a tile that is there: one on the diagonal, if any of those is.
    """
    there = [place for place in store.places() if store.has(*place)]
    if not there:
        return
    row, column = min(there, key=lambda place: place[0] != place[1])
    rows, columns = (torch.arange(store.samples)[store.rows(block)][:PROOF] for block in (row, column))
    found, n = kernel(torch.cat([rows, columns])).cpu(), len(rows)
    size = float(found[:n, :n].norm() * found[n:, n:].norm()) ** 0.5  # no block between the two is larger
    if float((found[:n, n:] - store.read(row, column)[:n, : len(columns)]).norm()) > SAME * size:
        raise OtherKernelError(
            f"{store.folder} holds the tiles of another kernel: the model or `read` says other numbers of samples "
            f"{int(rows[0])} and {int(columns[0])} and the next than what is stored; choose another folder"
        )


def _manifest(
    model: nn.Module, samples: Samples, output: Output, tile: int, parameters: Parameters, read: Read
) -> dict[str, Any]:
    names = chosen(model, parameters)
    own = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):  # a module may keep more (`get_extra_state`)
            own.update(f"{name} {tuple(value.shape)}".encode())
            own.update(_bytes(value))
    for value in (*samples.inputs, *([] if samples.positions is None else [samples.positions])):
        own.update(f"{tuple(value.shape)}".encode())
        own.update(_bytes(value))
    settings = {
        "version": VERSION,
        "samples": len(samples),
        "tile": tile,
        "output": output,
        "read": getattr(read, "__qualname__", type(read).__name__),
        "parameters": hashlib.sha256(json.dumps(names).encode()).hexdigest(),
    }
    own.update(json.dumps(settings, sort_keys=True).encode())
    return settings | {"digest": own.hexdigest()}


def _digest(values: Tensor) -> str:
    return hashlib.sha256(_bytes(values)).hexdigest()


def _bytes(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
