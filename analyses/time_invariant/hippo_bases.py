"""What each state of a HiPPO system weighs the past with, beside the polynomials it stands for.

The kernel of state n is (e^{tA} B)_n, t the time back. For LegS it is sqrt(2n+1) L_n(2 e^{-t} - 1) e^{-t} at any size. Those of
LegT and FouT come the nearer to sqrt(2n+1) L_n(1 - 2t) and to 1, sqrt2 cos 2 pi n t, sqrt2 sin 2 pi n t on the window 0 <= t < 1,
and to 0 behind it, the more states there are (Gu et al. 2022, arXiv:2206.12037).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import eval_legendre

from ...probe.mixers.hippo import system
from .results.hippo_bases import HippoBases

Values = NDArray[np.float64]


def hippo_bases(
    systems: Sequence[str] = ("legs", "legt", "fout"), size: int = 64, states: Sequence[int] = (0, 2, 3, 4), *, points: int = 121
) -> HippoBases:
    """The kernels of some states of HiPPO systems of `size` states, from time 0 to 1.5, in float64.

    Raises ValueError for a state that a system does not have, and UnknownNameError for an unknown system.
    """
    outside = [state for state in states if not 0 <= state < size]
    if outside:
        raise ValueError(f"state {outside[0]} must be from 0 to {size - 1}")
    times = torch.linspace(0, 1.5, points, dtype=torch.float64)
    tables = []
    for name in systems:
        a, b = system(name, size)
        kernels = (torch.linalg.matrix_exp(times[:, None, None] * a) @ b).numpy()
        for state in states:
            columns = {"time": times.numpy(), "kernel": kernels[:, state], "polynomial": POLYNOMIALS[name](state, times.numpy())}
            tables.append(pd.DataFrame(columns).assign(system=name, state=state))
    return HippoBases(pd.concat(tables, ignore_index=True)[list(HippoBases.columns)], {"states": size})


def _legs(state: int, time: Values) -> Values:
    warped: Values = np.sqrt(2 * state + 1) * eval_legendre(state, 2 * np.exp(-time) - 1) * np.exp(-time)
    return warped


def _legt(state: int, time: Values) -> Values:
    return np.where(time < 1, np.sqrt(2 * state + 1) * eval_legendre(state, 1 - 2 * time), 0.0)


def _fout(state: int, time: Values) -> Values:
    """States 0 and 1 are the constant and nothing; 2n and 2n + 1 the cosine and sine of n turns a window."""
    turns, sine = divmod(state, 2)
    wave = np.sin(2 * np.pi * turns * time) if sine else np.cos(2 * np.pi * turns * time)
    return np.where(time < 1, wave * (1.0 if turns == 0 else np.sqrt(2)), 0.0)


POLYNOMIALS: dict[str, Callable[[int, Values], Values]] = {"legs": _legs, "legt": _legt, "fout": _fout}
