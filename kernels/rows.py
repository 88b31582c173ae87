"""Copying the tokens of a batch into rows and back: one copy each way, wherever the rows are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

Row = tuple[int, int]  # first token, tokens


def fill_rows(tokens: Tensor, rows: Sequence[Row], chunk: int) -> Tensor:
    """Tokens [B, T, H, ...] as rows [J, B, H, C, ...], zero where a row holds no token."""
    batch, _, heads, *rest = tokens.shape
    filled = tokens.new_empty(len(rows), batch, heads, chunk, *rest)
    for first, stop, own in _runs(rows, chunk):
        length = rows[first][1]
        filled[first:stop, :, :, :length].copy_(_view(tokens, own, stop - first))
        if length < chunk:
            filled[first:stop, :, :, length:] = 0
    return filled


def take_rows(blocks: Sequence[Tensor], blocks_of: Sequence[Sequence[Row]], length: int) -> Tensor:
    """The inverse: blocks of rows, in order, as tokens [B, T, H, ...]."""
    _, batch, heads, chunk, *rest = blocks[0].shape
    if sum(len(rows) for rows in blocks_of) * chunk == length:
        return torch.cat([filled.movedim(0, 1).movedim(2, 3) for filled in blocks], dim=1).flatten(1, 2)
    tokens = blocks[0].new_empty(batch, length, heads, *rest)
    for filled, rows in zip(blocks, blocks_of, strict=True):
        for first, stop, own in _runs(rows, chunk):
            _view(tokens, own, stop - first).copy_(filled[first:stop, :, :, : rows[first][1]])
    return tokens


class ToRows(torch.autograd.Function):
    """`fill_rows` is run forward for several blocks, and `take_rows` gives its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(blocks_of: Sequence[Sequence[Row]], chunk: int, tokens: Tensor) -> tuple[Tensor, ...]:
        return tuple(fill_rows(tokens, rows, chunk) for rows in blocks_of)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.blocks_of, _, tokens = inputs
        ctx.length = tokens.shape[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, FromRows.apply(ctx.blocks_of, ctx.length, *gradients)  # type: ignore[no-untyped-call]


class FromRows(torch.autograd.Function):
    """`take_rows` is run forward, and `fill_rows` gives its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(blocks_of: Sequence[Sequence[Row]], length: int, *blocks: Tensor) -> Tensor:
        return take_rows(blocks, blocks_of, length)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.blocks_of, _, first, *_ = inputs
        ctx.chunk = first.shape[3]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return None, None, *ToRows.apply(ctx.blocks_of, ctx.chunk, gradient)  # type: ignore[no-untyped-call]


def split_rows(rows: Sequence[Row], sizes: Sequence[int]) -> list[Sequence[Row]]:
    """Rows in blocks of these sizes."""
    bounds = [0, *accumulate(sizes)]
    return [rows[first:stop] for first, stop in pairwise(bounds)]


def _runs(rows: Sequence[Row], chunk: int) -> Iterator[tuple[int, int, slice]]:
    """Rows that lie in one piece: first row, row behind the last, and their tokens. A short row stands alone."""
    first = 0
    while first < len(rows):
        stop = first + 1
        while rows[first][1] == chunk and stop < len(rows) and rows[stop][1] == chunk:
            stop += 1
        yield first, stop, slice(rows[first][0], rows[stop - 1][0] + rows[stop - 1][1])
        first = stop


def _view(tokens: Tensor, own: slice, count: int) -> Tensor:
    """A run of tokens as [count, B, H, tokens a row, ...]."""
    return tokens[:, own].unflatten(1, (count, (own.stop - own.start) // count)).movedim(1, 0).movedim(3, 2)
