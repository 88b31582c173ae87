"""Skips, induction and drift against runs by hand, and on models whose answer is known."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statescope import Model, ModelConfig, hooked
from statescope.analyses.behaviour.depth_use import depth_use, skipping
from statescope.analyses.behaviour.induction import _mass, induction_scores
from statescope.analyses.behaviour.logit_correlation import logit_correlation
from statescope.analyses.similarity.model_difference import model_difference
from statescope.mixers import GatedDeltaNet, Mamba
from statescope.probe.results.result import Result

V = 9


def small(layers: int = 3, mixer: Any = None) -> Model:
    return Model(ModelConfig(vocabulary=V, width=12, layers=layers, mixer=mixer or GatedDeltaNet(heads=2))).double().eval()


def tokens_of(count: int = 4, length: int = 8) -> Tensor:
    return torch.randint(0, V, (count, length), generator=torch.Generator().manual_seed(0))


def test_a_skipped_layer_changes_what_is_behind_it_alone() -> None:
    model, tokens = small(), tokens_of()
    result = depth_use(model, tokens)
    grid = result.select(scope="all").table.pivot(index="skipped", columns="layer", values="change")
    for skipped in range(3):
        assert grid.loc[skipped, skipped] == pytest.approx(1)  # it adds nothing
        assert all(grid.loc[skipped, layer] == 0 for layer in range(skipped))
        assert all(grid.loc[skipped, layer] > 1e-3 for layer in range(skipped + 1, 3))
    start = model.run_with_cache(tokens, names_filter="blocks.1.hook_resid_pre")[1]["blocks.1.hook_resid_pre"]
    without = model(start, start_at_layer=2).log_softmax(-1)
    own = model(tokens).log_softmax(-1)
    expected = (own.exp() * (own - without)).sum(-1).mean()
    assert result.select(scope="all", skipped=1).table["divergence"].iloc[0] == pytest.approx(float(expected))
    middle = tokens.shape[1] // 2
    with torch.no_grad(), model.hooks(fwd_hooks=skipping(0, slice(0, middle))):
        away = (own.exp() * (own - model(tokens).log_softmax(-1))).sum(-1)
    behind = result.select(scope="future", skipped=0).table["divergence"].iloc[0]
    assert behind == pytest.approx(float(away[:, middle:].mean())) != pytest.approx(float(away.mean()))
    future = result.select(scope="future").table.pivot(index="skipped", columns="layer", values="change")
    assert future.loc[0, 0] < 1 and future.loc[0, 1] > 0 and future.loc[2, 2] == 0  # the last layer's past is read by none


def test_copying_is_measured_where_the_second_block_is_continued() -> None:
    """From its first token on to the last but one; what is said at the first block's end, or behind all, is not asked."""
    block, said = 4, torch.zeros(1, 8, 10)
    said[:, 4:7, 3] = 100.0
    seen = torch.tensor([[1, 2, 3, 4]])
    assert float(_mass(lambda tokens: said, torch.zeros(1, 8, dtype=torch.long), seen, block)) == pytest.approx(1)  # type: ignore[arg-type]


class Induction(nn.Module):
    """It says with certainty what followed the token when it came before; else nothing."""

    def __init__(self, ordered: bool) -> None:
        super().__init__()
        self.scale, self.ordered = nn.Parameter(torch.tensor(8.0)), ordered

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, V)
        for row, sequence in enumerate(tokens.tolist()):
            for position, token in enumerate(sequence):
                if self.ordered and token in sequence[:position]:
                    logits[row, position, sequence[sequence.index(token) + 1]] = 1.0
                elif not self.ordered:
                    logits[row, position, sequence[: position + 1]] = 1.0
        return logits * self.scale


def test_induction_is_what_order_adds_and_copying_what_was_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    found = {
        name: induction_scores(hooked(Induction(ordered), tokens_of()), V, generator, block=5, sequences=16).table.iloc[0]
        for name, ordered in (("ordered", True), ("bag", False))
    }
    certain = torch.tensor([8.0] + [0.0] * (V - 1)).log_softmax(0)[0]
    assert found["ordered"]["induction"] > 3 and found["ordered"]["low"] > 0 and float(certain) > -0.1
    assert found["bag"]["induction"] == pytest.approx(0, abs=1e-6)  # the same tokens, whatever their order
    assert found["bag"]["copying"] > 0.4 and found["bag"]["copying"] == pytest.approx(1 - 5 / V, abs=0.05)
    result = induction_scores(small(2), V, generator, block=5, sequences=8)
    assert list(result.table["skipped"]) == [-1, 0, 1] and abs(result.table["induction"].iloc[0]) < 0.5
    with pytest.raises(ValueError, match="3 to 9 tokens"):
        induction_scores(small(1), V, generator, block=12)


@pytest.mark.parametrize("mixer", [GatedDeltaNet(heads=2), Mamba()], ids=["delta", "mamba"])
def test_a_model_that_moved_in_one_layer_differs_from_there_on(mixer: Any) -> None:
    model, tokens = small(3, mixer), tokens_of()
    same = model_difference(model, copy.deepcopy(model), tokens)
    assert (same.table["difference"] == 0).all()
    moved = copy.deepcopy(model)
    for parameter in moved.blocks[1].parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double())
    result = model_difference(model, moved, tokens)
    for site in ("resid_post", "state", "transition"):
        own = result.select(site=site).table.set_index("layer")["difference"]
        assert own[0] == 0 and own[1] > 0 and own[2] > 0, site
    a, b = (one.run_with_cache(tokens, names_filter="blocks.1.hook_resid_post")[1]["resid_post", 1] for one in (model, moved))
    expected = ((a - b).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)).mean()
    assert result.value("difference", hook="blocks.1.hook_resid_post") == pytest.approx(float(expected))
    assert result.value("difference", hook="output") > 0
    with pytest.raises(ValueError, match="one architecture"):
        model_difference(model, Model(ModelConfig(vocabulary=V, width=16, layers=3, mixer=mixer)).double(), tokens)


def test_they_are_results_that_are_saved_and_drawn(tmp_path: Path) -> None:
    model, tokens = small(2), tokens_of()
    generator = torch.Generator().manual_seed(0)
    results = (depth_use(model, tokens), induction_scores(model, V, generator, block=4, sequences=4))
    for result in (*results, model_difference(model, small(2), tokens)):
        assert Result.load(result.save(tmp_path / "r.parquet")).table.equals(result.table)
        assert result.summary() and result.figure().to_matplotlib() is not None


def test_a_model_without_a_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="residual stream"):
        depth_use(hooked(nn.GRU(3, 3, batch_first=True), torch.zeros(2, 4, 3)), torch.zeros(2, 4, 3))


class Composed(nn.Module):
    """The logits of a token are a row of a table; behind token 0 they are a linear map of that, behind token 1 others."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(40, 4, generator=generator) @ torch.randn(4, V, generator=generator))
        self.map = nn.Parameter(torch.randn(V, V, generator=generator))
        self.other = nn.Parameter(torch.randn(40, V, generator=generator))

    def forward(self, tokens: Tensor) -> Tensor:
        said = self.table[tokens]
        composed, unrelated = said @ self.map, self.other[tokens]
        first = tokens[:, :1, None].expand_as(said)
        return torch.where(first == 0, composed, torch.where(first == 1, unrelated, said))


def test_answers_that_follow_linearly_correlate_and_others_do_not() -> None:
    model = hooked(Composed(), torch.randint(3, 40, (2, 2)))
    entities = range(5, 40)
    families = {name: [[first, entity] for entity in entities] for name, first in (("city", 2), ("country", 0), ("weather", 1))}
    result = logit_correlation(model, families, shuffles=39)
    assert result.value("correlation", pair="city to country") > 0.99 and result.value("p_value", pair="city to country") < 0.05
    for pair in ("city to weather", "weather to country"):
        assert abs(result.value("correlation", pair=pair)) < 0.4 and result.value("p_value", pair=pair) > 0.02
    assert abs(result.value("null", pair="city to country")) < 0.25
    assert result.summary() and result.figure().to_matplotlib() is not None
    with pytest.raises(ValueError, match="one prompt an entity"):
        logit_correlation(model, {"a": [[1, 2]], "b": [[1, 2], [1, 3]]})


def test_only_the_logits_of_answers_count_where_they_are_named() -> None:
    model = hooked(Composed(), torch.randint(3, 40, (2, 2)))
    families = {name: [[first, entity] for entity in range(5, 40)] for name, first in (("city", 2), ("weather", 1))}
    everything = {name: range(V) for name in families}
    whole = logit_correlation(model, families, shuffles=0).table
    assert logit_correlation(model, families, answers=everything, shuffles=0).table.equals(whole)
    few = logit_correlation(model, families, answers={"city": range(V), "weather": [1, 4, 6]}, shuffles=0)
    assert few.value("correlation", pair="city to weather") != pytest.approx(whole["correlation"].iloc[0])
    with pytest.raises(ValueError, match="the families are"):
        logit_correlation(model, families, answers={"city": [0]})
