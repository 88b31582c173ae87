"""The cells, one token each: from pre-activations [S, H, G, D] and parts of the state [S, H, D] to the parts after the token.

`inputs` come from the token, `recurrent` are R h + b. The first part is always h, what is read.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Parts = tuple[Tensor, ...]


def elman(parts: Parts, inputs: Tensor, recurrent: Tensor) -> Parts:
    """h = tanh(x + R h + b) (Elman 1990)."""
    (pre,) = (inputs + recurrent).unbind(2)
    return (pre.tanh(),)


def gru(parts: Parts, inputs: Tensor, recurrent: Tensor) -> Parts:
    """Gates r, z, n: n = tanh(x_n + r (R_n h + b_n)), h = (1 - z) n + z h (Cho et al. 2014, as torch.nn.GRU)."""
    (h,) = parts
    reset, update = (inputs[:, :, :2] + recurrent[:, :, :2]).sigmoid().unbind(2)
    new = (inputs[:, :, 2] + reset * recurrent[:, :, 2]).tanh()
    return ((1 - update) * new + update * h,)


def lstm(parts: Parts, inputs: Tensor, recurrent: Tensor) -> Parts:
    """Gates i, f, g, o: c = sigma(f) c + sigma(i) tanh(g), h = sigma(o) tanh(c) (as torch.nn.LSTM)."""
    _, cell = parts
    i, f, g, o = (inputs + recurrent).unbind(2)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def slstm(parts: Parts, inputs: Tensor, recurrent: Tensor) -> Parts:
    """Gates i, f, z, o with an exponential input gate (Beck et al. 2024, arXiv:2405.04517, equations 8 to 18).

    m' = max(log sigma(f) + m, i), c = f' c + i' tanh(z), n = f' n + i', h = sigma(o) c / n, with f' = e^{log sigma(f) + m - m'}
    and i' = e^{i - m'}. Before anything is written (n = 0) the running maximum m is -infinity.
    """
    _, cell, normaliser, maximum = parts
    i, f, z, o = (inputs + recurrent).unbind(2)
    kept = logsigmoid(f) + maximum
    largest = torch.where(normaliser == 0, i, torch.maximum(kept, i))
    forget, write = (kept - largest).exp().where(normaliser != 0, 0), (i - largest).exp()
    cell, normaliser = forget * cell + write * z.tanh(), forget * normaliser + write
    return o.sigmoid() * cell / normaliser, cell, normaliser, largest
