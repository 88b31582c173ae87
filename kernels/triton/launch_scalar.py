"""Launching the kernels of recurrences with one decay for all channels, on tensors that lie as their tokens do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .configurations import (
    SCALAR_BACKWARD,
    SCALAR_FORWARD,
    SCALAR_PRODUCT_GRADIENTS,
    SCALAR_PRODUCTS,
    SCALAR_TOKEN_GRADIENTS,
    LaunchConfiguration,
    choose,
)
from .launch import block, capability_of, check_key_size, launch_inverse, precision_of


@dataclass(frozen=True)
class Tokens:
    """What the kernels read, contiguous. q, k and v in the dtype of storage, beta and log_decay in float32.

    q [B, T, H, K], k [B, T, H, n, K], v [B, T, H, n, V], beta [B, T, H, n] or None where nothing is erased, log_decay
    [B, T, H] or None. table [J, S, 2], int32: first packed token and length of each row. chunk: C.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor | None
    log_decay: Tensor | None
    table: Tensor
    chunk: int

    @property
    def lead(self) -> tuple[int, int, int]:
        """The sizes J, S and H: rows, sequences and heads."""
        return self.table.shape[0], self.table.shape[1], self.q.shape[2]

    @property
    def writes(self) -> int:
        """The number M of writes that a row holds."""
        return self.chunk * self.k.shape[3]

    def empty(self, *size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=self.q.device)

    def launch(self, kernel: Any, grid: tuple[int, ...], chosen: LaunchConfiguration, *arguments: Any, **more: Any) -> None:
        """Run a kernel with those of all its constants that it has."""
        q, k, v = self.q, self.k, self.v
        sizes = {"WRITES": k.shape[3], "C": self.chunk, "M": self.writes, "K": q.shape[3], "V": v.shape[4]}
        blocks = {"BLOCK_C": block(self.chunk), "BLOCK_M": block(self.writes), "BLOCK_K": block(q.shape[3])}
        blocks |= {"BLOCK_V": self.width(chosen), "STEP": chosen.step}
        kind = {"ERASE": self.beta is not None, "DECAY": self.log_decay is not None, "PRECISION": precision_of(q.dtype)}
        constants = {name: x for name, x in (sizes | blocks | kind | more).items() if name in kernel.arg_names}
        kernel[grid](*arguments, **constants, num_warps=chosen.warps, num_stages=chosen.stages)

    def choose(self, table: Mapping[int, Sequence[LaunchConfiguration]]) -> LaunchConfiguration:
        """The configuration of a kernel's table for the dtype of storage and the device."""
        return choose(table[self.q.element_size()], capability_of(self.q))

    def width(self, chosen: LaunchConfiguration) -> int:
        """The number of value channels that one program takes."""
        return min(chosen.block, block(self.v.shape[4]))

    def over_values(self, chosen: LaunchConfiguration) -> tuple[int, int, int]:
        """The grid of the pass: blocks of values, sequences and heads."""
        _, sequences, heads = self.lead
        return -(-self.v.shape[4] // self.width(chosen)), sequences, heads

    @property
    def over_rows(self) -> tuple[int, int]:
        """The grid of what rows do each alone: rows and sequences, and heads."""
        rows, sequences, heads = self.lead
        return rows * sequences, heads

    def gates(self, *given: Tensor | None) -> tuple[Tensor, ...]:
        """Each, and in the place of what there is none of a tensor that the kernel does not read."""
        return tuple(self.q if x is None else x for x in given)


@dataclass(frozen=True)
class Products:
    """What a row is to itself: scores [J, S, H, C, M], inverse [J, S, H, M, M] or None, e^{c_i} and e^{c_C - c_i}
    [J, S, H, C] or None.
    """

    scores: Tensor
    inverse: Tensor | None
    reach: Tensor | None
    left: Tensor | None


@dataclass(frozen=True)
class OfDecay:
    """The gradients of c in a row, by where it stands.

    reads_in_row, reads [J, S, H, C]: c_i of a token that reads the row's own writes, and the state at its start.
    writes [J, S, H, M]: c_m of a write that erases and is read. erased [J, S, H, M]: of these, from the state at the row's start.
    carried [J, S, H, M]: c_C - c_m. through [J, S, H]: c_C.
    """

    reads_in_row: Tensor
    reads: Tensor
    writes: Tensor
    erased: Tensor
    carried: Tensor
    through: Tensor

    @classmethod
    def empty(cls, tokens: Tokens) -> OfDecay:
        lead = tokens.lead
        of_reads, of_writes = (*lead, tokens.chunk), (*lead, tokens.writes)
        return cls(*(tokens.empty(*size) for size in (of_reads, of_reads, of_writes, of_writes, of_writes, lead)))


def launch_products(tokens: Tokens) -> Products:
    from .scalar_products import scalar_products

    check_key_size(tokens.q, tokens.q.shape[3])
    lead, writes, stored = tokens.lead, tokens.writes, tokens.q.dtype
    scores = tokens.empty(*lead, tokens.chunk, writes, dtype=stored)
    lower = None if tokens.beta is None else tokens.empty(*lead, writes, writes)
    reach = None if tokens.log_decay is None else tokens.empty(*lead, tokens.chunk)
    left = None if tokens.log_decay is None else tokens.empty(*lead, tokens.chunk)
    given, results = tokens.gates(tokens.beta, tokens.log_decay), tokens.gates(lower, reach, left)
    arguments = (tokens.q, tokens.k, *given, tokens.table, scores, *results, lead[2])
    tokens.launch(scalar_products, tokens.over_rows, tokens.choose(SCALAR_PRODUCTS), *arguments)
    return Products(scores, None if lower is None else launch_inverse(lower, stored), reach, left)


def launch_forward(
    tokens: Tokens, products: Products, slots: Tensor, state: Tensor, kept: tuple[Tensor, ...], rows: tuple[int, int]
) -> Tensor:
    """Run rows first to stop from `state` and return the state behind them.

    slots [J], int32; kept: the output [B, T, H, V], and by slot what rows wrote and started from, all written in place.
    """
    from .scalar_forward import scalar_forward

    final = torch.empty_like(state)
    chosen = tokens.choose(SCALAR_FORWARD)
    read = (tokens.q, tokens.k, tokens.v, *tokens.gates(tokens.beta), tokens.table)
    of_rows = (products.scores, *tokens.gates(products.inverse, products.reach, products.left))
    arguments = (*read, *of_rows, slots, state, *kept, final, *rows, *tokens.lead[1:])
    tokens.launch(scalar_forward, tokens.over_values(chosen), chosen, *arguments)
    return final


def launch_backward(
    tokens: Tokens,
    products: Products,
    d_output: Tensor,
    d_kept: tuple[Tensor, ...] | None,
    d_final: Tensor,
    found: tuple[Tensor, Tensor],
    rows: tuple[int, int],
) -> Tensor:
    """The adjoint of `launch_forward`, from the gradient of the state behind the rows to that before them.

    d_kept: gradients of what all rows wrote and started from. found: dy [J, S, H, M, V] and G [J, S, H, K, V], in place.
    """
    from .scalar_backward import scalar_backward

    d_state = torch.empty_like(d_final)
    chosen = tokens.choose(SCALAR_BACKWARD)
    read = (tokens.q, tokens.k, *tokens.gates(tokens.beta), tokens.table)
    of_rows = (products.scores, *tokens.gates(products.inverse, products.reach, products.left))
    given = (d_output, *((d_final, d_final) if d_kept is None else d_kept), d_final)
    arguments = (*read, *of_rows, *given, *found, d_state, *rows, *tokens.lead[1:])
    tokens.launch(scalar_backward, tokens.over_values(chosen), chosen, *arguments, TAPPED=d_kept is not None)
    return d_state


def launch_gradients(
    tokens: Tokens, products: Products, kept: tuple[Tensor, Tensor], d_output: Tensor, found: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, OfDecay | None]:
    """The gradients of q, k, v and beta, and those of c.

    kept: what all rows wrote and started from. found: dy and G of `launch_backward`.
    """
    from .scalar_product_gradients import scalar_product_gradients
    from .scalar_token_gradients import scalar_token_gradients

    made = partial(torch.empty_like, dtype=torch.float32)
    d_query, d_key, d_value = made(tokens.q), made(tokens.k), made(tokens.v)
    d_beta = None if tokens.beta is None else made(tokens.beta)
    (written, starts), (solved, behind), heads = kept, found, tokens.lead[2]
    d_products = torch.empty_like(products.scores)
    d_gram = None if products.inverse is None else torch.empty_like(products.inverse)
    c = None if tokens.log_decay is None else OfDecay.empty(tokens)

    chosen = tokens.choose(SCALAR_PRODUCT_GRADIENTS)
    read = (tokens.k, tokens.v, *tokens.gates(tokens.beta, tokens.log_decay), tokens.table, products.scores)
    given = (*tokens.gates(products.reach), written, starts, d_output, solved)
    results = (d_products, *tokens.gates(d_gram), d_value, *tokens.gates(d_beta))
    of_c = tokens.gates(None, None, None) if c is None else (c.reads_in_row, c.writes, c.erased)
    tokens.launch(scalar_product_gradients, tokens.over_rows, chosen, *read, *given, *results, *of_c, heads)

    chosen = tokens.choose(SCALAR_TOKEN_GRADIENTS)
    read = (tokens.q, tokens.k, *tokens.gates(tokens.beta), tokens.table, *tokens.gates(products.reach, products.left))
    given = (written, starts, d_output, solved, behind, d_products, *tokens.gates(d_gram, None if c is None else c.erased))
    of_c = tokens.gates(None, None, None) if c is None else (c.reads, c.carried, c.through)
    tokens.launch(scalar_token_gradients, tokens.over_rows, chosen, *read, *given, d_query, d_key, *of_c, heads)
    return d_query, d_key, d_value, d_beta, c
