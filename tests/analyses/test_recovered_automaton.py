"""The automaton test on hand-built models that compute a group and on ones that do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig, ModularArithmetic, Parity, delta_rule, generator_for
from statescope.analyses.automata.automaton import Automaton, group_automaton
from statescope.analyses.automata.automaton_graph import graph_panel
from statescope.analyses.automata.expressivity import starting_state, tracking_tokens
from statescope.analyses.automata.model_automaton import automaton_of, model_automaton, sequences_from
from statescope.analyses.automata.recovered_automaton import matched, recovered_automaton
from statescope.probe.results.figure import Line, Points
from statescope.probe.tasks import WordProblem
from statescope.probe.tasks.word_problem import multiplication


def states_of(group: str, householders: int, tokens: torch.Tensor) -> torch.Tensor:
    """The states of a hand-built delta rule, [B, T, d]."""
    keys, beta = tracking_tokens(group, householders)
    k, b = keys[tokens][:, :, None], beta[tokens][:, :, None]
    q = torch.zeros(*tokens.shape, 1, keys.shape[-1], dtype=keys.dtype)
    start = starting_state(group).expand(len(tokens), 1, -1, -1)
    v = torch.zeros(*k.shape[:-1], 1, dtype=keys.dtype)
    out = delta_rule(q, k, v, b, initial_state=start, taps=list(range(tokens.shape[1])))
    assert out.states is not None
    return out.states[:, :, 0, :, 0]


@pytest.mark.parametrize(("group", "householders", "order"), [("Z2", 1, 2), ("Z3", 2, 3), ("S3", 2, 6), ("A4", 2, 12)])
def test_a_model_that_computes_a_group_is_its_automaton(group: str, householders: int, order: int) -> None:
    batch = WordProblem(group).batch(40, 48, "test", generator_for(0))
    states = states_of(group, householders, batch.tokens) + 0.01 * torch.randn(40, 48, 1)
    true = group_automaton(multiplication(group))
    result = recovered_automaton(states, batch.tokens, batch.targets, true=true)
    assert result.table["states"].max() == order and result.about["equal"]
    assert result.table["agreement"].iloc[-1] == 1 and result.table["explains"].tolist() == [False] * (order - 1) + [True]
    found = result.automaton
    assert found is not None and found.equals(true) and len(found.answers) == order
    assert "the true one has" in result.summary() and len(result.specification().panels) in (2, 4)


def test_a_model_that_does_not_is_not_explained() -> None:
    """One reflection a token: the states wander, and no small automaton follows them, whatever the answers are said to be."""
    batch = WordProblem("S3").batch(40, 48, "test", generator_for(0))
    states = states_of("S3", 1, batch.tokens)
    result = recovered_automaton(states, batch.tokens, batch.targets, most=8, true=group_automaton(multiplication("S3")))
    assert result.automaton is None and not result.about["equal"] and not result.table["explains"].any()
    assert "states explains the model to 0.02" in result.summary()
    assert [panel.title for panel in result.specification().panels] == ["Size"]  # six tokens are no picture
    # States that follow the group, beside answers that do not, are not explained either.
    tracked = states_of("S3", 2, batch.tokens)
    shuffled = batch.targets[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert recovered_automaton(tracked, batch.tokens, shuffled, most=7).automaton is None


def test_states_that_no_answer_tells_apart_are_merged() -> None:
    """S3's states with the sign as the answer: six clusters, and the automaton of parity over them."""
    batch = WordProblem("S3").batch(40, 48, "test", generator_for(0))
    sign = batch.labels["sign"]
    result = recovered_automaton(states_of("S3", 2, batch.tokens), batch.tokens, sign)
    found = result.automaton
    assert found is not None and len(found.answers) == 2
    sign_of = {int(token): int(s) for token, s in zip(batch.targets[:, 0].tolist(), sign[:, 0].tolist(), strict=True)}
    assert all(found.table[0, token] == parity for token, parity in sign_of.items())


def test_the_smallest_automaton_of_a_language() -> None:
    """Whether two ones in a row have been seen: five states, three of them alike, are three."""
    table = np.array([[0, 1], [3, 2], [4, 2], [0, 1], [2, 4]])
    answers = np.array([0, 0, 1, 0, 1])
    found = Automaton(table, answers, 0).minimal()
    assert found.table.tolist() == [[0, 1], [0, 2], [2, 2]] and found.answers.tolist() == [0, 0, 1]
    other = Automaton(np.array([[1, 2], [1, 2], [1, 0]]), np.array([0, 0, 0]), 1)
    assert len(other.minimal().answers) == 1 and not found.equals(other)
    renamed = Automaton(np.array([[0, 0], [2, 0], [2, 1]]), np.array([1, 0, 0]), 2)
    assert renamed.equals(found)


def test_matching_names() -> None:
    assert matched([5, 5, 7, 7, 9], [0, 0, 2, 2, 1]) == 1
    assert matched([0, 0, 1, 1], [0, 1, 0, 1]) == 0.5


def test_what_does_not_fit_is_refused() -> None:
    tokens = torch.zeros(6, 5, dtype=torch.long)
    states = torch.randn(6, 5, 2)
    with pytest.raises(ValueError, match="disagree"):
        recovered_automaton(states[:, :4], tokens, tokens)
    with pytest.raises(ValueError, match="3 are too few"):
        recovered_automaton(states[:3], tokens[:3], tokens[:3])
    with pytest.raises(ValueError, match="not finite"):
        recovered_automaton(states * torch.nan, tokens, tokens)
    with pytest.raises(ValueError, match="most=0 must be at least 1"):
        recovered_automaton(states, tokens, tokens, most=0)
    for wrong in ((tokens - 1, tokens), (tokens, tokens - 1), (tokens + 2, tokens)):
        with pytest.raises(ValueError, match="of the 2 that the true automaton reads"):
            recovered_automaton(states, *wrong, true=group_automaton(torch.tensor([[0, 1], [1, 0]])))
    constant = recovered_automaton(torch.ones(6, 5, 2, dtype=torch.complex64), tokens, tokens)
    assert constant.automaton is not None and len(constant.automaton.answers) == 1


def test_both_automata_are_drawn_as_graphs() -> None:
    """Each arrow of the table is a line of its token from one state to the next; what is too large is no picture."""
    automaton = Automaton(np.array([[0, 1], [1, -1], [0, 2]]), np.array([0, 1, 1]), 0)
    panel = graph_panel(automaton, "graph")
    assert panel is not None and panel.equal
    dots = {mark.label: np.array([mark.x[0], mark.y[0]]) for mark in panel.marks if isinstance(mark, Points)}
    assert list(dots) == ["state 0, answers 0, start", "state 1, answers 1", "state 2, answers 1"]
    places = np.stack(list(dots.values()))
    for token, mark in enumerate(mark for mark in panel.marks if isinstance(mark, Line)):
        points = np.column_stack([mark.x, mark.y])
        pieces = [piece for piece in np.split(points, np.flatnonzero(np.isnan(points[:, 0]))) if len(piece) > 5]
        ends = [
            tuple(int(np.linalg.norm(places - place, axis=1).argmin()) for place in (piece[1], piece[-1])) for piece in pieces
        ]
        assert ends == [(state, int(after)) for state, after in enumerate(automaton.table[:, token]) if after >= 0]
    many = Automaton(np.zeros((17, 1), int), np.zeros(17, int), 0)
    assert graph_panel(many, "") is None
    coloured = graph_panel(Automaton(np.arange(12)[:, None], np.arange(12) % 3, 0), "")
    assert coloured is not None and coloured.marks[-1].color is not None


def test_the_automaton_of_a_task_is_what_its_targets_follow() -> None:
    for task in (Parity(), WordProblem(group="S3"), WordProblem(group="Z5")):
        automaton = automaton_of(task)
        assert automaton is not None
        batch = task.batch(4, 12, "test", generator_for(0))
        assert np.array_equal(automaton.run(batch.tokens.numpy()), batch.targets.numpy())
        for name, values in task.labels_of(batch.tokens[0]).items():
            assert torch.equal(values, batch.labels[name][0])
    assert automaton_of(ModularArithmetic()) is None


def test_one_sequence_becomes_many() -> None:
    tokens = torch.arange(18) % 2
    assert torch.equal(sequences_from(tokens, None), tokens[:16].view(8, 2))
    drawn = sequences_from(tokens, Parity())
    assert torch.equal(drawn[0], tokens) and drawn.shape == (49, 18)
    with pytest.raises(ValueError, match="too few"):
        sequences_from(tokens[:15], None)
    model = Model(ModelConfig(2, width=8, layers=2, mixer=("delta_net", "attention"))).eval()
    assert model_automaton(model, tokens, 0, task=Parity()).about["true"] == 2
    with pytest.raises(ValueError, match="layer 1 has no state"):
        model_automaton(model, tokens, 1)
