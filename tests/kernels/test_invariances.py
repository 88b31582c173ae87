"""What must not change a result: batch order, the future, packing, chunk size, cuts."""

from __future__ import annotations

import pytest
import torch
from recurrences import ONE_OF_EACH, RECURRENCES, Inputs, relative, sequences, span

from statescope import Edit

LENGTHS = (37, 1, 64, 20)
IMPLEMENTATIONS = ("reference", "chunked")


def inputs_of(name: str, batch: int, length: int, dtype: torch.dtype = torch.float32) -> Inputs:
    return RECURRENCES[name].make(batch, length, 2, 8, 6, dtype, 3)


def join(first: Inputs, second: Inputs) -> Inputs:
    return {key: x if key == "bonus" else torch.cat([x, second[key]], dim=1) for key, x in first.items()}


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_batch_order_is_bitwise_irrelevant(name: str, implementation: str) -> None:
    inputs, order = inputs_of(name, 4, 90), torch.tensor([2, 0, 3, 1])
    call = RECURRENCES[name].call
    plain = call(**inputs, taps=[10, 70], implementation=implementation)
    permuted = call(**sequences(inputs, order), taps=[10, 70], implementation=implementation)
    assert torch.equal(plain.output[order], permuted.output)
    assert torch.equal(plain.states[order], permuted.states)


@pytest.mark.parametrize("changed", [1, 31, 32, 50, 89])
@pytest.mark.parametrize("name", RECURRENCES)
def test_the_future_leaves_the_past_bit_identical(name: str, changed: int) -> None:
    inputs = inputs_of(name, 2, 90)
    taps = sorted({0, changed // 2, changed - 1})
    other = RECURRENCES[name].make(2, 90, 2, 8, 6, torch.float32, 4)
    future = join(span(inputs, None, changed), span(other, changed, None))
    before, after = (RECURRENCES[name].call(**x, taps=taps, implementation="chunked") for x in (inputs, future))
    assert torch.equal(before.output[:, :changed], after.output[:, :changed])
    assert torch.equal(before.states, after.states)
    assert not torch.equal(before.output[:, changed:], after.output[:, changed:])


def packed(name: str, dtype: torch.dtype) -> tuple[Inputs, torch.Tensor]:
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0)
    return inputs_of(name, 1, sum(LENGTHS), dtype), bounds


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_packed_sequences_are_separate_sequences(name: str, implementation: str) -> None:
    inputs, bounds = packed(name, torch.float64)
    state = torch.randn(len(LENGTHS), 2, 8, 6 + RECURRENCES[name].extra_columns, dtype=torch.float64)
    call = RECURRENCES[name].call
    together = call(**inputs, initial_state=state, cu_seqlens=bounds, taps="last", implementation=implementation)
    for s, (start, length) in enumerate(zip(bounds.tolist(), LENGTHS, strict=False)):
        own = span(inputs, start, start + length)
        alone = call(**own, initial_state=state[s : s + 1], taps="last", implementation="reference")
        assert relative(together.output[:, start : start + length], alone.output) < 1e-12
        assert relative(together.final_state[s], alone.final_state[0]) < 1e-12
        assert relative(together.states[:, s], alone.states[:, 0]) < 1e-12


@pytest.mark.parametrize("name", [*ONE_OF_EACH, "mlstm-40", "normalised"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_packed_sequences_go_on_from_what_they_carried(name: str, implementation: str) -> None:
    """Each cut in two, the first parts packed and then the second ones, from all that the first call carried."""
    call, lengths, cuts = RECURRENCES[name].call, (20, 33, 8), (7, 30, 1)
    wholes = [RECURRENCES[name].make(1, length, 2, 8, 6, torch.float64, seed) for seed, length in enumerate(lengths)]
    halves = []
    for first in (True, False):
        own = [span(x, None, cut) if first else span(x, cut, None) for x, cut in zip(wholes, cuts, strict=True)]
        sizes = [next(iter(x.values())).shape[1] for x in own]
        together = own[0]
        for other in own[1:]:
            together = join(together, other)
        carried = {} if first else halves[0][0].carried()
        bounds = torch.tensor([0, *sizes]).cumsum(0)
        halves.append((call(**together, **carried, cu_seqlens=bounds, implementation=implementation), bounds.tolist()))
    for s, whole in enumerate(wholes):
        if "bonus" in whole:
            whole["bonus"] = wholes[0]["bonus"]
        alone = call(**whole, implementation="reference")
        found = torch.cat([out.output[:, bounds[s] : bounds[s + 1]] for out, bounds in halves], dim=1)
        assert relative(found, alone.output) < 1e-11
        assert relative(halves[1][0].final_state[s], alone.final_state[0]) < 1e-11


@pytest.mark.parametrize("name", ["delta-decay", "mlstm-40"])
def test_what_is_carried_at_taps_is_what_a_shorter_call_carries(name: str) -> None:
    inputs = inputs_of(name, 1, 30, torch.float64)
    at_taps = RECURRENCES[name].call(**inputs, taps=[4, 20]).carried_at_taps()
    for slot, position in enumerate((4, 20)):
        carried = RECURRENCES[name].call(**span(inputs, None, position + 1)).carried()
        assert carried.keys() == at_taps.keys()
        for key, x in carried.items():
            torch.testing.assert_close(at_taps[key][slot], x[0], rtol=1e-11, atol=1e-12)
    with pytest.raises(ValueError, match="needs taps, and a batch of one sequence"):
        RECURRENCES[name].call(**inputs).carried_at_taps()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_packed_equals_padded(name: str) -> None:
    """Padding with tokens that write nothing and do not decay leaves outputs and final states as they are."""
    inputs, bounds = packed(name, torch.float64)
    longest = max(LENGTHS)

    def pad(x: torch.Tensor) -> torch.Tensor:
        rows = [torch.nn.utils.rnn.pad_sequence([x[0, a:b]], batch_first=True) for a, b in pairs]
        return torch.cat([torch.cat([r, r.new_zeros(1, longest - r.shape[1], *r.shape[2:])], dim=1) for r in rows])

    pairs = list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
    call = RECURRENCES[name].call
    one = call(**inputs, cu_seqlens=bounds, implementation="chunked")
    other = call(**{key: x if key == "bonus" else pad(x) for key, x in inputs.items()}, implementation="chunked")
    for s, (a, b) in enumerate(pairs):
        assert relative(one.output[0, a:b], other.output[s, : b - a]) < 1e-12
    if name != "mlstm":  # whose padding raises the running maximum that its state is scaled by
        assert relative(one.final_state, other.final_state) < 1e-12


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_chunk_size_and_cuts_do_not_matter(name: str) -> None:
    """An edit that multiplies by 1 cuts the sequence and changes nothing."""
    inputs, call = inputs_of(name, 2, 130, torch.float64), RECURRENCES[name].call
    taps = [0, 40, 41, 99, 129]
    whole = call(**inputs, taps=taps, implementation="reference")
    one = torch.ones((), dtype=torch.float64)
    for chunk in (16, 32, 48, 64, 200):
        for cuts in ((), (5,), (31, 32, 33), (0, 63, 64, 127, 129)):
            edits = [Edit(position, "scale", one) for position in cuts]
            found = call(**inputs, taps=taps, edits=edits, chunk=chunk, implementation="chunked")
            assert relative(found.output, whole.output) < 1e-12
            assert relative(found.states, whole.states) < 1e-12


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_run_in_two_halves_is_one_run(name: str, implementation: str) -> None:
    inputs, call = inputs_of(name, 2, 77, torch.float64), RECURRENCES[name].call
    whole = call(**inputs, implementation=implementation)
    first = call(**span(inputs, None, 45), implementation=implementation)
    second = call(**span(inputs, 45, None), **RECURRENCES[name].resume(first), implementation=implementation)
    assert relative(torch.cat([first.output, second.output], 1), whole.output) < 1e-12
    assert relative(second.final_state, whole.final_state) < 1e-12
