"""The geometry of states against numpy, for every mixer, and on states whose geometry is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from every_mixer import MIXERS, label
from foreign_models import FOREIGN

from statescope import DeltaNet, Model, ModelConfig, load
from statescope.analyses.geometry.singular_values import singular_values
from statescope.analyses.geometry.state_geometry import interference, ranks_of, sizes_made_of, state_geometry
from statescope.analyses.geometry.state_walk import state_walk
from statescope.analyses.models import writes_of
from statescope.probe.errors import UnknownNameError
from statescope.probe.mixers import GRU, Attention, GatedLinearAttention
from statescope.probe.results.figure import Heatmap

CELLS = ("elman", "gru", "lstm", "slstm")


def small(mixer: Any, **changes: Any) -> Model:
    return Model(ModelConfig(**{"vocabulary": 5, "width": 12, "layers": 1, "mixer": mixer} | changes)).double().eval()


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer.kind != "attention"], ids=label)
def test_it_is_that_of_the_states_by_numpy(mixer: Any) -> None:
    model, tokens = small(mixer), torch.randint(0, 5, (2, 7))
    result = state_geometry(model, tokens)
    hook = "blocks.0.attn.hook_state"
    states = model.run_with_cache(tokens, names_filter=hook, taps=list(range(7)))[1][hook].numpy()
    for position in (0, 6):
        state = states[1, position, 0]
        state = state if state.ndim == 2 and mixer.kind not in CELLS else state.reshape(-1, 1)
        singular = np.linalg.svd(state, compute_uv=False)
        share = singular[singular > 0] / singular.sum()
        row = result.table.query(f"sequence == 1 and position == {position} and head == 0").iloc[0]
        assert row["norm"] == pytest.approx(np.linalg.norm(state))
        assert row["rank"] == np.linalg.matrix_rank(state, tol=1e-5 * singular[0])
        assert row["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))
        assert row["stable_rank"] == pytest.approx(np.linalg.norm(state) ** 2 / singular[0] ** 2)
    kept = result.table["erased"].notna().all()
    assert kept == (mixer.kind not in CELLS) and not result.about["scaled"]
    assert result.summary() and result.specification().panels


@pytest.mark.parametrize("name", ["qwen3_next", "mamba", "xlstm", "rwkv"])
def test_a_loaded_model_has_it_too(name: str) -> None:
    result = state_geometry(load(FOREIGN[name]()), torch.randint(0, 31, (2, 6)))
    assert (result.table["norm"] >= 0).all() and result.table["written"].notna().any()


def test_what_is_known_of_a_delta_rule() -> None:
    """One key a token: the first state has rank 1, each token adds at most 1, and a key that is erased is read and taken away."""
    model = small(DeltaNet(heads=2, key_size=4, value_size=6, short_convolution=0))
    tokens = torch.randint(0, 5, (3, 12))
    table = state_geometry(model, tokens).table
    assert (table.loc[table["position"] == 0, "rank"] == 1).all()
    assert (table["rank"] <= np.minimum(table["position"] + 1, 4)).all()
    assert (
        table.loc[table["position"] == 0, "interference"].isna().all()
        and (table.loc[table["position"] == 0, "erased"] == 0).all()
    )
    _, cache = model.run_with_cache(tokens, names_filter=["*.hook_k", "*.hook_beta", "*.hook_state"], taps=list(range(12)))
    k, beta, states = (cache[name, 0] for name in ("k", "beta", "state"))
    read = (k[:, 1:, :, :, None] * states[:, :-1]).sum(-2)  # S^T k
    rows = table.query("position > 0").set_index(["sequence", "position", "head"]).sort_index()
    erased = (beta[:, 1:, :, None] * read).norm(dim=-1)
    share = read.square().sum(-1) / states[:, :-1].square().sum((-2, -1))
    for (b, t, h), value in np.ndenumerate(erased.detach().numpy()):
        assert rows.loc[(b, t + 1, h), "erased"] == pytest.approx(value, rel=1e-6, abs=1e-9)
        assert rows.loc[(b, t + 1, h), "interference"] == pytest.approx(float(share[b, t, h]), rel=1e-6, abs=1e-9)


def test_what_cancels_leaves_no_rank_to_rounding() -> None:
    """One token again and again, beta = 2: the state is 2 k v^T, 0, 2 k v^T, ... and 0 is known to rounding alone."""
    model = small(DeltaNet(heads=2, key_size=4, value_size=6, short_convolution=0)).float()
    rate = model.mixer(0).project_beta = torch.nn.Linear(12, 2)
    torch.nn.init.zeros_(rate.weight), torch.nn.init.constant_(rate.bias, 40.0)
    tokens = torch.full((1, 9), 3)
    table = state_geometry(model, tokens).table.query("head == 0").sort_values("position")
    assert table["rank"].tolist() == [1, 0] * 4 + [1]
    np.testing.assert_allclose(table["effective_rank"], [1, 0] * 4 + [1], atol=1e-6)
    walk = state_walk(model, tokens[0], 0, 0, name="m", texts=["x"] * 9)
    assert walk.geometry().table["rank"].tolist() == table["rank"].tolist()
    decaying = sizes_made_of(
        torch.tensor([4.0, 0.0, 0.0, 1.0]).reshape(1, 4, 1, 1, 1), torch.zeros(1, 4, 1), torch.full((1, 4, 1), 0.5)
    )
    assert decaying.flatten().tolist() == [4.0, 2.0, 1.0, 1.0]


def test_an_empty_state_has_no_rank_and_orthogonal_keys_do_not_interfere() -> None:
    found = ranks_of(torch.stack([torch.zeros(3, 4), torch.eye(3, 4)]).double(), 1e-5)
    assert found["rank"].tolist() == [0, 3] and found["effective_rank"].tolist() == pytest.approx([0, 3])
    assert found["stable_rank"].tolist() == pytest.approx([0, 3]) and found["entropy"].tolist() == pytest.approx([0, np.log(3)])
    before = torch.diag(torch.tensor([3.0, 4.0, 0.0])).double()
    writes = torch.zeros(4, 3, 3).double()
    writes[0, 0], writes[1, 2], writes[2, :2] = 1, 1, torch.eye(3).double()[:2]
    shares = interference(writes, before.expand(4, 3, 3)).tolist()
    assert shares[:3] == pytest.approx([9 / 25, 0, 1]) and np.isnan(shares[3])


def test_a_model_without_a_state_is_refused_and_a_scaled_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.randint(0, 5, (2, 6))
    with pytest.raises(ValueError, match="no layer of this model has a state"):
        state_geometry(small(Attention(heads=2)), tokens)
    both = state_geometry(
        {"a": small(GatedLinearAttention(heads=2)), "b": small((DeltaNet(heads=2), Attention(heads=2)), layers=2)}, tokens
    )
    assert set(zip(both.table["model"], both.table["layer"], strict=True)) == {("a", 0), ("b", 0)}
    assert "writes" in both.summary() and "of the stored" in both.summary()
    for silent in (state_geometry(small(GRU(heads=2)), tokens), state_geometry(small(DeltaNet(heads=2)), tokens[:, :1])):
        assert "nan" not in silent.summary() and "after the last token" in silent.summary()
    doubled = lambda *given: ((layer, 2 * write) for layer, write in writes_of(*given))  # noqa: E731
    monkeypatch.setattr("statescope.analyses.geometry.state_geometry.writes_of", doubled)
    scaled = state_geometry(small(GatedLinearAttention(heads=2)), tokens)
    assert scaled.table["erased"].isna().all() and "kept on a scale of its own" in scaled.summary()


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer.kind != "attention"], ids=label)
def test_singular_values_are_numpys(mixer: Any) -> None:
    model, tokens = small(mixer), torch.randint(0, 5, (2, 5))
    result = singular_values(model, tokens)
    hook = "blocks.0.attn.hook_state"
    state = model.run_with_cache(tokens, names_filter=hook, taps=[3])[1][hook][1, 0, 0].numpy()
    state = state if state.ndim == 2 and mixer.kind not in CELLS else state.reshape(-1, 1)
    own = result.select(sequence=1, position=3, head=0).table.sort_values("index")
    np.testing.assert_allclose(own["value"], np.linalg.svd(state, compute_uv=False), atol=1e-9)
    assert result.summary() and result.specification().panels
    if "blocks.0.attn.hook_transition" in model.hook_dict:
        shown = (
            model.run_with_cache(tokens, names_filter="*.hook_transition")[1]["transition", 0].double().dense()[1, 3, 0].numpy()
        )
        own = singular_values(model, tokens, of="transition").select(sequence=1, position=3, head=0).table
        np.testing.assert_allclose(own["value"], np.linalg.svd(shown, compute_uv=False), atol=1e-9)
    else:
        with pytest.raises(ValueError, match="linear transition"):
            singular_values(model, tokens, of="transition")
    with pytest.raises(UnknownNameError, match="did you mean 'state'"):
        singular_values(model, tokens, of="states")  # type: ignore[arg-type]


def test_figures_show_all_singular_values_by_token_and_what_is_written_above_what_is_erased() -> None:
    """Of 256 tokens: a band with a column each; and two tracks which nothing lies on top of another in."""
    model, tokens = small(DeltaNet(heads=2)), torch.randint(0, 5, (2, 256))
    result = singular_values(model, tokens).select(head=1)
    [band], lines = (panel.marks for panel in result.specification().panels)
    assert isinstance(band, Heatmap) and band.values.shape == (6, 256)
    means = result.table.groupby(["index", "position"])["value"].mean()
    assert band.values[2, 200] == pytest.approx(means[3, 200], rel=1e-12)
    assert [line.label for line in lines] == ["rank 1", "rank 2", "rank 3", "rank 4"]
    geometry = state_geometry(model, tokens).select(head=1)
    _, [held], [written, erased] = (panel.marks for panel in geometry.specification().panels)
    means = geometry.table.groupby("position")[["norm", "written", "erased"]].mean()
    for line, name, sign in ((held, "norm", 1), (written, "written", 1), (erased, "erased", -1)):
        np.testing.assert_allclose(line.y, sign * means[name], rtol=1e-12)
    assert (written.low == 0).all() and (erased.high == 0).all() and (erased.low <= 0).all()
