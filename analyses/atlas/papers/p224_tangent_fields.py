"""P224: Gaussian processes of vector fields on a surface that points alone show."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from ....probe.runs.run import Run
from ...geometry.tangent_fields import tangent_field, tangent_space
from ...studies.findings import Findings
from ..claim import Claim, fresh_seeds
from ..measurement import Scope, at_least, at_most

Values = NDArray[np.float64]
NEIGHBOURS = 8

COSINE = "sphere, half of the arrows hidden: mean cosine of the hidden ones with what is found"
ACROSS = "sphere: size of the part across the surface, over that of what is found"
AHEAD = "torus, a tenth of the arrows shown: mean cosine, less that of a Gaussian process for each coordinate"
ALONE = "torus: mean cosine of a Gaussian process for each coordinate"


@dataclass(frozen=True)
class TangentFields(Claim, kind="p224-tangent-fields"):
    """Arrows along a sphere and a torus are found from some of them."""

    seeds: tuple[int, ...] = fresh_seeds(5)
    """These seeds are others than 0 to 2, on which the settings were tried out."""
    points: int = 300
    """Each surface is known by so many points."""

    paper, scope = "P224", Scope.TRAINED
    statement = (
        "A Gaussian process on the modes of the connection Laplacian of points finds a smooth field's hidden arrows, along the "
        "surface that the points lie on and that nothing else tells of."
    )
    measurements = (at_least(COSINE, 0.9, "cosine"), at_most(ACROSS, 0.1, "ratio"))
    note = (
        "That it finds arrows better than a process for each coordinate of the space is not found on a sphere or a torus, where "
        "that one, fitted from several starts, comes as near or nearer. Recordings of brains are not measured."
    )

    def experiment(self, seed: int, run: Run) -> Findings:
        random, found = np.random.default_rng(seed), Findings()
        points, arrows, normals = _sphere(random, self.points)
        shown = random.random(self.points) < 0.5
        guessed = _found(points, arrows, shown)
        found.numbers[COSINE] = _cosine(guessed, arrows)[~shown].mean()
        across = np.abs((guessed * normals).sum(1))[~shown]
        found.numbers[ACROSS] = across.mean() / np.linalg.norm(guessed[~shown], axis=1).mean()
        points, arrows = _torus(random, self.points)
        shown = random.random(self.points) < 0.1
        alone = _cosine(_by_coordinate(points, arrows, shown), arrows)[~shown].mean()
        found.put(ALONE, alone, "cosine")
        found.put(AHEAD, _cosine(_found(points, arrows, shown), arrows)[~shown].mean() - alone, "cosine")
        return found


def _found(points: Values, arrows: Values, shown: NDArray[np.bool_]) -> Values:
    space = tangent_space(points, 2, neighbours=NEIGHBOURS)
    return tangent_field(space, shown, np.where(shown[:, None], arrows, np.nan)).vectors


def _by_coordinate(points: Values, arrows: Values, shown: NDArray[np.bool_]) -> Values:
    """A squared exponential of distances in space, with the reach and the noise of the largest marginal likelihood."""
    process = GaussianProcessRegressor(ConstantKernel() * RBF() + WhiteKernel(), n_restarts_optimizer=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the noise may come to its least value
        found: Values = process.fit(points[shown], arrows[shown]).predict(points)
    return found


def _sphere(random: np.random.Generator, count: int) -> tuple[Values, Values, Values]:
    """Points, a linear field's part along the surface, and the normals, which are the points."""
    points = random.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    arrows = np.cross(random.normal(size=3), points) + points @ random.normal(size=(3, 3))
    return points, arrows - (arrows * points).sum(1, keepdims=True) * points, points


def _torus(random: np.random.Generator, count: int, radius: float = 0.3) -> tuple[Values, Values]:
    """Points of a tube around a circle, and a field that turns along both of its angles."""
    around, tube = 2 * np.pi * random.random((2, count))
    ring = 1 + radius * np.cos(tube)
    points = np.stack([ring * np.cos(around), ring * np.sin(around), radius * np.sin(tube)], 1)
    along = np.stack([-np.sin(around), np.cos(around), 0 * around], 1)
    across = np.stack([-np.sin(tube) * np.cos(around), -np.sin(tube) * np.sin(around), np.cos(tube)], 1)
    return points, np.cos(tube)[:, None] * along + np.sin(2 * around)[:, None] * across


def _cosine(found: Values, truth: Values) -> Values:
    cosine: Values = (found * truth).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(truth, axis=1))
    return cosine
