"""Do the transitions of a model compose as the elements of a group do?

For a map A from the group to matrices, such as the mean transition of each token of a word problem, the error of a pair is

    |A_g A_h - A_gh|_F / r,   r^2 = mean_g |A_g|_F^2,

on the whole space and on the subspace on which A may be a representation: where M = mean_g A_g A_{g^-1}, made symmetric, is
nearly the identity. Which representation it is there is said by the power of A in each irreducible one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.shown import with_shapes
from ...probe.tasks.base import generator_for
from ...probe.tasks.word_problem import WordProblem, multiplication
from ..models import Models, named_models, transitions_of
from .groups import inverses, irreducible_power
from .results.homomorphism import Homomorphism

IDENTITY = 0.2  # how far an eigenvalue of M may be from 1 on the subspace
MOST_ELEMENTS = 200  # of a group: a table of pairs is its square


@dataclass(frozen=True)
class GroupMap:
    """How a map from a group to matrices composes.

    errors: [order, order] on the whole space. inside: the same on the subspace; nan where that is empty. basis: [K, n] of the
    subspace. power: the share of the map in each irreducible representation, on the subspace (on the whole space where it is
    empty).
    """

    errors: Tensor
    inside: Tensor
    basis: Tensor
    power: dict[str, float] = field(default_factory=dict)

    __repr__ = with_shapes


def compose_as(maps: Tensor, group: str, *, identity: float = IDENTITY) -> GroupMap:
    """Measure a map [order, K, K], real or complex, from a group to matrices.

    identity: how far the eigenvalues of M may be from 1 on the subspace. Raises ValueError for a map of another order.
    """
    table, inverse = multiplication(group), inverses(group)
    if len(maps) != len(table) or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"a map of {group} needs {len(table)} square matrices, got {list(maps.shape)}")
    mean = (maps @ maps[inverse]).mean(0)
    values, vectors = torch.linalg.eigh((mean + mean.mH) / 2)
    basis = vectors[:, (values - 1).abs() <= identity]
    errors = _errors(maps, table)
    if not basis.shape[1]:
        return GroupMap(errors, torch.full_like(errors, torch.nan), basis, irreducible_power(maps, group))
    within = basis.mH @ maps @ basis
    return GroupMap(errors, _errors(within, table), basis, irreducible_power(within, group))


def _errors(maps: Tensor, table: Tensor) -> Tensor:
    norm = maps.abs().square().sum((1, 2)).mean().sqrt().clamp(min=1e-300)
    found: Tensor = torch.linalg.matrix_norm(maps[:, None] @ maps - maps[table]) / norm
    return found


def homomorphism(
    models: Models, task: WordProblem, *, sequences: int = 16, length: int = 64, seed: int = 0, identity: float = IDENTITY
) -> Homomorphism:
    """Test whether the transitions of a model's tokens compose as the group of a word problem does.

    models: a model, ours or a loaded one, or several by name.
    task: the word problem; its tokens are the elements.
    sequences, length, seed: of the words in which tokens are seen. A_g is the mean over them of the transitions of token g, and
        `about` says how much they vary with the context.
    identity: see `compose_as`.

    Raises ValueError for a model without linear transitions, a group of over 200 elements, and where some element is not seen.
    """
    if task.vocabulary > MOST_ELEMENTS:
        raise ValueError(f"{task.group} has {task.vocabulary} elements; a table of pairs is drawn for {MOST_ELEMENTS} at most")
    tokens = task.batch(sequences, length, "test", generator_for(seed, length)).tokens
    counts = torch.bincount(tokens.flatten(), minlength=task.vocabulary)
    if bool((counts == 0).any()):
        raise ValueError(
            f"{int((counts == 0).sum())} of {task.vocabulary} elements are in none of the words; take more or longer ones"
        )
    rows, heads = [], {}
    for name, model in named_models(models).items():
        for layer, transition in transitions_of(model, tokens):
            for head in range(transition.shape[2]):
                maps, spread = mean_maps(transition[:, :, head].dense(), tokens, task.vocabulary)
                found = compose_as(maps, task.group, identity=identity)
                place = f"{name}, layer {layer}, head {head}"
                heads[place] = {"dimensions": found.basis.shape[1], "power": found.power, "spread": spread}
                for (g, h), error in np.ndenumerate(found.errors.numpy()):
                    rows.append((name, layer, head, g, h, error, float(found.inside[g, h])))
    about = {"group": task.group, "heads": heads, "sequences": sequences, "length": length}
    return Homomorphism(pd.DataFrame(rows, columns=list(Homomorphism.columns)), about)


def mean_maps(matrices: Tensor, tokens: Tensor, order: int) -> tuple[Tensor, float]:
    """The mean matrix of each token, [order, K, K], and how far matrices of one token lie apart, beside their norm.

    matrices: [B, T, K, K]. tokens: [B, T].
    """
    flat, index = matrices.flatten(0, 1), tokens.flatten()
    counts = torch.bincount(index, minlength=order).to(flat.real.dtype)
    total = flat.new_zeros(order, *flat.shape[1:]).index_add(0, index, flat)
    mean = total / counts[:, None, None]
    spread = (flat - mean[index]).abs().square().sum((1, 2)).mean().sqrt()
    norm = flat.abs().square().sum((1, 2)).mean().sqrt().clamp(min=1e-300)
    return mean, float(spread / norm)
