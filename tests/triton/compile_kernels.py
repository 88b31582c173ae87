"""Compile every kernel ahead of time, with no GPU, and print what each configuration needs of one.

    python tests/triton/compile_kernels.py [--default] [--arch 80 90]

Fails where a kernel has a stack frame of more than 64 bytes (it spills; one of 16 in the pass took no longer on an H100),
needs more shared memory than the architecture has, or has no tensor-core operation where matrix products are expected. A
kernel that compiles is not yet one that is right: see test_interpreted.py.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from statescope.kernels.cell_scan import CELLS
from statescope.kernels.triton.cell_backward import cell_backward
from statescope.kernels.triton.cell_forward import cell_forward
from statescope.kernels.triton.channel_gram import channel_gram
from statescope.kernels.triton.channel_gram_backward import channel_gram_backward
from statescope.kernels.triton.configurations import (
    CELL_CONFIGURATIONS,
    GRAM,
    GRAM_BACKWARD,
    INVERSE,
    LARGEST_KEY,
    LARGEST_ROW,
    PASS,
    SCALAR_BACKWARD,
    SCALAR_FORWARD,
    SCALAR_PRODUCT_GRADIENTS,
    SCALAR_PRODUCTS,
    SCALAR_TOKEN_GRADIENTS,
    SCAN_CONFIGURATIONS,
    LaunchConfiguration,
)
from statescope.kernels.triton.launch import CELL_NUMBERS, block
from statescope.kernels.triton.pass_backward import pass_backward
from statescope.kernels.triton.pass_forward import pass_forward
from statescope.kernels.triton.scalar_backward import scalar_backward
from statescope.kernels.triton.scalar_forward import scalar_forward
from statescope.kernels.triton.scalar_product_gradients import scalar_product_gradients
from statescope.kernels.triton.scalar_products import scalar_products
from statescope.kernels.triton.scalar_token_gradients import scalar_token_gradients
from statescope.kernels.triton.scan import scan
from statescope.kernels.triton.unit_lower_inverse import unit_lower_inverse

FAMILIES = {"erasing": True, "gated": False}
SHARED = {80: 163 * 1024, 90: 227 * 1024}
ROWS = {2: (16, 32, 64), 4: (16, 32)}  # tokens a row, by the bytes of a stored number
SPILLED = 64  # bytes
TENSOR_CORES = {80: "mma.sync", 90: "wgmma.mma_async"}
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Case:
    """A kernel with its constants. products: the instruction that must do its matrix products; "" where it has none."""

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    configuration: LaunchConfiguration
    products: str


STORED = {"query", "scores", "key", "value", "erase", "inverse", "d_output", "d_products", "d_gram"}
TYPES = {"J": "i32", "N": "i32", "S": "i32", "H": "i32", "first": "i32", "stop": "i32", "slots": "*i32", "table": "*i32"}


def argument_types(kernel: Any, storage: str) -> dict[str, str]:
    return {name: TYPES.get(name, f"*{storage}" if name in STORED else "*fp32") for name in kernel.arg_names}


def pass_cases(default: bool, arch: int) -> Iterator[Case]:
    """The pass at the largest sizes that each storage holds."""
    for bytes_each, (storage, precision) in {2: ("bf16", "ieee"), 4: ("fp32", "tf32x3")}.items():
        size = LARGEST_KEY[bytes_each]
        rows = (LARGEST_ROW[bytes_each],) if default else ROWS[bytes_each]
        for configuration in PASS[bytes_each][: 1 if default else None]:
            for (family, erase), tokens in product(FAMILIES.items(), rows):
                writes = LARGEST_ROW[bytes_each] if erase else tokens  # only what erases writes several times a token
                sizes = {"C": tokens, "M": writes, "K": size, "V": size}
                blocks = {"BLOCK_C": tokens, "BLOCK_M": writes, "BLOCK_K": size, "BLOCK_V": configuration.block}
                constants: dict[str, Any] = sizes | blocks | {"ERASE": erase, "PRECISION": precision}
                name = f"{family}, {storage}, C {tokens} K {size}"
                types = argument_types(pass_forward, storage)
                yield Case(f"forward, {name}", pass_forward, types, constants, configuration, TENSOR_CORES[arch])
                types = argument_types(pass_backward, storage)
                for given in (False,) if default else (False, True):
                    more = constants | {"WRITTEN": given, "STARTS": given}
                    yield Case(f"backward, {name}", pass_backward, types, more, configuration, TENSOR_CORES[arch])


def scalar_cases(default: bool, arch: int) -> Iterator[Case]:
    """One decay for all channels, at the largest sizes that each storage holds."""
    for bytes_each, (storage, precision) in {2: ("bf16", "ieee"), 4: ("fp32", "tf32x3")}.items():
        size = LARGEST_KEY[bytes_each]
        kernels: dict[Any, tuple[LaunchConfiguration, ...]] = {
            scalar_products: SCALAR_PRODUCTS[bytes_each],
            scalar_forward: SCALAR_FORWARD[bytes_each],
            scalar_backward: SCALAR_BACKWARD[bytes_each],
            scalar_product_gradients: SCALAR_PRODUCT_GRADIENTS[bytes_each],
            scalar_token_gradients: SCALAR_TOKEN_GRADIENTS[bytes_each],
        }
        largest = LARGEST_ROW[bytes_each]
        rows = ((largest, 1),) if default else (*((tokens, 1) for tokens in ROWS[bytes_each]), (largest // 3, 3))
        for (kernel, table), erase, (tokens, each) in product(kernels.items(), (True, False), rows):
            writes = tokens * each
            if each > 1 and not erase:
                continue
            # Products of fewer than 64 rows have no warp-group instruction; those of the pass have rows of keys.
            few = block(writes) < 64 and kernel not in (scalar_forward, scalar_backward)
            suited = [configuration for configuration in table if configuration.least <= arch]
            for configuration in suited[: 1 if default else None]:
                sizes = {"WRITES": each, "C": tokens, "M": writes, "K": size, "V": size}
                blocks = {"BLOCK_C": block(tokens), "BLOCK_M": block(writes), "BLOCK_K": size, "BLOCK_V": configuration.block}
                constants: dict[str, Any] = sizes | blocks | {"ERASE": erase, "DECAY": True, "PRECISION": precision}
                constants |= {"TAPPED": True, "STEP": configuration.step}
                constants = {name: x for name, x in constants.items() if name in kernel.arg_names}
                family = "delta rule" if erase else "linear"
                name = f"{kernel.fn.__name__.replace('_', ' ')}, {family}, {storage}, C {tokens} n {each} K {size}"
                products = "mma.sync" if few else TENSOR_CORES[arch]
                yield Case(name, kernel, argument_types(kernel, storage), constants, configuration, products)


def gram_cases(default: bool) -> Iterator[Case]:
    """Products under a decay for each channel, for as many tokens and vectors a token as a family has."""
    for kernel, table in ((channel_gram, GRAM), (channel_gram_backward, GRAM_BACKWARD)):
        for configuration in table[: 1 if default else None]:
            for tokens, left in ((64, True),) if default else product((16, 32, 64), (True, False)):
                sizes = {"P": 2, "R": 2, "K": 128, "LEVELS": (tokens - 1).bit_length(), "STEP": configuration.step}
                constants: dict[str, Any] = sizes | {"BLOCK": tokens, "LEFT": left, "PRECISION": "tf32x3"}
                constants = {name: x for name, x in constants.items() if name in kernel.arg_names}
                name = f"{kernel.fn.__name__.replace('_', ' ')}, C {tokens}, {'left' if left else 'right'}"
                yield Case(name, kernel, argument_types(kernel, "fp32") | {"C": "i32"}, constants, configuration, "mma")


def cell_cases(default: bool) -> Iterator[Case]:
    """Every cell, at the largest size of each entry."""
    for size, (name, cell) in product(CELL_CONFIGURATIONS, CELLS.items()):
        for configuration in CELL_CONFIGURATIONS[size][: 1 if default else None]:
            sizes = {"G": len(cell.gates), "P": len(cell.parts), "D": size, "BLOCK_N": configuration.block, "BLOCK_D": size}
            constants: dict[str, Any] = sizes | {"CELL": CELL_NUMBERS[name], "PRECISION": "tf32x3"}
            for what, kernel in (("forward", cell_forward), ("backward", cell_backward)):
                types = {argument: "i32" if argument in ("N", "T", "H") else "*fp32" for argument in kernel.arg_names}
                yield Case(f"{name}, {what}, D {size}", kernel, types, constants, configuration, "mma.sync")


def cases(default: bool, arch: int) -> list[Case]:
    found = [*pass_cases(default, arch), *scalar_cases(default, arch), *gram_cases(default), *cell_cases(default)]
    for configuration in INVERSE[:1] if default else INVERSE:
        types = {"lower": "*fp32", "inverse": "*fp32", "M": "i32"}
        found.append(Case("inverse", unit_lower_inverse, types, {"BLOCK": configuration.block}, configuration, "mma.sync"))
    for configuration in SCAN_CONFIGURATIONS[:1] if default else SCAN_CONFIGURATIONS:
        for numbers in (False, True):
            types = {"decay": "*fp32", "x": "*fp32", "state": "*fp32", "states": "*fp32", "T": "i32", "W": "i32"}
            constants = {"BLOCK": configuration.block, "COMPLEX": numbers, "FROM_END": False}
            found.append(Case(f"scan, {'complex' if numbers else 'real'}", scan, types, constants, configuration, ""))
    return found


def compile_case(case: Case, arch: int) -> Any:
    names = case.kernel.arg_names
    pointers = [name for name in names if name not in case.constants and case.types[name].startswith("*")]
    source = ASTSource(
        case.kernel,
        {name: "constexpr" if name in case.constants else case.types[name] for name in names},
        {(names.index(name),): value for name, value in case.constants.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in pointers},
    )
    options = {"num_warps": case.configuration.warps, "num_stages": case.configuration.stages}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        shown = subprocess.run([CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"REG:(\d+)", shown)[1]), int(re.search(r"STACK:(\d+)", shown)[1])


def check(case: Case, arch: int) -> tuple[str, list[str]]:
    """A line of the table, and what is wrong."""
    compiled = compile_case(case, arch)
    registers, stack = resources(compiled.asm["cubin"])
    shared, tensor = compiled.metadata.shared, compiled.asm["ptx"].count(case.products or TENSOR_CORES[arch])
    wrong = [f"a stack of {stack} bytes"] if stack > SPILLED else []
    wrong += [f"{shared} bytes of shared memory, {SHARED[arch]} are there"] if shared > SHARED[arch] else []
    wrong += ["no tensor-core operation"] if case.products and not tensor else []
    c = case.configuration
    what = f"sm_{arch}  {case.name:<66} block {c.block:>3}  warps {c.warps}  stages {c.stages}"
    return f"{what}  registers {registers:>3}  stack {stack:>4}  shared {shared:>6}  tensor-core {tensor:>3}", wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--default", action="store_true", help="only the default configuration of each kernel")
    parser.add_argument("--arch", type=int, nargs="+", default=[80, 90])
    given = parser.parse_args()
    failed = 0
    print(f"triton {triton.__version__}", flush=True)
    for arch in given.arch:
        for case in cases(given.default, arch):
            line, wrong = check(case, arch)
            print(line + (f"  FAILS: {'; '.join(wrong)}" if wrong else ""), flush=True)
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
