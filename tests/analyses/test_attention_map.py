"""What each token looks at."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.geometry.attention_map import ADDITIVE, ERASURE, TooLongError, attention_map
from statescope.probe.results.print import draw_for_print
from statescope.probe.results.screen import draw_on_screen

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])


def model(mixer: str) -> Model:
    return Model(ModelConfig(10, width=16, layers=2, mixer=mixer)).eval()


@pytest.mark.parametrize("mixer", ["gated_delta_net", "delta_net", "mamba2", "ret_net"])
def test_the_weights_of_a_linear_layer_make_its_read_out(mixer: str) -> None:
    of = model(mixer)
    found = attention_map(of, TOKENS, 1, 2)
    names = ["blocks.1.attn.hook_v", "blocks.1.attn.hook_recurrence_out"]
    _, cache = of.run_with_cache(TOKENS[None], names_filter=names)
    expected = cache[names[1]][0, :, 2].numpy()
    np.testing.assert_allclose(found.matrix() @ cache[names[0]][0, :, 2].numpy(), expected, atol=1e-4)
    assert ("erasure" in set(found.table["part"])) == mixer.endswith("delta_net")


def test_the_parts_of_a_delta_rule_are_what_it_adds_and_what_it_erases() -> None:
    """Additive: beta_j q_i k_j and no more. Before anything is stored there is nothing to erase."""
    of = model("delta_net").double()
    found = attention_map(of, TOKENS, 0, 1)
    _, cache = of.run_with_cache(TOKENS[None], names_filter=["blocks.0.attn.hook_[qk]", "blocks.0.attn.hook_beta"])
    q, k, beta = (cache[f"blocks.0.attn.hook_{name}"][0, :, 1] for name in ("q", "k", "beta"))
    np.testing.assert_allclose(found.matrix(ADDITIVE), torch.tril((q @ k.T) * beta).numpy(), atol=1e-12)
    np.testing.assert_allclose(found.matrix(ADDITIVE) + found.matrix(ERASURE), found.matrix(), atol=1e-6)
    erased = found.matrix(ERASURE)
    np.testing.assert_allclose(np.diag(erased), 0, atol=1e-5)
    assert np.abs(erased).max() > 1e-3


def test_the_weights_of_softmax_are_its_pattern_and_the_reach_its_mean_distance() -> None:
    of = model("attention")
    found = attention_map(of, TOKENS, 0, 1, texts=list("abcdefgh"))
    _, cache = of.run_with_cache(TOKENS[None], names_filter=["blocks.0.attn.hook_pattern"])
    pattern = cache["pattern", 0][0, 1].numpy()
    np.testing.assert_allclose(found.matrix(), pattern, atol=1e-6)
    distance = np.arange(8)[:, None] - np.arange(8)
    np.testing.assert_allclose(found.reach, (pattern * distance).sum(1), atol=1e-6)
    drawn = found.figure().specification
    assert drawn.panels[0].marks[0].limits[0] == 0 and list(drawn.panels[0].marks[0].rows) == list("abcdefgh")
    assert "softmax" in found.summary()


@pytest.mark.parametrize("mixer", ["lru", "gate_loop", "mlstm", "linear_attention", "rwkv7", "mamba"])
def test_every_family_that_shows_it_is_drawn(mixer: str) -> None:
    found = attention_map(model(mixer), TOKENS, 0, 0)
    assert np.isfinite(found.matrix()).all() and not np.triu(found.matrix(), 1).any()
    assert len(found.figure().to_frame())


def test_heads_beside_each_other_have_one_scale_and_one_colour_bar() -> None:
    """Each on a scale of its own, the paler of two heads would look like the stronger one."""
    of = Model(ModelConfig(10, width=16, layers=3, mixer=("delta_net", "attention", "delta_net"))).eval()
    linear, _softmax, other = (attention_map(of, TOKENS, layer, 0) for layer in range(3))
    both = linear.beside(other).beside(linear)
    assert list(both.heads()) == ["model, layer 0, head 0", "model, layer 2, head 0"]
    np.testing.assert_array_equal(both.heads()["model, layer 2, head 0"].matrix(ERASURE), other.matrix(ERASURE))
    top = max(float(own.table["weight"].abs().max()) for own in (linear, other))
    figure = both.figure().specification
    maps = [mark for panel in figure.panels[:-1] for mark in panel.marks]
    assert figure.columns == 2 and {mark.limits for mark in maps} == {(-top, top)} and len(maps) == 6
    np.testing.assert_array_equal(maps[1].values, other.matrix())
    assert (figure.title, figure.panels[1].title) == ("What each token looks at: model", "layer 2, head 0: attention")
    named = linear.beside(attention_map(of, TOKENS, 0, 0, name="twin")).figure().specification
    assert (named.title, named.panels[1].title) == ("What each token looks at", "twin, layer 0, head 0: attention")
    assert figure.color_bars(figure.columns) == [[0, 1, 2, 3, 4, 5]]
    (bar,) = [trace.colorbar for trace in draw_on_screen(figure).data if trace.type == "heatmap" and trace.showscale is not False]
    assert bar.x == 1 and bar.title.side == "right"
    with pytest.raises(ValueError, match="over the same tokens"):
        linear.beside(attention_map(of, TOKENS[:5], 0, 1))
    with pytest.raises(ValueError, match="choose one head"):
        both.matrix()
    assert np.isfinite(both.select(layer=2).matrix()).all()


@pytest.mark.parametrize("softmax_first", [False, True])
def test_a_softmax_head_leaves_no_free_place_beside_a_linear_one(softmax_first: bool) -> None:
    """It has one map and a delta rule three: in a column each, two places below the softmax map were free."""
    of = Model(ModelConfig(10, width=16, layers=2, mixer=("delta_net", "attention"))).eval()
    linear, softmax = (attention_map(of, TOKENS, layer, 0) for layer in range(2))
    mixed = (softmax.beside(linear) if softmax_first else linear.beside(softmax)).figure().specification
    titles = [panel.title for panel in mixed.panels]
    of_linear = [f"layer 0, head 0: {part}" for part in ("attention", ADDITIVE, ERASURE)]
    assert titles == [*of_linear, "layer 1, head 0: attention", "mean distance looked back"]
    assert all(panel.marks for panel in mixed.panels) and mixed.columns == 3
    assert mixed.color_bars(3) == [[0, 1, 2], [3]] and mixed.panels[3].marks[0].limits == (0, 1)
    names = {"model, layer 0, head 0", "model, layer 1, head 0"}
    assert {line.label for line in mixed.panels[-1].marks} == names
    screen = draw_on_screen(mixed)
    drawn = [trace for trace in screen.data if trace.type == "heatmap"]
    assert [trace.showscale for trace in drawn] == [None, False, False, None]
    assert drawn[0].colorbar.x == screen.layout.xaxis3.domain[1] and drawn[3].colorbar.x == screen.layout.xaxis4.domain[1]
    sides = [trace.colorbar.title.side for trace in (drawn[0], drawn[3])]
    assert sides == ["right", "top"], "beside the second stands the next panel's axis"


@pytest.mark.parametrize(("style", "bars"), [("neurips", 2), ("icml", 2), ("slide", 3)])
def test_no_colour_bar_covers_another_or_a_panel(style: str, bars: int) -> None:
    """In two columns the map of a softmax head stands among those of a linear one, whose common bar covered its own."""
    of = Model(ModelConfig(10, width=16, layers=2, mixer=("delta_net", "attention"))).eval()
    mixed = attention_map(of, TOKENS, 0, 0).beside(attention_map(of, TOKENS, 1, 0)).figure().specification
    sheet = draw_for_print(mixed, style)
    sheet.draw_without_rendering()
    boxes = [axes.get_position() for axes in sheet.axes if axes.axison]
    assert sum(axes.get_label() == "<colorbar>" for axes in sheet.axes) == bars
    assert not [(one, other) for one, other in combinations(boxes, 2) if one.overlaps(other)]


def test_what_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(ValueError, match="shows no attention"):
        attention_map(model("gru"), TOKENS, 0, 0)
    with pytest.raises(IndexError, match="head 7"):
        attention_map(model("delta_net"), TOKENS, 0, 7)
    with pytest.raises(TooLongError, match="512 at most"):
        attention_map(model("delta_net"), torch.zeros(600, dtype=torch.long), 0, 0)
