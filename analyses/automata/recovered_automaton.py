"""The finite automaton that a model's states amount to, found from states, tokens and answers, beside the true one.

States are clustered by k-means. A cluster, a token and the cluster after it give a table by majority, and a cluster's answer is
that of the majority. An automaton explains the model to a tolerance where, on sequences that it was not made from,

    followed    share of tokens at which the table, run from the first cluster on, is in the cluster of the model's state
    answered    share at which the answer of the cluster it is in is that of the model

are both at least 1 - tolerance. The smallest number of clusters that does is the answer; states that no answer tells apart are
then merged (Moore's partition refinement), and what is left is compared with the true automaton.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from torch import Tensor

from ..models import real_parts
from .automaton import Automaton, Integers
from .results.recovered_automaton import RecoveredAutomaton


def recovered_automaton(
    states: Tensor,
    tokens: Tensor,
    answers: Tensor,
    *,
    most: int = 16,
    tolerance: float = 0.02,
    true: Automaton | None = None,
    seed: int = 0,
) -> RecoveredAutomaton:
    """Find the smallest automaton that explains a model.

    states: [B, T, ...], what the model carries after each token, real or complex: states, or a residual stream.
    tokens: [B, T], from 0.
    answers: [B, T], what the model says after each token.
    most: states at most.
    tolerance: see above.
    true: the automaton of the task, to compare with.
    seed: of k-means. Half of the sequences make the automaton, the others judge it.

    Raises ValueError for shapes that disagree, fewer than 4 sequences, states that are not finite, tokens or answers below 0, and
    tokens that the true automaton does not read.
    """
    if states.shape[:2] != tokens.shape or answers.shape != tokens.shape:
        raise ValueError(f"states {list(states.shape)}, tokens {list(tokens.shape)} and answers {list(answers.shape)} disagree")
    if most < 1 or not 0 <= tolerance < 1:
        raise ValueError(f"most={most} must be at least 1, and tolerance={tolerance} from 0 to less than 1")
    known = np.inf if true is None else true.table.shape[1]
    if bool((tokens < 0).any() | (answers < 0).any()) or int(tokens.max()) >= known:
        raise ValueError(f"tokens and answers must be from 0 on, and tokens be of the {known} that the true automaton reads")
    if len(tokens) < 4:
        raise ValueError(f"half of the sequences judge what the others make; {len(tokens)} are too few")
    flat = real_parts(states.detach().flatten(2)).double().numpy()
    if not np.isfinite(flat).all():
        raise ValueError("some state is not finite")
    ids, said = tokens.numpy(), answers.numpy()
    half = len(ids) // 2
    rows, chosen, agreement = [], None, np.nan
    distinct = len(np.unique(flat[:half].reshape(-1, flat.shape[-1]).round(12), axis=0))
    for count in range(1, min(most, distinct) + 1):
        means = KMeans(count, n_init=10, random_state=seed).fit(flat[:half].reshape(-1, flat.shape[-1]))
        clusters = means.predict(flat.reshape(-1, flat.shape[-1])).reshape(ids.shape).astype(np.int64)
        found = _by_majority(clusters[:half], ids[:half], said[:half], count)
        if true is not None:
            agreement = matched(clusters[half:].ravel().tolist(), true.run(ids[half:]).ravel().tolist())
        reached = found.run(ids[half:])
        followed = float((reached == clusters[half:]).mean())
        answered = float((np.where(reached < 0, -1, found.answers[reached]) == said[half:]).mean())
        explains = min(followed, answered) >= 1 - tolerance
        rows.append((count, followed, answered, agreement, explains))
        if explains:
            chosen = found.minimal()
            break
    about = {
        "tolerance": tolerance,
        "sequences": len(ids),
        "automaton": None if chosen is None else _plain(chosen),
        "true": None if true is None else len(true.minimal().answers),
        "true_automaton": None if true is None else _plain(true.minimal()),
        "equal": chosen is not None and true is not None and chosen.equals(true),
    }
    return RecoveredAutomaton(pd.DataFrame(rows, columns=list(RecoveredAutomaton.columns)), about)


def _by_majority(clusters: Integers, tokens: Integers, answers: Integers, count: int) -> Automaton:
    """The table of what comes most often. The start is no cluster, since nothing shows it; see `_placed`."""
    before = np.concatenate([np.full((len(clusters), 1), count), clusters[:, :-1]], axis=1)
    seen = np.zeros((count + 1, int(tokens.max()) + 1, count))
    np.add.at(seen, (before, tokens, clusters), 1)
    said = np.zeros((count, int(answers.max()) + 1))
    np.add.at(said, (clusters, answers), 1)
    table = np.where(seen.any(-1), seen.argmax(-1), -1)
    return _placed(Automaton(table[:count], said.argmax(-1), 0), table[count])


def _placed(automaton: Automaton, first: Integers) -> Automaton:
    """With its start where the tokens that were seen first, first [tokens], lead on as from the start; else with a state more,
    that answers nothing.
    """
    alike = np.flatnonzero(((automaton.table == first) | (first < 0)).all(1))
    if len(np.unique(automaton.classes()[alike])) == 1:
        return Automaton(automaton.table, automaton.answers, int(alike[0]))
    return Automaton(np.vstack([automaton.table, first]), np.append(automaton.answers, -1), len(automaton.table))


def _plain(automaton: Automaton) -> dict[str, object]:
    return {"table": automaton.table.tolist(), "answers": automaton.answers.tolist(), "start": automaton.start}


def matched(one: Sequence[int], two: Sequence[int]) -> float:
    """The share of entries that agree once the names in `one` are matched with those in `two` as well as can be."""
    first, second = np.unique(one, return_inverse=True)[1], np.unique(two, return_inverse=True)[1]
    counts = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(counts, (first, second), 1)
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / len(first))
