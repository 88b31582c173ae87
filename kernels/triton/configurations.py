"""Every configuration that is compiled and tested, as data. The first of a kernel is its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LaunchConfiguration:
    """The constants with which a kernel is launched.

    block: values (or channels) a program. warps: of 32 threads. stages: of the software pipeline. step: how much of the summed
    axis a product takes at a time, in kernels that read both its sides from memory. least: the compute capability, times ten,
    from which it is used: one that suits Hopper spills its registers on what came before.
    """

    block: int
    warps: int
    stages: int
    step: int = 0
    least: int = 80


# By the bytes of a stored number. The state of a program takes K x block float32 registers of its warps; with float32 terms
# each product is three, whose operands are held twice, and a key of more than 64 channels would spill.
PASS = {
    2: (
        LaunchConfiguration(block=32, warps=4, stages=2),
        LaunchConfiguration(block=32, warps=8, stages=2),
        LaunchConfiguration(block=16, warps=4, stages=2),
    ),
    4: (LaunchConfiguration(block=16, warps=4, stages=1),),
}
# The same for one decay for all channels, in five kernels; the products have no axis of values.
SCALAR_PRODUCTS = {
    2: (LaunchConfiguration(block=0, warps=4, stages=1, step=128), LaunchConfiguration(block=0, warps=4, stages=1, step=64)),
    4: (LaunchConfiguration(block=0, warps=4, stages=1, step=16), LaunchConfiguration(block=0, warps=4, stages=1, step=32)),
}
SCALAR_FORWARD = {
    2: (LaunchConfiguration(block=64, warps=8, stages=3, least=90), LaunchConfiguration(block=32, warps=8, stages=2)),
    4: (LaunchConfiguration(block=16, warps=4, stages=1),),
}
SCALAR_BACKWARD = {
    2: (LaunchConfiguration(block=64, warps=8, stages=2, least=90), LaunchConfiguration(block=32, warps=8, stages=2)),
    4: (LaunchConfiguration(block=16, warps=4, stages=1),),
}
SCALAR_PRODUCT_GRADIENTS = {
    2: (LaunchConfiguration(block=32, warps=4, stages=1, step=128), LaunchConfiguration(block=32, warps=8, stages=1, step=64)),
    4: (LaunchConfiguration(block=16, warps=8, stages=1, step=16),),
}
SCALAR_TOKEN_GRADIENTS = {
    2: (LaunchConfiguration(block=64, warps=8, stages=2, step=32), LaunchConfiguration(block=32, warps=8, stages=1, step=32)),
    4: (LaunchConfiguration(block=16, warps=8, stages=1, step=16),),
}
# The products of a row under a decay for each channel, in float32.
GRAM = (LaunchConfiguration(block=0, warps=4, stages=1, step=16), LaunchConfiguration(block=0, warps=8, stages=1, step=16))
GRAM_BACKWARD = (
    LaunchConfiguration(block=0, warps=4, stages=1, step=16),
    LaunchConfiguration(block=0, warps=8, stages=1, step=16),
)
STORED_BYTES = {"fast": 2, "exact": 4}
LARGEST_KEY = {2: 128, 4: 64}
LARGEST_ROW = {2: 64, 4: 32}  # writes of a row: tokens times writes a token
LINE = 16  # bytes
INVERSE = (LaunchConfiguration(block=64, warps=1, stages=1), LaunchConfiguration(block=64, warps=2, stages=1))
SCAN_CONFIGURATIONS = (LaunchConfiguration(block=128, warps=4, stages=4), LaunchConfiguration(block=64, warps=2, stages=4))

# By the channels of a head, up to which they serve. block: sequences a program. The recurrent matrices of a head lie in shared
# memory, and 64 channels of four gates fill it.
CELL_CONFIGURATIONS = {
    32: (LaunchConfiguration(block=16, warps=4, stages=1),),
    64: (LaunchConfiguration(block=16, warps=8, stages=1),),
}
LARGEST_CELL = max(CELL_CONFIGURATIONS)


def choose(table: Sequence[LaunchConfiguration], capability: int) -> LaunchConfiguration:
    """The first configuration of a table for a device of this compute capability, times ten."""
    return next(configuration for configuration in table if configuration.least <= capability)


def holds(key_size: int, writes_a_token: int, precision: str) -> bool:
    """Whether the kernels hold keys of this size and a token that writes so often."""
    return key_size <= LARGEST_KEY[STORED_BYTES[precision]] and _tokens_a_row(1, writes_a_token, precision) is not None


def tokens_a_row(chunk: int, writes_a_token: int, precision: str) -> int:
    """The tokens that a row takes: about `chunk`, and no more than the kernels hold. Raises ValueError where they hold none."""
    found = _tokens_a_row(chunk, writes_a_token, precision)
    if found is None:
        raise ValueError(
            f"a token writes {writes_a_token} times; with precision={precision!r} the Triton kernels hold "
            f"{LARGEST_ROW[STORED_BYTES[precision]]} writes in a row of tokens, and rows of bfloat16 by eights; "
            "implementation='chunked' runs any number on a GPU too"
        )
    return found


def _tokens_a_row(chunk: int, writes_a_token: int, precision: str) -> int | None:
    """The most tokens of at most `chunk`, else the fewest, whose writes lie in lines of 16 bytes: where a row of bfloat16 has an
    odd number of them, Triton 3.6 makes wrong sums of it on a Hopper GPU, another at each run.
    """
    stored = STORED_BYTES[precision]
    lines = LINE // stored if stored < 4 else 1
    held = [tokens for tokens in range(1, LARGEST_ROW[stored] // writes_a_token + 1) if tokens * writes_a_token % lines == 0]
    return max((tokens for tokens in held if tokens <= chunk), default=min(held, default=None))
