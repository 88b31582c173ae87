"""Modules of torch with a recurrence, in one call or in a loop; several tests share them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

V, H = 11, 6
TOKENS = torch.randint(0, V, (3, 9), generator=torch.Generator().manual_seed(0))
EXAMPLE = TOKENS[:2, :5]
KINDS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Classifier(nn.Module):
    """An embedding, a torch recurrence either way round, and a read-out."""

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__()
        self.batch_first = settings.setdefault("batch_first", True)
        self.embed = nn.Embedding(V, 8)
        self.rnn = KINDS[kind](8, H, **settings)
        self.head = nn.Linear(H * (1 + self.rnn.bidirectional), V)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        read = self.rnn(x)[0] if self.batch_first else self.rnn(x.transpose(0, 1))[0].transpose(0, 1)
        out: Tensor = self.head(read)
        return out


class Looped(nn.Module):
    """A loop over positions of a cell, and of a read-out within it."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(V, 8), cell, nn.Linear(H, V)

    def forward(self, tokens: Tensor) -> Tensor:
        state: Any = self.head.weight.new_zeros(len(tokens), H)
        state = (state, state) if isinstance(self.cell, nn.LSTMCell) else state
        out = []
        for x in self.embed(tokens).unbind(1):
            state = self.cell(x, state)
            out.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack(out, dim=1)


class OwnCell(nn.Module):
    """h = tanh(W x + R h)."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.recurrent = nn.Linear(8, H), nn.Linear(H, H)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.inputs(x) + self.recurrent(h))


def looped(name: str) -> Looped:
    return Looped({"own": OwnCell, "lstm": lambda: nn.LSTMCell(8, H), "gru": lambda: nn.GRUCell(8, H)}[name]()).double()  # type: ignore[no-untyped-call]
