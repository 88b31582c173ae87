"""Cells against torch's own LSTM, GRU and RNN, and the sLSTM against its unstabilised equations."""

from __future__ import annotations

import pytest
import torch
from recurrences import relative
from torch import Tensor, nn

from statescope import Edit, cell_scan
from statescope.kernels.cell_scan import CELLS

B, T, H, D, X = 3, 12, 2, 5, 4
NETWORKS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def make(cell: str, heads: int = H, length: int = T, batch: int = B) -> tuple[Tensor, Tensor, Tensor]:
    gates = len(CELLS[cell].gates)
    inputs = torch.randn(batch, length, heads, gates, D).double()
    return inputs, torch.randn(heads, gates, D, D).double() / D**0.5, torch.randn(heads, gates, D).double()


@pytest.mark.parametrize("cell", NETWORKS)
def test_one_head_is_torchs_own_network(cell: str) -> None:
    network = NETWORKS[cell](X, D, batch_first=True).double()
    x = torch.randn(B, T, X).double()
    gates = len(CELLS[cell].gates)
    inputs = (x @ network.weight_ih_l0.T + network.bias_ih_l0).unflatten(-1, (1, gates, D))
    recurrent, bias = network.weight_hh_l0.unflatten(0, (1, gates, D)), network.bias_hh_l0.unflatten(0, (1, gates, D))
    found = cell_scan(cell, inputs, recurrent, bias)
    expected, last = network(x)
    torch.testing.assert_close(found.output[:, :, 0], expected, rtol=1e-12, atol=1e-12)
    last = torch.stack([part[0] for part in last], 1) if cell == "lstm" else last[0][:, None]
    torch.testing.assert_close(found.final_state[:, 0], last, rtol=1e-12, atol=1e-12)
    weights = list(network.parameters())
    ours = torch.autograd.grad(found.output.square().sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_slstm(shift: float) -> None:
    """Equations 8 to 14 without the stabiliser, in exponents that float64 still holds; the stabiliser cancels."""
    inputs, recurrent, bias = make("slstm")
    inputs[:, :, :, 0] += shift
    h, c, n = torch.zeros(3, B, H, D).double().unbind(0)
    outputs = []
    for t in range(T):
        i, f, z, o = (inputs[:, t] + torch.einsum("hgde,bhe->bhgd", recurrent, h) + bias).unbind(2)
        c, n = f.sigmoid() * c + i.exp() * z.tanh(), f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
        outputs.append(h)
    found = cell_scan("slstm", inputs, recurrent, bias)
    assert relative(found.output, torch.stack(outputs, 1)) < 1e-12
    _, cell, normaliser, maximum = found.final_state.unbind(2)
    assert relative(cell * maximum.exp(), c) < 1e-12
    assert relative(normaliser * maximum.exp(), n) < 1e-12


def test_slstm_with_tiny_input_gates_is_finite() -> None:
    inputs, recurrent, bias = make("slstm")
    inputs[:, :, :, 0] -= 5000
    assert cell_scan("slstm", inputs.float(), recurrent.float(), bias.float()).output.isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
def test_heads_do_not_meet(cell: str) -> None:
    inputs, recurrent, bias = make(cell)
    together = cell_scan(cell, inputs, recurrent, bias).output
    for head in range(H):
        own = slice(head, head + 1)
        alone = cell_scan(cell, inputs[:, :, own], recurrent[own], bias[own]).output
        torch.testing.assert_close(together[:, :, own], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("operation", ["set", "add", "scale", "project_out_value"])
def test_an_edit_is_prefix_change_resume(cell: str, operation: str) -> None:
    inputs, recurrent, bias = make(cell)
    parts = len(CELLS[cell].parts)
    value = {"scale": torch.tensor(0.5), "project_out_value": torch.randn(B, H, D)}.get(
        operation, torch.rand(B, H, parts, D)
    ).double()
    found = cell_scan(cell, inputs, recurrent, bias, edits=[Edit(5, operation, value)], taps=[5])
    prefix = cell_scan(cell, inputs[:, :6], recurrent, bias)
    s = prefix.final_state
    unit = value / value.norm(dim=-1, keepdim=True) if operation == "project_out_value" else None
    changed = {
        "set": lambda: value,
        "add": lambda: s + value,
        "scale": lambda: s * value,
        "project_out_value": lambda: s - (s * unit[:, :, None]).sum(-1, keepdim=True) * unit[:, :, None],
    }[operation]()
    rest = cell_scan(cell, inputs[:, 6:], recurrent, bias, initial_state=changed)
    assert relative(found.output, torch.cat([prefix.output, rest.output], 1)) < 1e-12
    assert relative(found.states[:, 0], changed) < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_packed_sequences_are_separate_sequences(cell: str) -> None:
    inputs, recurrent, bias = make(cell, batch=1)
    bounds = torch.tensor([0, 3, 4, T])
    packed = cell_scan(cell, inputs, recurrent, bias, cu_seqlens=bounds, taps="last")
    for s, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        alone = cell_scan(cell, inputs[:, a:b], recurrent, bias, taps="last")
        assert torch.equal(packed.output[:, a:b], alone.output)
        assert torch.equal(packed.states[:, s], alone.states[:, 0])
        assert torch.equal(packed.final_state[s], alone.final_state[0])


@pytest.mark.parametrize("cell", CELLS)
def test_derivatives(cell: str) -> None:
    inputs, recurrent, bias = make(cell, heads=1, length=4, batch=1)
    parts = len(CELLS[cell].parts)
    state, value = (torch.rand(1, 1, parts, D).double() + 0.5 for _ in range(2))

    def call(inputs: Tensor, recurrent: Tensor, bias: Tensor, state: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        out = cell_scan(cell, inputs, recurrent, bias, initial_state=state, edits=[Edit(1, "add", value)], taps=[1, 3])
        return out.output, out.states

    assert torch.autograd.gradcheck(call, tuple(x.requires_grad_() for x in (inputs, recurrent, bias, state, value)))


def test_bad_input() -> None:
    inputs, recurrent, _ = make("lstm")
    for arguments, how, message in (
        (("peephole", inputs, recurrent), {}, "cell='peephole' is not known; one of elman, gru, lstm, slstm"),
        (("gru", inputs, recurrent), {}, r"inputs has shape .* \(G\) is 4 and must be 3"),
        (("lstm", inputs, recurrent[..., :3]), {}, r"recurrent has shape .* must be 5"),
        (("lstm", inputs, recurrent), {"implementation": "chunked"}, "no linear form"),
        (("lstm", inputs, recurrent), {"initial_state": torch.zeros(B, H, 1, D).double()}, "the parts being h, c"),
        (("lstm", inputs, recurrent), {"edits": [Edit(0, "reflect_key", torch.ones(D))]}, "no key side"),
        (("lstm", inputs, recurrent), {"edits": [Edit(0, "scale", torch.ones(1), verb="readout")]}, "own next input"),
    ):
        with pytest.raises(ValueError, match=message):
            cell_scan(*arguments, **how)
