"""How many pairs of a key and a value a matrix state holds before it gives them back wrongly: measured, and as theory has it.

The rules by which states are written, and what theory expects of each, are those of `write_rule.py`: additive ones and delta
rules, with no decay, one for all key channels or one for each, with turning ones, and with several keys a token. Without decay an
additive state errs by (n - 1) / K. A delta rule with beta = 1 errs by nothing for up to K orthonormal keys; of random ones it
gives back the latest, and forgets the others as they are written over. `write_rules` takes the rules from a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...probe.results.intervals import mean_and_reach
from ...probe.tasks.base import generator_for
from .results.recall_capacity import RecallCapacity
from .write_rule import WriteRule, expected_error, expected_error_of_orthonormal


def rules_of(key_size: int) -> dict[str, WriteRule]:
    """One rule of each kind, for keys of K channels: decays by channel are from 0.9 to 1, angles from 0 to 1 radian a token."""
    by_channel = np.log(np.linspace(0.9, 1, key_size))
    turning = tuple(complex(log, angle) for log, angle in zip(by_channel, np.linspace(0, 1, key_size), strict=True))
    one, channels = float(np.log(0.99)), tuple(by_channel.tolist())
    return {
        "additive": WriteRule(),
        "additive, decay 0.99": WriteRule(0.0, one),
        "additive, decays by channel": WriteRule(0.0, channels),
        "additive, decays that turn": WriteRule(0.0, turning),
        "delta rule": WriteRule(1.0),
        "delta rule, beta 0.5": WriteRule(0.5),
        "gated delta rule, decay 0.99": WriteRule(1.0, one),
        "gated delta rule, decay 0.99, two keys a token": WriteRule(1.0, one, keys=2),
        "delta rule, decays by channel": WriteRule(1.0, channels),
        "delta rule that erases first, decays by channel": WriteRule(1.0, channels, erases_first=True),
    }


def recall_capacity(
    rules: Mapping[str, WriteRule | str] | None = None,
    pairs: Sequence[int] = (1, 4, 8, 16, 24, 32, 48, 64, 96, 128),
    *,
    key_size: int = 32,
    value_size: int = 32,
    states: int = 64,
    seed: int = 0,
) -> RecallCapacity:
    """Write random pairs into empty states, read all by their keys, and compare with what theory expects.

    rules: by name; those of `rules_of` where it is None. A sentence in the place of a rule says why there is none, as
        `write_rules` has it of a layer without a state, and is told in the summary.
    pairs: how many to write. states: drawn for each.
    key_size: K; a rule with decays by channel is tried with as many channels as it has.

    Orthonormal keys are tried up to K pairs. `expected` is nan where theory has no closed form, and the summary says so. Raises
    ValueError for a count or size below 1, and where there is no rule at all.
    """
    if min(pairs, default=0) < 1 or states < 2 or min(key_size, value_size) < 1:
        raise ValueError(
            f"pairs={list(pairs)}, key_size={key_size} and value_size={value_size} must be at least 1, and states={states} 2"
        )
    rules = rules_of(key_size) if rules is None else rules
    written = {name: rule for name, rule in rules.items() if isinstance(rule, WriteRule)}
    without = {name: why for name, why in rules.items() if isinstance(why, str)}
    if not written:
        raise ValueError("; ".join(["no state is written along keys", *(f"{name}: {why}" for name, why in without.items())]))
    rows, sizes = [], {name: rule.channels or key_size for name, rule in written.items()}
    for name, rule in written.items():
        for kind, (draw, theory, fits) in KEYS.items():
            for count in (count for count in pairs if fits(count, sizes[name])):
                generator = generator_for(seed, count)
                keys = draw(states, count, sizes[name], generator)
                values = torch.randn(states, count, value_size, dtype=torch.float64, generator=generator) * value_size**-0.5
                error, reach = mean_and_reach((rule.read(keys, values) - values).square().sum(-1).mean(-1).numpy())
                of_theory = theory(rule, count, sizes[name])
                expected = float("nan") if of_theory is None else float(of_theory.mean())
                rows.append((name, kind, count, float(error), float(error - reach), float(error + reach), expected))
    about = {
        "key_size": sizes,
        "value_size": value_size,
        "states": states,
        "without": without,
        "notes": {name: rule.note for name, rule in written.items() if rule.note},
    }
    return RecallCapacity(pd.DataFrame(rows, columns=list(RecallCapacity.columns)), about)


def _random_keys(states: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    return normalize(torch.randn(states, count, size, dtype=torch.float64, generator=generator), dim=-1)


def _orthonormal_keys(states: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    bases: Tensor = torch.linalg.qr(torch.randn(states, size, size, dtype=torch.float64, generator=generator)).Q
    return bases[:, :count]


class _Keys(NamedTuple):
    draw: Callable[[int, int, int, torch.Generator], Tensor]  # states, pairs, K and a generator -> keys [states, pairs, K]
    theory: Callable[[WriteRule, int, int], Tensor | None]  # rule, pairs and K -> the expected error of each pair, if known
    fits: Callable[[int, int], bool]  # whether there are so many keys of size K


KEYS = {
    "random": _Keys(_random_keys, expected_error, lambda count, size: True),
    "orthonormal": _Keys(_orthonormal_keys, expected_error_of_orthonormal, lambda count, size: count <= size),
}
