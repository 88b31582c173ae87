"""P375: cells with block-diagonal recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from ....kernels.cell_jacobians import cell_jacobians
from ....kernels.cell_scan import CELLS, CellName, cell_scan
from ....probe.mixers import LSTM, SLSTM, GatedLinearAttention
from ....probe.runs.run import Run
from ....probe.runs.training import Training
from ...studies.comparison import Comparison
from ...studies.findings import Axes, Findings
from ..agreement import Draw, difference, seeded
from ..claim import Claim, accuracies
from ..measurement import Scope, at_least, at_most

TOKENS, HEADS, SIZE = 40, 3, 12
NETWORKS: dict[CellName, type[nn.RNN | nn.GRU | nn.LSTM]] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def experiment(seed: int) -> Findings:
    draw = seeded(seed)
    found = Findings()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, network in NETWORKS.items():
            found.numbers[f"{name}: one head in float32 against torch's network"] = _against_torch(name, network, draw)
    for name in get_args(CellName):
        inputs, recurrent, bias = _cell(draw, name)
        whole = cell_scan(name, inputs, recurrent, bias).output
        heads = [slice(h, h + 1) for h in range(HEADS)]
        alone = [cell_scan(name, inputs[:, :, h], recurrent[h], bias[h]).output for h in heads]
        found.numbers[f"{name}: heads together against each alone"] = difference(whole, torch.cat(alone, 2))
        found.numbers[f"{name}: Jacobian against finite differences"] = _finite_differences(name, inputs, recurrent, bias)
        moduli = torch.linalg.eigvals(cell_jacobians(name, inputs[:1], recurrent, bias)).abs().amax(-1)[0, :, 0]
        found.curves["largest eigenvalue of d s_t / d s_(t-1)", name] = (list(range(1, TOKENS)), moduli[1:].tolist())
    inputs, recurrent, bias = _cell(draw, "lstm")
    jacobians = cell_jacobians("lstm", inputs, 0 * recurrent, 0 * bias)
    forget = inputs[:, :, :, 1].sigmoid()
    found.numbers["lstm without recurrence: d c_t / d c_(t-1) against its forget gate"] = difference(
        jacobians[..., SIZE:, SIZE:], torch.diag_embed(forget)
    )
    return found


def _cell(draw: Draw, name: CellName) -> tuple[Tensor, Tensor, Tensor]:
    gates = len(CELLS[name].gates)
    return draw(2, TOKENS, HEADS, gates, SIZE), draw(HEADS, gates, SIZE, SIZE) / SIZE**0.5, draw(HEADS, gates, SIZE)


def _against_torch(name: CellName, network: type[nn.RNN | nn.GRU | nn.LSTM], draw: Draw) -> float:
    theirs = network(SIZE, SIZE, batch_first=True)
    x, gates = draw(2, TOKENS, SIZE).float(), len(CELLS[name].gates)
    with torch.no_grad():
        of_input, of_state, input_bias, state_bias = theirs.parameters()
        inputs = (x @ of_input.T + input_bias).unflatten(-1, (1, gates, SIZE))
        weights = of_state.unflatten(0, (1, gates, SIZE)), state_bias.unflatten(0, (1, gates, SIZE))
        return difference(cell_scan(name, inputs, *weights).output[:, :, 0], theirs(x)[0])


def _finite_differences(name: CellName, inputs: Tensor, recurrent: Tensor, bias: Tensor, step: float = 1e-6) -> float:
    """Of the transition at one token, from the state the tokens before it leave."""
    at = TOKENS // 2
    start = cell_scan(name, inputs[:1, :at, :1], recurrent[:1], bias[:1]).final_state
    columns = []
    for unit in torch.eye(start.numel(), dtype=start.dtype):
        ends = [
            cell_scan(
                name,
                inputs[:1, at : at + 1, :1],
                recurrent[:1],
                bias[:1],
                initial_state=start + sign * step * unit.view_as(start),
            ).final_state
            for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]).flatten() / (2 * step))
    return difference(cell_jacobians(name, inputs[:1, :, :1], recurrent[:1], bias[:1])[0, at, 0], torch.stack(columns, 1))


class Cells(Claim, kind="p375-cells"):
    """The equations."""

    paper, scope = "P375", Scope.IDENTITY
    statement = (
        "One interface for Elman, GRU, LSTM and sLSTM with a recurrent block a head: with one head it is torch's "
        "network, heads do not meet, and the Jacobian of a step is exact."
    )
    measurements = (
        *(at_most(f"{name}: one head in float32 against torch's network", 1e-5) for name in NETWORKS),
        *(at_most(f"{name}: heads together against each alone", 1e-12) for name in CELLS),
        *(at_most(f"{name}: Jacobian against finite differences", 1e-6) for name in CELLS),
        at_most("lstm without recurrence: d c_t / d c_(t-1) against its forget gate", 1e-12),
    )
    panels = (Axes("largest eigenvalue of d s_t / d s_(t-1)", "token", "modulus"),)

    def experiment(self, seed: int, run: Run) -> Findings:
        return experiment(seed)


PARITY = "{}: accuracy on parity at length 256"


@dataclass(frozen=True)
class StateTracking(Claim, kind="p375-parity"):
    """Parity beyond the length of training."""

    training: Training = Training(steps=400, batch=64, length=40)
    """of each model"""

    paper, scope = "P375", Scope.TRAINED
    statement = (
        "Trained on parity to length 40 and tested at 256, LSTM and sLSTM solve it; a linear recurrence with gates in (0, 1) "
        "stays near chance."
    )
    measurements = (
        at_least(PARITY.format("LSTM"), 0.99, "accuracy"),
        at_least(PARITY.format("sLSTM"), 0.99, "accuracy"),
        at_most(PARITY.format("GLA"), 0.6, "accuracy"),
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        names = ("LSTM", "sLSTM", "GLA")
        study = Comparison(
            seed,
            name=f"{run.path.name}-models",
            names=names,
            mixers=(LSTM(heads=4), SLSTM(heads=4), GatedLinearAttention(heads=4)),
            training=self.training,
            test_lengths=(40, 128, 256),
        )
        accuracy = accuracies(run, study)
        return Findings({PARITY.format(name): accuracy.at(name, 256) for name in names})
