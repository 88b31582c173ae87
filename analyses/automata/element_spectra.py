"""The eigenvalues of the transition that each element of a group is, beside the roots of unity that its order asks for.

An element of order m is, in every faithful representation, a matrix whose eigenvalues are m-th roots of unity and whose m-th
power is the first that is the identity: a 3-cycle has the cube roots of unity, a transposition -1. So a layer that tracks the
group on its own has them among the eigenvalues of the token's transition, on whatever part of the state it uses.
"""

from __future__ import annotations

import numpy as np

from ...probe.tasks.base import generator_for
from ...probe.tasks.word_problem import WordProblem
from ..models import Models
from ..spectra.transition_spectrum import transition_spectrum
from .groups import element_names, element_orders
from .results.element_spectra import ElementSpectra


def element_spectra(models: Models, task: WordProblem, *, sequences: int = 8, length: int = 32, seed: int = 0) -> ElementSpectra:
    """The eigenvalues of every head's transition at every token of words in a group, by the element that the token is.

    models: a model, ours or a loaded one, or several by name.
    task: the word problem; its tokens are the elements.
    sequences, length, seed: of the words. An element that none of them has is left out, and `about["missing"]` names it.

    Raises ValueError for a model without linear transitions.
    """
    tokens = task.batch(sequences, length, "test", generator_for(seed, length)).tokens
    spectrum = transition_spectrum(models, tokens).table
    names, orders = np.array(element_names(task.group)), element_orders(task.group).numpy()
    element = tokens.numpy()[spectrum["sequence"], spectrum["position"]]
    table = spectrum.assign(element=names[element], order=orders[element])[list(ElementSpectra.columns)]
    missing = sorted(set(range(task.vocabulary)) - set(tokens.unique().tolist()))
    about = {"group": task.group, "sequences": sequences, "length": length, "missing": names[missing].tolist()}
    return ElementSpectra(table, about)
