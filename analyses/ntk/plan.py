"""How much memory a tangent kernel takes, said before anything large is made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...probe.errors import NotEnoughMemoryError
from ..operators.evaluation_mode import refuse_training_mode
from .factors import LARGEST_TILE
from .jacobian import run_model
from .rules import watching
from .task import AT_ONCE, KernelTask, Output

NUMBER = 8  # bytes in float64
CACHED = 2**18  # numbers of one activation of the samples in a pass: those of some operations then fit a processor's cache


@dataclass(frozen=True)
class Plan:
    """The bytes that a kernel is foreseen to take, from one sample's pass.

    method: the engine. samples: (N, M). outputs: O of each sample. parameters: numbers that are counted.
    tile: samples whose passes are kept at once. sides: tiles of which this is so. in_a_pass: samples that share a pass, at most.
    kernel: bytes of the result and of its parts.
    passes: bytes of what the passes over a tile of samples keep for the backward passes, and of the gradients there.
    rows: bytes of the largest gradients that are formed sample by sample, or of projections of them.
    """

    method: str
    samples: tuple[int, int]
    outputs: int
    parameters: int
    tile: int
    sides: int
    in_a_pass: int
    kernel: int
    passes: int
    rows: int

    @property
    def bytes(self) -> int:
        return self.kernel + self.passes + self.rows

    def __str__(self) -> str:
        n, m = self.samples
        return (
            f"{n} x {m} samples of {self.outputs} outputs, {self.tile} at once, {self.parameters} parameters: "
            f"foreseen are {_size(self.bytes)} ({_size(self.kernel)} the kernel, {_size(self.passes)} the passes, "
            f"{_size(self.rows)} gradients)"
        )


def plan(task: KernelTask, method: str, *, groups: int = 1) -> Plan:
    """The memory that a kernel takes, foreseen from a pass of the first sample alone.

    groups: how many kernels are kept. Raises IndexError for an output that is none, and what a pass of the model raises.
    """
    model, first, second, output, tile = task.model, task.first, task.second, task.output, task.tile
    refuse_training_mode(model)
    one = first[:1].double()
    leaves, held = task.tensors
    own = {value.untyped_storage().data_ptr() for value in (leaves | held).values()}
    with watching(leaves, 1, held) as watch:
        values = run_model(model, leaves | held, one, task.read)
    kept = {place: size for place, size in _kept(values).items() if place not in own}
    outputs = checked_output(output, values.shape[1])
    at_uses = NUMBER * sum(use.size for use in watch.uses)
    n, m = len(first), len(first if second is None else second)
    sides = 1 if second is None and n <= tile else 2
    of_pass = min(tile, n) + (min(tile, m) if sides == 2 else 0)
    whole = sum(leaf.numel() for leaf in leaves.values())
    largest = max(leaf.numel() for leaf in leaves.values())  # of the parameters
    full = output == "full"
    kernel = NUMBER * n * m * (outputs**2 if full else 1) * (1 if groups == 1 else groups + 1)
    activation = max([NUMBER, *kept.values(), *(NUMBER * use.size for use in watch.uses)])
    in_a_pass = max(2, NUMBER * CACHED // activation) if first.inputs[0].device.type == "cpu" else tile
    in_a_pass = min(in_a_pass, tile)
    passes = of_pass * (sum(kept.values()) + at_uses * (outputs if full else 1)) + 2 * in_a_pass * at_uses  # three in a check
    rows = of_pass * largest * (outputs if full else 1) + 2 * LARGEST_TILE
    if method == "jacobian":
        passes, rows = of_pass * sum(kept.values()) * outputs, 2 * of_pass * outputs * whole
    if method == "ghost":
        rows += (AT_ONCE + 1) * whole
    if method == "projected":
        rows += (n + m) * outputs * task.features * groups
    return Plan(method, (n, m), outputs, whole, tile, sides, in_a_pass, kernel, passes, NUMBER * rows)


def checked_output(output: Output, outputs: int) -> int:
    """How many outputs are differentiated. Raises IndexError for an output that is none."""
    if isinstance(output, int) and not -outputs <= output < outputs:
        raise IndexError(f"the model has {outputs} outputs, none of them is {output}")
    return 1 if isinstance(output, int) else outputs


def _kept(values: Tensor) -> dict[int, int]:
    """The bytes of each storage that the graph of a result keeps for its backward pass, by the storage's place.

    The graph is looked through; hooks on what is kept would be refused in a model that has torch.func differentiate something.
    """
    nodes, seen, kept = [values.grad_fn], set[Any](), dict[int, int]()
    while nodes:
        node: Any = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [before for before, _ in node.next_functions]
        for name in dir(node):
            found = getattr(node, name) if name.startswith("_saved_") or name == "saved_tensors" else None
            for value in found if isinstance(found, tuple | list) else (found,):
                if isinstance(value, Tensor):
                    kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    return kept


def check_memory(foreseen: Plan, allowed: int | None, device: torch.device) -> None:
    """Raise NotEnoughMemoryError where a plan takes more than is allowed; left out, more than is free."""
    free = _free(device) if allowed is None else allowed
    if free is None or foreseen.bytes <= free:
        return
    fits = _fitting_tile(foreseen, free)
    if foreseen.kernel > free:
        advice = (
            "store it on disk with `store_tangent_kernel`, in tiles that fit, or ask for one output or the trace instead of all"
        )
    elif fits and foreseen.method != "projected":
        advice = f"tile={fits} samples at once would fit"
    else:
        advice = 'choose fewer samples, fewer `parameters`, or method="structured" with tile=1'
    raise NotEnoughMemoryError(f"not enough memory, {_size(free)} are free: {foreseen}; {advice}")


def _fitting_tile(foreseen: Plan, free: int) -> int:
    """The samples in a pass of which two tiles fit."""
    fixed = foreseen.kernel + 2 * LARGEST_TILE * NUMBER
    n, m = foreseen.samples
    of_pass = min(foreseen.tile, n) + (min(foreseen.tile, m) if foreseen.sides == 2 else 0)
    of_each = (foreseen.bytes - fixed) / max(1, of_pass)
    return min(int((free - fixed) / (2 * of_each)), foreseen.tile - 1) if of_each > 0 and fixed < free else 0


def _free(device: torch.device) -> int | None:
    """Bytes that can still be had; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with Path("/proc/meminfo").open() as file:
            found = dict(line.split(":", 1) for line in file)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        pages = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
        return os.sysconf(pages[0]) * os.sysconf(pages[1]) if all(name in os.sysconf_names for name in pages) else None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
