"""The eigenvalues of products of transitions over windows of tokens: what a stretch of text does to a state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...kernels.operators.transition import Transition
from ...probe.results.figure import Figure, Histogram, Panel, Points
from ...probe.results.result import Result
from ..models import Models, named_models, transitions_of

RESOLVED = 1e-12  # of the product's norm: an eigenvalue below is rounding


@dataclass(frozen=True)
class WindowSpectrum(Result, kind="window_spectrum"):
    """The eigenvalues of A_t+W-1 ... A_t for windows that follow one another."""

    title: ClassVar[str] = "Eigenvalues of windows"
    columns: ClassVar[dict[str, str]] = {
        "model": "name of the model",
        "layer": "block",
        "head": "head of the token mixer",
        "sequence": "sequence of the batch",
        "start": "first token of the window",
        "log_modulus": "log of an eigenvalue's modulus, in nats; -inf for 0",
        "angle": "its angle in radians, from -pi to pi",
        "resolved": "whether float64 tells it from 0 beside the product's norm",
        "multiplicity": "how many of the K eigenvalues are this one",
    }
    selected_by: ClassVar[tuple[str, ...]] = ("model", "layer", "head")

    def summary(self) -> str:
        window, lines = int(self.about["window"]), []
        for (model, layer), own in self.table.groupby(["model", "layer"], sort=False):
            rate = np.exp(own["log_modulus"].max() / window)
            unresolved = own.loc[~own["resolved"], "multiplicity"].sum() / own["multiplicity"].sum()
            lines.append(
                f"{model}, layer {layer}: over {window} tokens the largest modulus is {rate:.4f} a token, and "
                f"{unresolved:.1%} of the eigenvalues are lost in rounding"
            )
        return "\n".join(lines)

    def specification(self) -> Figure:
        """Moduli a token, |lambda|^(1/W), and the resolved eigenvalues with that modulus in the complex plane."""
        window, bars, clouds = int(self.about["window"]), [], []
        shown = self.table[self.table["resolved"]]
        rate = np.exp(shown["log_modulus"] / window)
        edges = np.linspace(0, max(1.05, float(rate.max()) + 0.01) if len(rate) else 1.05, 43)
        for (model, layer), own in shown.groupby(["model", "layer"], sort=False):
            modulus = np.exp(own["log_modulus"].to_numpy() / window)
            counts, _ = np.histogram(modulus, bins=edges, weights=own["multiplicity"])
            name = f"{model}, layer {layer}"
            bars.append(Histogram(edges, counts / counts.sum(), name))
            angle = own["angle"].to_numpy()
            clouds.append(Points(modulus * np.cos(angle), modulus * np.sin(angle), name))
        return Figure(
            self.title,
            [
                Panel(bars, "modulus a token", "share of eigenvalues", f"Windows of {window} tokens"),
                Panel(clouds, "real part", "imaginary part", "Modulus a token, whole angle", equal=True, unit_circle=True),
            ],
            alt=f"Eigenvalues of products of transitions over windows. {self.summary()}",
            caption="Eigenvalues that float64 does not tell from 0 are not drawn.",
        )


def window_spectrum(models: Models, tokens: Tensor, window: int, *, jacobians: bool = False) -> WindowSpectrum:
    """The eigenvalues of the product of the transitions of each window, in float64.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T].
    window: W, tokens of each; windows follow one another from the first token, and a shorter rest is left out.
    jacobians: take cells too, as in `transition_spectrum`.

    Scalar decays are kept as logarithms and the ranks of few tokens added, so that n W < K reflections are a problem of size
    n W; diagonal transitions multiply channel by channel, as logarithms. Raises ValueError for a window that is not from 1 to T,
    and for a model without a layer that has a linear transition.
    """
    length = tokens.shape[1]
    if not 1 <= window <= length:
        raise ValueError(f"window {window} must be from 1 to the {length} tokens of a sequence")
    named, tables = named_models(models), []
    for name, model in named.items():
        for layer, transition in transitions_of(model, tokens, jacobians=jacobians):
            for start in range(0, length - window + 1, window):
                cut = transition.each(partial(torch.narrow, dim=1, start=start, length=window))
                tables.append(_table(*product_eigenvalues(cut, axis=1)).assign(model=name, layer=layer, start=start))
    about = {"window": window, "tokens": length, "sequences": len(tokens), "models": list(named)}
    return WindowSpectrum(pd.concat(tables, ignore_index=True)[list(WindowSpectrum.columns)], about)


def product_eigenvalues(transitions: Transition, *, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """The eigenvalues of A_W ... A_1 as log-moduli, angles and whether they are resolved, each [..., K].

    axis: the batch axis of `transitions` that is time.
    """
    tokens = [_at(transitions, axis, t) for t in range(transitions.shape[axis])]
    if transitions.rank == 0:
        logs = torch.stack([token.log_gain for token in tokens]).sum(0).expand(tokens[0].shape[:-1])
        angle = torch.stack([token.turn for token in tokens]).sum(0).expand(tokens[0].shape[:-1])
        return logs, torch.atan2(angle.sin(), angle.cos()), torch.ones_like(logs, dtype=torch.bool)
    product, log_scale = tokens[0], torch.zeros_like(tokens[0].undecayed.real[..., 0])
    for token in tokens[1:]:
        product = token.compose(product)
        if product.rank >= product.size:
            product = _dense(product)
            scale = product.left.abs().amax((-2, -1)).clamp(min=1e-300)
            product, log_scale = _divided(product, scale), log_scale + scale.log()
    if product.log_decay is not None and product.log_decay.shape[-1] == 1:
        log_scale = log_scale + product.log_decay.real[..., 0]
        product = Transition(product.undecayed, product.left, product.reads)
    values = product.eigenvalues()
    resolved = values.abs() > RESOLVED * product.norm()[..., None]
    return values.abs().log() + log_scale[..., None], values.angle(), resolved


def _at(transitions: Transition, axis: int, t: int) -> Transition:
    return transitions.each(lambda part: part.select(axis, t))


def _dense(transition: Transition) -> Transition:
    """The same as 0 + A I^T, so that the next token is multiplied in; its scalar decay stays a logarithm."""
    decay = transition.log_decay
    kept = decay if decay is not None and decay.shape[-1] == 1 else None
    own = transition if kept is None else Transition(transition.undecayed, transition.left, transition.reads)
    matrix = own.dense()
    identity = torch.eye(own.size, dtype=matrix.dtype).expand(matrix.shape)
    return Transition(torch.zeros_like(matrix[..., 0]), matrix, identity, kept)


def _divided(transition: Transition, scale: Tensor) -> Transition:
    return Transition(transition.undecayed, transition.left / scale[..., None, None], transition.reads, transition.log_decay)


def _table(log_modulus: Tensor, angle: Tensor, resolved: Tensor) -> pd.DataFrame:
    """[B, H, K] each as rows; eigenvalues of one window that are equal to the bit are one row with a multiplicity."""
    sequence, head, _ = np.indices(log_modulus.shape)
    columns = {"sequence": sequence, "head": head, "log_modulus": log_modulus, "angle": angle, "resolved": resolved}
    rows = pd.DataFrame({name: np.asarray(value).ravel() for name, value in columns.items()})
    return rows.value_counts(sort=False, dropna=False).rename("multiplicity").reset_index()
