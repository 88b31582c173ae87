"""Do the transitions of a model compose as the elements of a group do?

For a map A from the group to matrices, such as the mean transition of each token of a word problem, the error of a pair is

    |A_g A_h - A_gh|_F / r,   r^2 = mean_g |A_g|_F^2,

on the whole space and on the subspace on which A may be a representation: where M = mean_g A_g A_{g^-1}, made symmetric, is
nearly the identity. Which representation it is there is said by the power of A in each irreducible one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...probe.results.figure import Bars, Figure, Heatmap, Panel
from ...probe.results.result import Result
from ...probe.tasks.base import generator_for
from ...probe.tasks.word_problem import WordProblem, multiplication
from ..models import Models, named_models, transitions_of
from .groups import inverses, irreducible_power

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


@dataclass(frozen=True)
class Homomorphism(Result, kind="homomorphism"):
    """How the transitions of each head compose, pair by pair of the group's elements."""

    title: ClassVar[str] = "Composition of transitions"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "first": "index of g",
        "second": "index of h",
        "error": "|A_g A_h - A_gh| beside the mean norm of a transition",
        "inside": "the same on the subspace where A_g A_(g^-1) is nearly the identity; nan where there is none",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def best(self, model: str) -> tuple[int, int]:
        """The layer and head of a model whose transitions compose best, on their subspace where they have one."""
        own = self.table[self.table["model"] == model]
        errors = own.assign(kept=own["inside"].fillna(own["error"])).groupby(["layer", "head"])["kept"].mean()
        layer, head = errors.idxmin()
        return int(layer), int(head)

    def summary(self) -> str:
        lines = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            own = self.table[(self.table["model"] == model) & (self.table["layer"] == layer) & (self.table["head"] == head)]
            said = self.about["heads"][f"{model}, layer {layer}, head {head}"]
            power = sorted(said["power"].items(), key=lambda entry: -entry[1])[:3]
            shares = ", ".join(f"{share:.0%} in {name}" for name, share in power)
            where = (
                f"{own['inside'].mean():.3g} on {said['dimensions']} dimensions" if said["dimensions"] else "no subspace composes"
            )
            lines.append(
                f"{model}, layer {layer}, head {head}: {self.about['group']} composes with an error of "
                f"{own['error'].mean():.3g} on the whole space, {where}; power {shares}; "
                f"a token's transition varies by {said['spread']:.2g} with its context"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """For the head of each model that composes best: the errors of all pairs, and the power by irreducible representation."""
        panels = []
        for model in dict.fromkeys(self.table["model"]):
            layer, head = self.best(model)
            own = self.table[(self.table["model"] == model) & (self.table["layer"] == layer) & (self.table["head"] == head)]
            said = self.about["heads"][f"{model}, layer {layer}, head {head}"]
            column = "inside" if said["dimensions"] else "error"
            square = own.pivot(index="first", columns="second", values=column)
            names = [str(index) for index in square.index]
            title = f"{model}, layer {layer}, head {head}"
            panels.append(Panel([Heatmap(square.to_numpy(), names, names, "error of g h")], "h", "g", title))
            power = said["power"]
            panels.append(Panel([Bars(list(power), np.array(list(power.values())))], "irreducible", "share of the power", title))
        return Figure(self.title, panels, alt=f"Errors of composition, and power by irreducible representation. {self.summary()}")


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
