"""Launching the kernels on tensors: block sizes, contiguous inputs, and whether this machine can run them."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .configurations import CELL_CONFIGURATIONS, INVERSE, LARGEST_CELL, LARGEST_KEY, PASS, SCAN_CONFIGURATIONS

CELL_NUMBERS = {"elman": 0, "gru": 1, "lstm": 2, "slstm": 3}

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def check_can_run(tensor: Tensor) -> None:
    """Raise ValueError where the kernels cannot run on the device of this tensor."""
    if tensor.dtype in (torch.float64, torch.complex128):
        raise ValueError("implementation='triton' computes in float32; for float64 use 'reference' or 'chunked'")
    if tensor.is_cuda or INTERPRETED:
        return
    raise ValueError(
        f"implementation='triton' needs tensors on an NVIDIA GPU, q is on {tensor.device}; move them there, or use "
        "implementation='chunked'"
    )


def block(size: int) -> int:
    """The least power of two that holds `size` and that a matrix product takes."""
    return max(16, 1 << (size - 1).bit_length())


def capability_of(tensor: Tensor) -> int:
    """The compute capability of its device, times ten; the interpreter takes what suits Hopper."""
    major, minor = torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
    return 10 * major + minor


def precision_of(dtype: torch.dtype) -> str:
    """Three tf32 products for float32 operands: nearly float32, on tensor cores. Half precision has one way."""
    return "tf32x3" if dtype == torch.float32 else "ieee"


def launch_pass(
    query: Tensor,
    scores: Tensor,
    key: Tensor,
    value: Tensor,
    erase: Tensor | None,
    decay: Tensor,
    state: Tensor,
    slots: Tensor,
    kept_states: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run `pass_forward`. Shapes as in `ChunkTerms` with the key weighted; slots [J], int32, -1 where no state is kept;
    kept_states: how many are.

    Returns the output [J, S, H, C, V], what each row wrote [J, S, H, M, V], the kept states [slots, S, H, K, V] and the final
    state, all in float32.
    """
    from .pass_forward import pass_forward

    (rows, sequences, heads, tokens, size), writes, columns = query.shape, key.shape[3], value.shape[4]
    check_key_size(query, size)
    made = partial(torch.empty, dtype=torch.float32, device=query.device)
    lead = (rows, sequences, heads)
    output, written = made(*lead, tokens, columns), made(*lead, writes, columns)
    kept = made(kept_states, sequences, heads, size, columns)
    final = made(sequences, heads, size, columns)
    grid, sizes = _pass_sizes(query, writes, columns, erase)
    start = state.float()
    pass_forward[grid](
        *_contiguous(query, scores, key, value),
        *_contiguous(query if erase is None else erase, decay.float(), start),
        slots,
        output,
        written,
        kept,
        final,
        rows,
        sequences * heads,
        **sizes,
    )
    return output, written, kept, final


def _pass_sizes(query: Tensor, writes: int, columns: int, erase: Tensor | None) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid and the constants that the pass and its adjoint share."""
    _, sequences, heads, tokens, size = query.shape
    chosen = PASS[query.element_size()][0]
    width = min(chosen.block, block(columns))
    sizes = {"C": tokens, "M": writes, "K": size, "V": columns}
    blocks = {"BLOCK_C": block(tokens), "BLOCK_M": block(writes), "BLOCK_K": block(size), "BLOCK_V": width}
    kind = {"ERASE": erase is not None, "PRECISION": precision_of(query.dtype)}
    how = {"num_warps": chosen.warps, "num_stages": chosen.stages}
    return (-(-columns // width), sequences * heads), sizes | blocks | kind | how


def check_key_size(query: Tensor, size: int) -> None:
    """Raise ValueError for keys larger than the kernels hold."""
    largest = LARGEST_KEY[query.element_size()]
    if size > largest:
        raise ValueError(
            f"q has {size} key channels; with {query.dtype} terms the Triton kernels hold {largest}. precision='fast' holds "
            f"{LARGEST_KEY[2]}; implementation='chunked' runs any size on a GPU too"
        )


def launch_adjoint(
    query: Tensor,
    scores: Tensor,
    key: Tensor,
    erase: Tensor | None,
    decay: Tensor,
    d_output: Tensor,
    d_written: Tensor | None,
    d_starts: Tensor | None,
    d_final: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `pass_backward`: the gradients of what each row wrote, of the state behind each row, and of the initial state."""
    from .pass_backward import pass_backward

    (rows, sequences, heads, _, size), writes, columns = query.shape, key.shape[3], d_output.shape[4]
    made = partial(torch.empty, dtype=torch.float32, device=query.device)
    lead = (rows, sequences, heads)
    d_value, d_behind = made(*lead, writes, columns), made(*lead, size, columns)
    d_state = made(sequences, heads, size, columns)
    grid, sizes = _pass_sizes(query, writes, columns, erase)
    nothing = d_final.float().contiguous()
    pass_backward[grid](
        *_contiguous(query, scores, key, query if erase is None else erase, decay.float()),
        d_output.to(query.dtype).contiguous(),
        nothing if d_written is None else d_written.float().contiguous(),
        nothing if d_starts is None else d_starts.float().contiguous(),
        nothing,
        d_value,
        d_behind,
        d_state,
        rows,
        sequences * heads,
        **sizes,
        WRITTEN=d_written is not None,
        STARTS=d_starts is not None,
    )
    return d_value, d_behind, d_state


def launch_inverse(strictly_lower: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Invert I + A for A [..., M, M] in float32, and return the inverse in `dtype`, by default that of A."""
    from .unit_lower_inverse import unit_lower_inverse

    size = strictly_lower.shape[-1]
    lower = strictly_lower.float().contiguous()
    inverse = torch.empty_like(lower, dtype=dtype or strictly_lower.dtype)
    chosen = INVERSE[0]
    unit_lower_inverse[(lower.numel() // (size * size),)](
        lower, inverse, size, BLOCK=block(size), num_warps=chosen.warps, num_stages=chosen.stages
    )
    return inverse


def launch_scan(decay: Tensor, x: Tensor, state: Tensor, *, from_end: bool) -> Tensor:
    """All states [B, T, ...] of the scan of decay and x [B, T, ...] from `state` [B, ...]; float32 or complex64."""
    from .scan import scan

    batch, length, width = x.shape[0], x.shape[1], x[0, 0].numel()
    states = torch.empty_like(x, memory_format=torch.contiguous_format)
    chosen = SCAN_CONFIGURATIONS[0]
    views = [torch.view_as_real(y.contiguous()) if y.is_complex() else y.contiguous() for y in (decay, x, state)]
    scan[(-(-width // chosen.block), batch)](
        *views,
        torch.view_as_real(states) if x.is_complex() else states,
        length,
        width,
        BLOCK=chosen.block,
        COMPLEX=x.is_complex(),
        FROM_END=from_end,
        num_warps=chosen.warps,
        num_stages=chosen.stages,
    )
    return states


def launch_cell(cell: str, inputs: Tensor, recurrent: Tensor, bias: Tensor, state: Tensor) -> Tensor:
    """Run `cell_forward`: all states [N, T, H, P, D], float32. inputs [N, T, H, G, D], state [N, H, P, D]."""
    from .cell_forward import cell_forward

    sequences, length, heads, _, channels = inputs.shape
    if channels > LARGEST_CELL:
        raise ValueError(
            f"inputs has {channels} channels a head; the Triton kernels of the cells hold {LARGEST_CELL}. Use more heads, or "
            "implementation='reference'"
        )
    shape = (sequences, length, heads, state.shape[2], channels)
    states = torch.empty(*shape, dtype=torch.float32, device=inputs.device)
    given = _contiguous(inputs, recurrent.float(), bias.float(), state.float())
    _run_cell(cell_forward, cell, inputs, state.shape[2], *given, states)
    return states


def launch_cell_adjoint(
    cell: str, inputs: Tensor, from_state: Tensor, recurrent: Tensor, before: Tensor, states: Tensor, d_states: Tensor
) -> tuple[Tensor, Tensor]:
    """Run `cell_backward`: d inputs [N, T, H, G, D] and d of the first state [N, H, P, D]."""
    from .cell_backward import cell_backward

    (sequences, _, heads, _, channels), parts = inputs.shape, states.shape[3]
    d_inputs = torch.empty(*inputs.shape, dtype=torch.float32, device=inputs.device)
    d_state = torch.empty(sequences, heads, parts, channels, dtype=torch.float32, device=inputs.device)
    given = _contiguous(inputs, from_state.float(), recurrent.float(), before, states, d_states.float())
    _run_cell(cell_backward, cell, inputs, parts, *given, d_inputs, d_state)
    return d_inputs, d_state


def _run_cell(kernel: Any, cell: str, inputs: Tensor, parts: int, *tensors: Tensor) -> None:
    sequences, length, heads, gates, channels = inputs.shape
    chosen = CELL_CONFIGURATIONS[min(size for size in CELL_CONFIGURATIONS if channels <= size)][0]
    kernel[(-(-sequences // chosen.block), heads)](
        *tensors,
        sequences,
        length,
        heads,
        G=gates,
        P=parts,
        D=channels,
        BLOCK_N=chosen.block,
        BLOCK_D=block(channels),
        CELL=CELL_NUMBERS[cell],
        PRECISION=precision_of(torch.float32),
        num_warps=chosen.warps,
        num_stages=chosen.stages,
    )


def _contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in tensors)
