"""The kernels on a GPU against the token loop in float64: what pytest and the script of a GPU's ten minutes both run.

Each check returns rows of what was compared, the relative error found and that allowed. In Triton's interpreter the same checks
run on a CPU, with float16 in the place of bfloat16, which it rounds wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from recurrences import RECURRENCES, relative
from torch import Tensor

from statescope import Edit, cell_scan, diagonal_scan
from statescope.kernels import dispatch
from statescope.kernels.cell_scan import CELLS
from statescope.kernels.chunked import vector_gram as chunked
from statescope.kernels.triton import configurations, launch, launch_gram, vector_gram

Table = dict[int, tuple[configurations.LaunchConfiguration, ...]]
TOLERANCES = {"exact": (1e-4, 1e-3), "fast": (1e-2, 3e-2)}  # of results and of gradients
PASS = ("gated", "bonus", "delta-by-channel", "low-rank", "gated-20")  # a decay for each channel
SCALAR = ("linear", "linear-decay", "mlstm", "delta", "delta-decay", "delta-product", "delta-correlated")  # one decay, or none
FAMILIES = (*SCALAR, *PASS, "normalised")
SCALAR_TABLES = ("SCALAR_PRODUCTS", "SCALAR_FORWARD", "SCALAR_BACKWARD", "SCALAR_PRODUCT_GRADIENTS", "SCALAR_TOKEN_GRADIENTS")
SCANS = ("real", "complex")


class Compared(NamedTuple):
    """A quantity, its relative error, and the largest allowed."""

    what: str
    found: float
    allowed: float

    @property
    def holds(self) -> bool:
        """NaN does not."""
        return self.found <= self.allowed


@dataclass(frozen=True)
class Where:
    """device, and how large the inputs are there.

    sizes: (channels, chunk) of what is tried; None is as many channels as the kernels hold. runs: that must agree to the bit.
    large: whether the machine takes large inputs, and every family. tried: which configuration of a table, None for all.
    """

    device: str
    batch: int
    length: int
    heads: int
    sizes: tuple[tuple[int | None, int], ...]
    runs: int
    large: bool
    tried: int | None = None

    def of(self, table: Sequence[Any]) -> Sequence[Any]:
        return table if self.tried is None else (table[self.tried],)


GPU = Where("cuda", 2, 200, 2, ((24, 16), (23, 13), (None, 64)), 100, large=True)
INTERPRETER = Where("cpu", 1, 20, 1, ((8, 16),), 2, large=False, tried=-1)
DEFAULT = 0


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    return max(errors, key=lambda error: (error != error, error))


def results(where: Where, name: str, implementation: str, dtype: torch.dtype, size: int, **how: Any) -> dict[str, Tensor]:
    """Outputs, tapped and final states with an edit, and every gradient, the edit's too."""
    recurrence, length = RECURRENCES[name], where.length
    made = recurrence.make(where.batch, length, where.heads, size, size, torch.float64, 0)
    generator = torch.Generator().manual_seed(1)
    shape = (where.batch, where.heads, size, size + recurrence.extra_columns)
    made["edit"] = torch.randn(shape, generator=generator, dtype=torch.float64)
    inputs = {key: x.to(where.device, dtype).requires_grad_() for key, x in made.items()}
    tokens = {key: x for key, x in inputs.items() if key != "edit"}
    taps, edits = [0, length // 3, 2 * length // 3, length - 1], [Edit(length // 2, "add", inputs["edit"])]
    out = recurrence.call(**tokens, taps=taps, edits=edits, implementation=implementation, **how)
    found = {"output": out.output, "states": out.states, "final state": out.final_state}
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for x in found.values()]
    if recurrence.smooth_at is not None:
        smooth = recurrence.smooth_at(
            {key: x for key, x in made.items() if key != "edit"}, [Edit(length // 2, "add", made["edit"])]
        )
        weights[0] = weights[0] * smooth[..., None].to(weights[0])
    loss = sum((x * weight).sum() for x, weight in zip(found.values(), weights, strict=True))
    gradients = torch.autograd.grad(loss, list(inputs.values()))
    return found | {f"d {key}": gradient for key, gradient in zip(inputs, gradients, strict=True)}


@contextmanager
def storage(where: Where) -> Iterator[None]:
    """The fast tier's dtype, or one that the interpreter computes with."""
    fast = torch.float16 if where.device == "cpu" else dispatch.FAST_STORAGE
    with patch.object(dispatch, "FAST_STORAGE", fast):
        yield


def family(where: Where, name: str, precision: str) -> list[Compared]:
    """The default configuration, for keys that fill the kernels and keys that do not."""
    rows = []
    for size, chunk in where.sizes:
        size = configurations.LARGEST_KEY[configurations.STORED_BYTES[precision]] if size is None else size
        truth = results(where, name, "reference", torch.float64, size)
        with storage(where):
            found = results(where, name, "triton", torch.float32, size, precision=precision, chunk=chunk)
        for what, exact in truth.items():
            allowed = TOLERANCES[precision][what.startswith("d ")]
            rows.append(Compared(f"{what}, K = {size}, rows of {chunk}", relative(found[what], exact), allowed))
    return rows


def family_configurations(where: Where, name: str, precision: str, channels: int | None, chunk: int) -> list[Compared]:
    """Each configuration of each table that the family uses, with the defaults of the others: the worst result and gradient."""
    stored = configurations.STORED_BYTES[precision]
    size = configurations.LARGEST_KEY[stored] if channels is None else channels
    truth = results(where, name, "reference", torch.float64, size)
    rows = []
    for table_name in ("PASS",) if name in PASS else SCALAR_TABLES:
        table: Table = getattr(configurations, table_name)
        for configuration in where.of(table[stored]):
            with storage(where), patch.dict(table, {stored: (configuration,)}):
                found = results(where, name, "triton", torch.float32, size, precision=precision, chunk=chunk)
            for of_gradient, allowed in zip((False, True), TOLERANCES[precision], strict=True):
                errors = [relative(found[what], truth[what]) for what in truth if what.startswith("d ") == of_gradient]
                kind = "gradients" if of_gradient else "results"
                rows.append(Compared(f"{kind}, {table_name} {configuration}", worst(errors), allowed))
    return rows


def gram_configurations(where: Where, vectors: tuple[int, int]) -> list[Compared]:
    """Products under a decay for each channel, forward and backward."""
    rows, tokens, channels = (20, 50, 70) if where.large else (2, 9, 10)
    made = [torch.randn(rows, tokens, count, channels, dtype=torch.float64, device=where.device) for count in vectors]
    leaves = [*made, -10 * torch.rand(rows, tokens, channels, dtype=torch.float64, device=where.device)]
    weights = torch.randn(rows, tokens * vectors[0], tokens * vectors[1], dtype=torch.float64, device=where.device)

    def run(call: chunked.Gram, dtype: torch.dtype) -> list[Tensor]:
        own = [x.to(dtype).requires_grad_() for x in leaves]
        gram = call(*own)
        return [gram, *torch.autograd.grad((gram * weights.to(dtype)).sum(), own)]

    truth, found = run(chunked.vector_gram, torch.float64), []
    for name in ("GRAM", "GRAM_BACKWARD"):
        for configuration in where.of(getattr(configurations, name)):
            with patch.object(launch_gram, name, (configuration,)):
                ours = run(vector_gram.vector_gram, torch.float32)
            found.append(Compared(f"{name} {configuration}", worst(map(relative, ours, truth)), 1e-4))
    return found


def inverse_configurations(where: Where, size: int) -> list[Compared]:
    """The inverse of unit lower-triangular matrices."""
    lower = (0.3 * torch.randn(50 if where.large else 2, size, size, dtype=torch.float64)).tril(-1).to(where.device)
    truth = torch.linalg.inv(lower + torch.eye(size, dtype=torch.float64, device=where.device))
    rows = []
    for configuration in where.of(configurations.INVERSE):
        with patch.object(launch, "INVERSE", (configuration,)):
            rows.append(Compared(str(configuration), relative(launch.launch_inverse(lower.float()), truth), 1e-4))
    return rows


def scan_configurations(where: Where, kind: str) -> list[Compared]:
    """The scan of independent channels, forward and backward."""
    shape = (3, 777, 2, 50) if where.large else (2, 9, 2, 5)
    wide, narrow = (torch.complex128, torch.complex64) if kind == "complex" else (torch.float64, torch.float32)
    x, turn = (torch.randn(shape, dtype=wide, device=where.device) for _ in range(2))
    decay = torch.rand(shape, dtype=torch.float64, device=where.device) * torch.sgn(turn)

    def run(implementation: str, dtype: torch.dtype) -> list[Tensor]:
        own = [y.to(dtype).requires_grad_() for y in (x, decay)]
        output = diagonal_scan(*own, implementation=implementation).output
        return [output, *torch.autograd.grad(output.abs().square().sum(), own)]

    truth, rows = run("reference", wide), []
    for configuration in where.of(configurations.SCAN_CONFIGURATIONS):
        with patch.object(launch, "SCAN_CONFIGURATIONS", (configuration,)):
            rows.append(Compared(str(configuration), worst(map(relative, run("triton", narrow), truth)), 1e-4))
    return rows


def cell_configurations(where: Where, cell: str) -> list[Compared]:
    """The cells, forward and backward."""
    gates, rows = len(CELLS[cell].gates), []
    batch, length, heads = (20, 100, 3) if where.large else (2, 5, 1)
    for channels, table in (
        configurations.CELL_CONFIGURATIONS.items()
        if where.large
        else [(6, configurations.CELL_CONFIGURATIONS[min(configurations.CELL_CONFIGURATIONS)])]
    ):
        leaves = [
            torch.randn(batch, length, heads, gates, channels, dtype=torch.float64, device=where.device),
            torch.randn(heads, gates, channels, channels, dtype=torch.float64, device=where.device) / channels**0.5,
            torch.randn(heads, gates, channels, dtype=torch.float64, device=where.device),
        ]

        def run(implementation: str, dtype: torch.dtype, leaves: list[Tensor] = leaves) -> list[Tensor]:
            own = [x.to(dtype).requires_grad_() for x in leaves]
            out = cell_scan(cell, *own, taps=[length // 2], implementation=implementation)
            return [out.output, out.states, *torch.autograd.grad(out.output.square().sum(), own)]

        truth = run("reference", torch.float64)
        for configuration in where.of(table):
            with patch.dict(
                launch.CELL_CONFIGURATIONS,
                {min(size for size in launch.CELL_CONFIGURATIONS if channels <= size): (configuration,)},
            ):
                errors = map(relative, run("triton", torch.float32), truth)
            rows.append(Compared(f"{channels} channels, {configuration}", worst(errors), 1e-3))
    return rows


def runs_to_the_bit(where: Where, name: str) -> list[Compared]:
    """How many of the runs differ from the first, in any result or gradient."""
    size = 64 if where.large else 8
    first = results(where, name, "triton", torch.float32, size)
    others = (results(where, name, "triton", torch.float32, size) for _ in range(where.runs - 1))
    different = sum(not all(torch.equal(x, other[what]) for what, x in first.items()) for other in others)
    return [Compared(f"runs of {where.runs} that differ from the first", float(different), 0.0)]


Check = Callable[[Where], list[Compared]]


def default_checks(where: Where) -> dict[str, Check]:
    """Of each family in each precision, of the scans and of the cells, the default configuration."""
    families = FAMILIES if where.large else ("delta-decay",)
    found: dict[str, Check] = {
        f"{name}, {precision}": lambda at, name=name, precision=precision: family(at, name, precision)
        for precision in TOLERANCES
        for name in families
    }
    default = replace(where, tried=DEFAULT)
    for kind in SCANS if where.large else ("complex",):
        found[f"scan, {kind}"] = lambda _, kind=kind: scan_configurations(default, kind)
    for cell in CELLS if where.large else ("elman",):
        found[f"cell, {cell}"] = lambda _, cell=cell: cell_configurations(default, cell)
    return found


def configuration_checks(where: Where) -> dict[str, Check]:
    """Every configuration of every table."""
    found: dict[str, Check] = {}
    for precision in TOLERANCES if where.large else ("fast",):
        for name in (*SCALAR, *PASS) if where.large else ("gated",):
            for channels, chunk in where.sizes:
                what = f"{name}, {precision}, K = {channels or 'largest'}, rows of {chunk}"
                found[what] = lambda at, given=(name, precision, channels, chunk): family_configurations(at, *given)
    for vectors in ((1, 1), (2, 1), (2, 2)) if where.large else ((2, 1),):
        found[f"gram of {vectors[0]} x {vectors[1]}"] = lambda at, vectors=vectors: gram_configurations(at, vectors)
    for size in (16, 33, 64) if where.large else (16,):
        found[f"inverse of {size}"] = lambda at, size=size: inverse_configurations(at, size)
    for kind in SCANS if where.large else ():
        found[f"scan, {kind}"] = lambda at, kind=kind: scan_configurations(at, kind)
    for cell in CELLS if where.large else ():
        found[f"cell, {cell}"] = lambda at, cell=cell: cell_configurations(at, cell)
    return found


def repetition_checks(where: Where) -> dict[str, Check]:
    """That runs agree to the bit."""
    names = ("delta-decay", "linear-decay", "gated", "low-rank") if where.large else ("delta-decay",)
    return {name: lambda at, name=name: runs_to_the_bit(at, name) for name in names}
