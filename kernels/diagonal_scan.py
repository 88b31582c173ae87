"""Recurrences of vector states: independent channels, real or complex, each with its own coefficient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from .arguments import NonFiniteError, can_read_values
from .chunk_table import Layout, Place
from .chunked.scan import scan as chunked_scan
from .dispatch import ImplementationRequest, choose
from .precision import outside_autocast, working_dtype
from .recurrence import Edit, RecurrenceOutput, TapRequest
from .reference.scan import scan as reference_scan

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bfloat16, torch.float16)


@outside_autocast
def diagonal_scan(
    x: Tensor,
    decay: Tensor,
    *,
    initial_state: Tensor | None = None,
    resets: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    taps: TapRequest | None = None,
    edits: Sequence[Edit] | None = None,
    implementation: ImplementationRequest = "auto",
) -> RecurrenceOutput:
    """h_t = a_t * h_{t-1} + x_t, elementwise.

    LRU (arXiv:2303.06349) and S5 (2208.04933) have complex a that does not depend on t; HGRN (2311.04823) a = f_t and
    x = (1 - f_t) c_t; Mamba's selective scan (2312.00752) a = e^{dt_t A}, x = dt_t B_t u_t, with channels [D * N].

    x: [B, T, H, C], real or complex. decay: [B, T, H, C], or [H, C] where it does not depend on time; |a| <= 1.
    initial_state: [B, H, C], or [S, H, C] for S packed sequences; zero when None.
    resets: [B, T] of booleans: the state before such a token is zero.
    taps: positions whose states are returned; edits: "set", "add", "scale" with values that broadcast to [B, H, C], and
        "project_out_key", "reflect_key" with a direction [B, H, C] of the channels. Both verbs.
    implementation: "reference" (token loop), "chunked" (doubling), "triton", or "auto".

    Returns output [B, T, H, C], the state after every token (before its edit; a read-out edit changes it), final_state
    [B, H, C] and states [B, P, H, C], all of the dtype that x, decay and initial_state have together, float32 at least, and
    complex where one of them is. Raises ValueError, TypeError or IndexError naming the argument.
    """
    x, decay, state, layout = _prepare(x, decay, initial_state, cu_seqlens, taps, edits)
    ran = choose(implementation, x)
    coefficients = _reset(decay, resets)
    entering = state
    if layout.packed:
        x, coefficients, entering = _enter_packed(x, coefficients, state, layout)
    output, tapped, final = scan_with_edits(_scan_of(ran), x, coefficients, entering, layout)
    for place, edit in layout.readouts:
        output = read_edited(output, place, edit, layout)
    states = torch.stack(tapped, dim=1) if tapped else None
    return RecurrenceOutput(output, final, states, layout.tap_positions, ran)


def _scan_of(implementation: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if implementation == "triton":
        from .triton.scan_states import scan

        return scan
    return reference_scan if implementation == "reference" else chunked_scan


@outside_autocast
def convolve(x: Tensor, decay: Tensor) -> Tensor:
    """The same from a zero state, for a decay [H, C] that does not depend on time, as a convolution with a^t by FFT.

    x [B, T, H, C] real or complex; h_t = sum_j a^{t-j} x_j (Gu et al. 2021, arXiv:2110.13985). The rounding of an FFT is
    relative to the largest h of the sequence, where a scan's is relative to each.
    """
    length = x.shape[1]
    powers = scan_powers(decay, length)
    size = 2 * length
    spectrum = torch.fft.fft(x, n=size, dim=1) * torch.fft.fft(powers, n=size, dim=0)
    states = torch.fft.ifft(spectrum, dim=1)[:, :length]
    return states if x.is_complex() or decay.is_complex() else states.real


@outside_autocast
def scan_attention(decay: Tensor) -> Tensor:
    """What each state holds of each input: M [B, H, T, T, C] with h_t = sum_s M_ts * x_s from a zero state.

    decay [B, T, H, C]. M_ts is the product of the decays after s up to t (for Mamba: Ali et al. 2024, arXiv:2403.01590), as a
    product: a decay of 0 is exact, and nothing is divided.
    """
    length = decay.shape[1]
    own = torch.eye(length, dtype=torch.bool, device=decay.device)[:, :, None]
    row = decay.new_zeros(decay.shape[0], decay.shape[2], length, decay.shape[3])
    rows = []
    for t in range(length):
        row = torch.where(own[t], torch.ones_like(row), row * decay[:, t, :, None])
        rows.append(row)
    return torch.stack(rows, dim=2)


def scan_powers(decay: Tensor, length: int) -> Tensor:
    """a^t for t = 0 .. length - 1: [length, H, C]. The impulse response of each channel."""
    ones = torch.ones_like(decay)[None]
    return torch.cat([ones, decay.expand(length - 1, *decay.shape)]).cumprod(0) if length > 1 else ones


def _prepare(
    x: Tensor,
    decay: Tensor,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
    taps: TapRequest | None,
    edits: Sequence[Edit] | None,
) -> tuple[Tensor, Tensor, Tensor, Layout]:
    """Check the arguments and bring them to one dtype."""
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}; it needs [B, T, H, C] with no empty axis")
    if decay.shape not in (x.shape, x.shape[2:]):
        raise ValueError(f"decay has shape {tuple(decay.shape)}; it needs {tuple(x.shape)} or, constant, {tuple(x.shape[2:])}")
    layout = Layout.of(x.shape[0], x.shape[1], cu_seqlens, taps, edits)
    shape = (len(layout.starts), *x.shape[2:])
    if initial_state is not None and initial_state.shape != shape:
        raise ValueError(f"initial_state has shape {tuple(initial_state.shape)}; it needs {shape}")
    given = {"x": x, "decay": decay} | ({} if initial_state is None else {"initial_state": initial_state})
    for name, tensor in given.items():
        if tensor.dtype not in DTYPES:
            raise TypeError(f"{name} has dtype {tensor.dtype}; it must be one of {', '.join(str(dtype)[6:] for dtype in DTYPES)}")
        if can_read_values(tensor) and not bool(tensor.detach().isfinite().all()):
            index = tuple(torch.nonzero(~tensor.detach().isfinite())[0].tolist())
            raise NonFiniteError(f"{name} is {tensor[index].item()} at index {index}")
    if can_read_values(decay) and (most := float(decay.detach().abs().max())) > 1 + 1e-6:
        raise ValueError(f"decay has an entry of modulus {most:.6g}: a scan needs |a| <= 1, or its states grow without bound")
    for _, edit in (*layout.propagating, *layout.readouts):
        if edit.operation == "project_out_value":
            raise ValueError("a vector state has no value side; use project_out_key for a direction of its channels")
    dtype = working_dtype(reduce(torch.promote_types, (tensor.dtype for tensor in given.values())))
    state = x.new_zeros(shape, dtype=dtype) if initial_state is None else initial_state.to(dtype)
    return x.to(dtype), decay.to(dtype).expand(x.shape), state, layout


def _reset(decay: Tensor, resets: Tensor | None) -> Tensor:
    if resets is None:
        return decay
    if resets.shape != decay.shape[:2] or resets.dtype != torch.bool:
        raise ValueError(f"resets is {resets.dtype} {tuple(resets.shape)}; it needs booleans {tuple(decay.shape[:2])}")
    return decay.masked_fill(resets[..., None, None], 0)


def _enter_packed(x: Tensor, decay: Tensor, state: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Each packed sequence enters with its own state and forgets the one before: x_s += a_s h_s and a_s = 0 at its start."""
    starts = torch.tensor(layout.starts, device=x.device)
    entered = (decay[0, starts] * state)[None]
    return x.index_add(1, starts, entered), decay.index_fill(1, starts, 0), torch.zeros_like(state[:1])


def scan_with_edits(
    scan: Callable[..., Tensor], x: Tensor, decay: Tensor, state: Tensor, layout: Layout
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Scan, and again from the first edit of each sequence on, so that other sequences keep every bit.

    Returns the output [B, T, H, C], the tapped states [s, H, C] and the final states [S, H, C].
    """
    output = scan(decay, x, state)
    edited: dict[int, Tensor] = {}
    for _, span in layout.groups:
        at = sorted({token for place, _ in layout.propagating if span.start <= (token := layout.token(place)) < span.stop})
        for position, next_one in zip(at, [*at[1:], span.stop - 1], strict=False):
            now = output[:, position]
            for place, edit in layout.propagating:
                if layout.token(place) == position:
                    now = apply_to_vectors(edit, now)
            edited[position] = now
            again = slice(position + 1, next_one + 1)
            if again.start < again.stop:
                output = torch.cat(
                    [output[:, : again.start], scan(decay[:, again], x[:, again], now), output[:, again.stop :]], 1
                )
    found = [edited.get(position, output[:, position]) for position in layout.tap_positions]
    ends = [span.stop - 1 for _, span in layout.groups]
    return output, found, torch.cat([edited.get(end, output[:, end]) for end in ends])


def apply_to_vectors(edit: Edit, state: Tensor) -> Tensor:
    """Change [B, H, C]: a matrix state of one column."""
    along_a_direction = edit.operation.endswith("_key")
    value = edit.value if along_a_direction else edit.value[..., None]
    return edit.apply(state[..., None], value)[..., 0]


def read_edited(output: Tensor, place: Place, edit: Edit, layout: Layout) -> Tensor:
    position = layout.token(place)
    at = torch.tensor([position], device=output.device)
    return output.index_copy(1, at, apply_to_vectors(edit, output[:, position])[:, None])
