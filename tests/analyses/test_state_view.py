"""The walk of a state as one figure that moves by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from statescope import Model, ModelConfig, state_view

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(ModelConfig(10, width=16, layers=2, mixer="delta_net")).eval()


def test_each_frame_is_the_state_after_its_token_on_one_scale(model: Model) -> None:
    view = state_view(model, TOKENS, 1, 2)
    figure = view.to_plotly()
    assert [frame.name for frame in figure.frames] == [str(position) for position in range(8)]
    for position in (0, 5):
        state = figure.frames[position].data[0]
        np.testing.assert_allclose(np.asarray(state.z, float), view.walk.states[position], atol=1e-6)
        singular = next(trace for trace in figure.frames[position].data if trace.type == "scatter")
        np.testing.assert_allclose(singular.y, torch.linalg.svdvals(view.walk.states[position].double()), atol=1e-6)
    assert len(figure.data) == len(figure.frames[0].data)
    limits = {(trace.zmin, trace.zmax) for trace in figure.data if trace.type == "heatmap"}
    assert limits == {(-view.walk.reach, view.walk.reach)}
    [span] = [figure.layout[name].range for name in figure.layout if name.startswith("yaxis") and figure.layout[name].range]
    assert span[0] == 0 and span[1] > max(float(max(trace.y)) for frame in figure.frames for trace in frame.data[-1:])
    assert [list(step.args[0]) for step in figure.layout.sliders[0].steps] == [[str(position)] for position in range(8)]


def test_it_is_shown_in_a_notebook_and_saved_as_a_page_of_its_own(model: Model, tmp_path: Path) -> None:
    view = state_view(model, TOKENS)
    bundle = view._repr_mimebundle_()
    assert len(json.loads(json.dumps(bundle))["application/vnd.plotly.v1+json"]["frames"]) == 8
    page = view.save(tmp_path / "state.html").read_text()
    assert "Plotly.addFrames" in page and 'src="http' not in page
    with pytest.raises(ValueError, match="saved as .html"):
        view.save(tmp_path / "state.pdf")


def test_of_many_tokens_some_are_shown_and_the_last_one(model: Model) -> None:
    view = state_view(model, torch.arange(600) % 10)
    assert len(view.shown) <= 257 and view.shown[-1] == 599 and "600 tokens" in repr(view)


def test_text_needs_a_tokenizer(model: Model) -> None:
    with pytest.raises(ValueError, match="read_tokenizer"):
        state_view(model, "some text")
