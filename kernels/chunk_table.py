"""Where sequences lie in the inputs, and how the chunked forms cut them into rows of at most `chunk` tokens.

A batch [B, T] and a packed batch with `cu_seqlens` are the same thing here: a list of sequences in one run of tokens.
Sequences are cut at multiples of the chunk and after each propagating edit, so that an edit always falls between two rows.
Taps need no cut: the state inside a row is one masked product away (see `chunked/state_passing.py`).

`chunk` is a number of tokens throughout. A row is a run of at most so many tokens of one sequence, and a block is rows that are
prepared together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .recurrence import Edit, Tap, TapRequest, resolve_position
from .rows import FromRows, ToRows, fill_rows, split_rows, take_rows
from .tap_states import requires_grad


class Place(NamedTuple):
    """A token, counted within its sequence, of all the sequences of a batch or of one sequence of a packed batch."""

    sequences: tuple[int, ...]
    local: int


@dataclass(frozen=True)
class Layout:
    """Where the sequences lie, and what is asked of their states.

    starts, lengths: of each of the S sequences, in packed tokens.
    batch: B of the inputs' [B, T, ...]; S when not packed, else 1.
    tap_positions: as the caller counts them, within [0, T); `taps` are their places.
    propagating, readouts: edits and their places, by position and then in the caller's order.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    batch: int
    tap_positions: tuple[int, ...]
    taps: tuple[Place, ...]
    propagating: tuple[tuple[Place, Edit], ...]
    readouts: tuple[tuple[Place, Edit], ...]

    @classmethod
    def of(
        cls, batch: int, length: int, cu_seqlens: Tensor | None, taps: TapRequest | None, edits: Sequence[Edit] | None
    ) -> Layout:
        """Resolve positions. Raises IndexError for a tap or edit out of range, ValueError for no tokens, a bad
        `cu_seqlens` or the value of an edit that is not finite.
        """
        for edit in edits or ():
            edit.check_value()
        if batch < 1 or length < 1:
            raise ValueError(f"the sequences are empty: batch {batch}, {length} tokens; a recurrence needs at least one of each")
        packed = cu_seqlens is not None
        if cu_seqlens is None:
            starts, lengths = tuple(sequence * length for sequence in range(batch)), (length,) * batch
        else:
            starts, lengths = _read_cu_seqlens(cu_seqlens, batch, length)

        def place(position: int) -> Place:
            if not packed:
                return Place(tuple(range(batch)), position)
            sequence = max(s for s, start in enumerate(starts) if start <= position)
            return Place((sequence,), position - starts[sequence])

        tap_positions = () if taps is None else _tap_positions(Tap.of(taps), length, starts, lengths, packed)
        placed = [(place(resolve_position(e.position, length, f"Edit({e.operation!r})")), e) for e in edits or ()]
        placed.sort(key=lambda item: item[0].local)
        return cls(
            starts,
            lengths,
            batch,
            tap_positions,
            tuple(place(position) for position in tap_positions),
            tuple(item for item in placed if item[1].verb == "propagate"),
            tuple(item for item in placed if item[1].verb == "readout"),
        )

    @property
    def packed(self) -> bool:
        return self.batch != len(self.starts)

    @property
    def groups(self) -> tuple[tuple[tuple[int, ...], slice], ...]:
        """Sequences that run side by side, and their tokens on the time axis of the inputs: all of a batch, or one by one."""
        if not self.packed:
            return ((tuple(range(self.batch)), slice(0, self.lengths[0])),)
        return tuple(
            ((s,), slice(start, start + length)) for s, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True))
        )

    def token(self, place: Place) -> int:
        """The index of a place on the time axis of the inputs."""
        return self.starts[place.sequences[0]] + place.local if self.packed else place.local

    def at_ends(self, tokens: Tensor) -> Tensor:
        """What [B, T, ...] holds at the last token of each sequence: [S, ...]."""
        ends = [start + length - 1 for start, length in zip(self.starts, self.lengths, strict=True)]
        return tokens.flatten(0, 1).index_select(0, torch.tensor(ends, device=tokens.device))

    def padded_index(self, device: torch.device) -> Tensor:
        """The packed token at each place of a padded batch [S, longest]; behind a sequence's end its last token."""
        lengths = torch.tensor(self.lengths, device=device)[:, None]
        offset = torch.arange(max(self.lengths), device=device)
        return torch.tensor(self.starts, device=device)[:, None] + torch.minimum(offset, lengths - 1)

    def is_edited(self, place: Place) -> bool:
        """Whether a propagating edit changes the state at this place."""
        return any(place.local == at.local and place.sequences[0] in at.sequences for at, _ in self.propagating)


def _read_cu_seqlens(cu_seqlens: Tensor, batch: int, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    bounds = [int(bound) for bound in cu_seqlens.tolist()]
    if batch != 1:
        raise ValueError(f"cu_seqlens needs inputs of batch 1 (the sequences lie end to end), got batch {batch}")
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != length:
        raise ValueError(f"cu_seqlens must run from 0 to the {length} tokens of the inputs, got {bounds}")
    if any(stop <= start for start, stop in pairwise(bounds)):
        raise ValueError(f"cu_seqlens must increase (sequences that overlap or are empty are refused), got {bounds}")
    return tuple(bounds[:-1]), tuple(stop - start for start, stop in pairwise(bounds))


def _tap_positions(tap: Tap, length: int, starts: Sequence[int], lengths: Sequence[int], packed: bool) -> tuple[int, ...]:
    if not packed or tap.positions:
        return tap.resolve(length)
    return tuple(start + local for start, size in zip(starts, lengths, strict=True) for local in tap.resolve(size))


@dataclass(frozen=True)
class ChunkTable:
    """Rows of tokens: rows[s][j] = (first packed token, tokens <= chunk) is row j of sequence s.

    Short sequences end in empty rows, which leave the state as it is. A sequence edited after its last token ends in an
    empty row too, at whose start the edited state stands.
    """

    layout: Layout
    chunk: int
    rows: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, layout: Layout, chunk: int) -> ChunkTable:
        if chunk < 1:
            raise ValueError(f"chunk={chunk} must be at least 1")
        rows = []
        for sequence, (start, length) in enumerate(zip(layout.starts, layout.lengths, strict=True)):
            cuts = {at.local + 1 for at, _ in layout.propagating if sequence in at.sequences}
            own, begin = [], 0
            for cut in sorted(cuts | {length}):
                own += [(start + at, min(chunk, cut - at)) for at in range(begin, cut, chunk)]
                begin = cut
            rows.append(own + [(start + length, 0)] * (length in cuts))
        depth = max(len(own) for own in rows)
        return cls(layout, chunk, tuple(tuple(own + [(0, 0)] * (depth - len(own))) for own in rows))

    @property
    def depth(self) -> int:
        """The number J of rows that the longest sequence has."""
        return len(self.rows[0])

    def find(self, place: Place) -> tuple[int, int]:
        """Find the row of a place, and its offset in the row."""
        position = self.layout.starts[place.sequences[0]] + place.local
        own = self.rows[place.sequences[0]]
        row = next(j for j, (start, length) in enumerate(own) if start <= position < start + length)
        return row, position - own[row][0]

    def find_state(self, place: Place) -> tuple[int, int]:
        """Find (row, offset) of the state after a place, edited if it is edited; offset -1 is the state at the row's start."""
        row, offset = self.find(place)
        return (row + 1, -1) if self.layout.is_edited(place) else (row, offset)

    def to_rows(self, tokens: Tensor, rows_in_a_block: int) -> Iterator[Tensor]:
        """Tokens [B, T, H, ...] as blocks of rows [J, S, H, C, ...], contiguous, zero where a row holds no token.

        Without a gradient a block at a time: what is small is reused from the allocator's memory, a copy of all tokens is
        fetched anew.
        """
        if self.layout.packed:
            index, held = self._index(tokens.device)
            flat = tokens.flatten(0, 1)
            for own, filled in zip(index.split(rows_in_a_block), held.split(rows_in_a_block), strict=True):
                rows = flat.index_select(0, own.flatten()).unflatten(0, own.shape)
                yield torch.where(filled.reshape(*filled.shape, *[1] * (rows.ndim - 3)), rows, 0).movedim(3, 2).contiguous()
        else:
            blocks = [self.rows[0][at : at + rows_in_a_block] for at in range(0, self.depth, rows_in_a_block)]
            if torch.is_grad_enabled() and requires_grad(tokens):
                yield from ToRows.apply(blocks, self.chunk, tokens)  # type: ignore[no-untyped-call]
            else:
                yield from (fill_rows(tokens, rows, self.chunk) for rows in blocks)

    def from_rows(self, blocks: Sequence[Tensor]) -> Tensor:
        """The inverse of `to_rows`: blocks of rows [J, S, H, C, ...] to [B, T, H, ...]."""
        if self.layout.packed:
            tokens = torch.cat([rows.movedim(0, 1).movedim(2, 3) for rows in blocks], dim=1)
            index, held = self._index(tokens.device)
            place = torch.nonzero(held.transpose(0, 1).flatten()).flatten()
            place = place[torch.argsort(index.transpose(0, 1).flatten()[place])]
            return tokens.flatten(0, 2).index_select(0, place).unflatten(0, (self.layout.batch, -1))
        blocks_of = split_rows(self.rows[0], [len(rows) for rows in blocks])
        if torch.is_grad_enabled() and requires_grad(*blocks):
            taken: Tensor = FromRows.apply(blocks_of, self.layout.lengths[0], *blocks)  # type: ignore[no-untyped-call]
            return taken
        return take_rows(blocks, blocks_of, self.layout.lengths[0])

    def _index(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The packed token at each place of the rows [J, S, C], and whether there is one."""
        table = torch.tensor(self.rows, device=device).transpose(0, 1)
        offset = torch.arange(self.chunk, device=device)
        held = offset < table[..., 1:]
        return torch.where(held, table[..., :1] + offset, 0), held
