"""Every configuration that is compiled and tested, as data. The first of a kernel is its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Configuration:
    """block: values (or channels) a program. warps: of 32 threads. stages: of the software pipeline."""

    block: int
    warps: int
    stages: int


# By the bytes of a stored number. The state of a program takes K x block float32 registers of its warps; with float32 terms
# each product is three, whose operands are held twice, and a key of more than 64 channels would spill.
PASS = {
    2: (
        Configuration(block=32, warps=4, stages=2),
        Configuration(block=32, warps=8, stages=2),
        Configuration(block=16, warps=4, stages=2),
    ),
    4: (Configuration(block=16, warps=4, stages=1),),
}
LARGEST_KEY = {2: 128, 4: 64}
LARGEST_ROW = 64  # writes of a row: tokens times keys a token
INVERSE = (Configuration(block=64, warps=4, stages=1), Configuration(block=64, warps=2, stages=1))
SCAN = (Configuration(block=128, warps=4, stages=4), Configuration(block=64, warps=2, stages=4))

# By the channels of a head, up to which they serve. block: sequences a program. The recurrent matrices of a head lie in shared
# memory, and 64 channels of four gates fill it.
CELL = {32: (Configuration(block=16, warps=4, stages=1),), 64: (Configuration(block=16, warps=8, stages=1),)}
LARGEST_CELL = max(CELL)


def holds(key_size: int, writes: int, precision: str) -> bool:
    """Whether the kernels hold keys of this size and rows of this many writes."""
    return key_size <= LARGEST_KEY[2 if precision == "fast" else 4] and writes <= LARGEST_ROW
