"""States on the two axes that tell task states best apart, and how much nearer states of one task state are than others.

The axes are those of linear discriminant analysis (Fisher 1936; Rao 1948), fitted on half of the sequences and drawn on the other
half, so that what is drawn is no chance of many dimensions; beside it the same by principal components and, where it is asked
for, by UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426), which keeps neighbours together and no distances.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from ...kernels.recurrence import Tap
from ...probe.errors import MissingPackageError
from ...probe.tasks.base import IGNORED
from ..models import Models, named_models, real_parts, states_of
from .results.state_projection import StateProjection

Values = NDArray[np.float64]
PAIRS = 4000  # of states whose distances are compared


def state_projection(
    models: Models, tokens: Tensor, labels: Tensor, *, label: str = "label", neighbours: int | None = None, seed: int = 0
) -> StateProjection:
    """Project the states of every layer, all heads together, by labels and without them.

    models: a model, ours or a loaded one, or several by name. tokens: [B, T], four sequences or more.
    labels: [B, T] whole numbers, the task state after each token; -100 leaves a token out. label: what they are called.
    neighbours: of each state, how many UMAP keeps near it; left out, there is no map by UMAP, which takes its time.

    `about` has how many classes the axes are fitted on, and of how many of them a single state is known ("alone"): those have a
    place, but say nothing of how far the states of a class spread.

    Raises ValueError for labels of another shape, for fewer than 4 sequences, for a half with one class or with a class for each
    state, for states that do not vary within their classes, for fewer than 2 neighbours or no fewer than there are states, and
    for a model without a state; MissingPackageError for a map by UMAP where umap-learn is not installed.
    """
    if neighbours is not None and neighbours < 2:
        raise ValueError(f"neighbours must be at least 2, got {neighbours}")
    if labels.shape != tokens.shape[:2] or labels.is_floating_point():
        raise ValueError(f"labels are {list(labels.shape)} {labels.dtype}; tokens need whole numbers {list(tokens.shape[:2])}")
    if len(tokens) < 4:
        raise ValueError(f"axes are fitted on half of the sequences; {len(tokens)} are too few")
    tables, distances = [], {}
    half, kept = len(tokens) // 2, (labels != IGNORED).numpy()

    def halves(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of the tokens that count, those that axes are fitted on and those that are drawn."""
        return values[:half][kept[:half]], values[half:][kept[half:]]

    known, true = halves(labels.numpy())
    _check_classes(known, true)
    for name, model in named_models(models).items():
        for layer, states in states_of(model, tokens, Tap(every=1)):
            fitted, drawn = halves(real_parts(states.flatten(2)).numpy())
            finder = _discriminant(fitted, known, f"{name}, layer {layer}")
            principal = PCA(min(2, *fitted.shape), random_state=seed).fit(fitted)
            sequence, position = np.nonzero(kept[half:])
            maps = {"discriminant": finder.transform(drawn), "principal": principal.transform(drawn)}
            if neighbours is not None:
                maps["umap"] = _neighbour_map(drawn, neighbours, seed)
            for axes, found in maps.items():
                first, second = np.pad(found, ((0, 0), (0, 2)))[:, :2].T
                columns = {"label": true, "sequence": sequence + half, "position": position, "first": first, "second": second}
                tables.append(pd.DataFrame(columns).assign(model=name, layer=layer, axes=axes))
            within, between = _distances(drawn, true, seed)
            distances[f"{name}, layer {layer}"] = (within, between, float(finder.score(drawn, true)))
    sizes = np.unique_counts(known).counts
    about = {"label": label, "distances": distances, "sequences": len(tokens), "tokens": tokens.shape[1]}
    about |= {"classes": len(sizes), "alone": int((sizes == 1).sum())}
    return StateProjection(pd.concat(tables, ignore_index=True)[list(StateProjection.columns)], about)


def _check_classes(known: NDArray[np.int64], true: NDArray[np.int64]) -> None:
    """Raise ValueError where a half of the labels, `known` to those who fit axes or `true` of what is drawn, shows no class
    beside another one, or none with two states.
    """
    for half, labels in (("axes are fitted on", known), ("is drawn", true)):
        classes = len(np.unique(labels))
        if classes < 2:
            what = "one class" if classes else "no state with a label"
            raise ValueError(f"the half of the sequences that {half} has {what}; give more sequences, or longer ones")
        if len(labels) == classes:
            raise ValueError(
                f"the half of the sequences that {half} has {classes} states of as many classes; give more sequences, or longer "
                "ones"
            )


def _discriminant(states: Values, labels: NDArray[np.int64], where: str) -> LinearDiscriminantAnalysis:
    """The axes of states [N, D]. Raises ValueError where states do not vary within their classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only one sample available", category=UserWarning)  # told in the summary
        try:
            return LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(states, labels)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"{where}: the {len(states)} states of {len(np.unique(labels))} classes that axes are fitted on do not vary "
                f"within their classes along every one of {states.shape[1]} dimensions, so no axes tell the classes apart "
                "best; give more sequences, or longer ones"
            ) from error


def _neighbour_map(states: Values, neighbours: int, seed: int) -> Values:
    """Two coordinates of each state [N, D] by UMAP."""
    if neighbours >= len(states):
        raise ValueError(f"{neighbours} neighbours of {len(states)} states; give fewer, or more sequences")
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingPackageError('the map needs umap-learn: pip install "statescope[umap]"') from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)  # what a fixed seed costs
        found: Values = UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(states).astype(np.float64)
    return found


def _distances(states: Values, labels: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The mean distance of two states of one class, and of two of different classes, over pairs drawn at random."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(states), size=(2, PAIRS))
    apart = first != second
    distance = np.linalg.norm(states[first] - states[second], axis=1)
    same = labels[first] == labels[second]
    return float(distance[same & apart].mean()), float(distance[~same].mean())
