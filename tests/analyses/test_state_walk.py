"""The states of one head, looked at token by token."""

from __future__ import annotations

import pytest
import torch

from statescope import Model, ModelConfig
from statescope.analyses.geometry.state_geometry import state_geometry
from statescope.analyses.geometry.state_trajectory import follow, state_trajectory
from statescope.analyses.geometry.state_walk import TooLargeError, head_states, state_walk
from statescope.kernels.recurrence import Tap

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
TEXTS = [str(token) for token in TOKENS.tolist()]


def model(mixer: str = "gated_delta_net", layers: int = 2) -> Model:
    return Model(ModelConfig(10, width=16, layers=layers, mixer=mixer)).eval()


def walk(of: Model, layer: int = 1, head: int = 2):
    return state_walk(of, TOKENS, layer, head, name="one", texts=TEXTS)


@pytest.mark.parametrize("mixer", ["gated_delta_net", "mamba2", "gate_loop", "lru", "gru"])
def test_the_states_are_those_of_the_hooks_and_the_parts_balance(mixer: str) -> None:
    of = model(mixer)
    _, cache = of.run_with_cache(TOKENS[None], names_filter=["blocks.1.attn.hook_state"], taps=Tap(every=1))
    head = cache["state", 1].shape[2] - 1
    found = walk(of, head=head)
    torch.testing.assert_close(found.states.flatten(1), cache["state", 1][0, :, head].flatten(1))
    parts = found.parts(5)
    if mixer == "gru":
        assert list(parts) == ["state"]
    else:
        torch.testing.assert_close(found.before(5) + parts["written"] - parts["erased"], parts["state"])
    assert torch.equal(found.before(0), torch.zeros_like(found.states[0]))


def test_a_delta_rule_erases_along_the_key_that_it_writes() -> None:
    """erased = S - decay (I - beta k k^T) S: without a decay it has rank one, and lies along k."""
    of = model("delta_net")
    parts, found = walk(of).parts(6), walk(of)
    key = found.tokens["k"][6]
    beta = of.run_with_cache(TOKENS[None], names_filter=["blocks.1.attn.hook_beta"])[1]["blocks.1.attn.hook_beta"][0, 6, 2]
    expected = beta * torch.outer(key, key @ found.before(6))
    torch.testing.assert_close(parts["erased"], expected, atol=1e-5, rtol=1e-4)


def test_what_a_query_reads_is_what_the_recurrence_gives_out() -> None:
    of = model("delta_net")
    found = walk(of)
    read = found.read(7, "q", 7)
    _, cache = of.run_with_cache(TOKENS[None], names_filter=["blocks.1.attn.hook_recurrence_out"])
    torch.testing.assert_close(
        torch.tensor(read.table["read"].to_numpy()), cache["blocks.1.attn.hook_recurrence_out"][0, 7, 2], atol=1e-5, rtol=1e-4
    )
    assert read.about["cosine"] is None and "the query of token 7" in read.summary()
    key, value, state = found.tokens["k"][4], found.tokens["v"][4], found.states[7]
    at = found.read(7, "k", 4)
    assert at.about["cosine"] == pytest.approx(float(torch.cosine_similarity(state.mT @ key, value, dim=0)), abs=1e-5)


def test_the_walk_agrees_with_the_analyses_of_all_heads() -> None:
    of = model()
    found = walk(of)
    whole = state_geometry({"one": of}, TOKENS[None]).select(layer=1, head=2).table
    for column in ("effective_rank", "norm", "written", "erased", "interference"):
        torch.testing.assert_close(
            torch.tensor(found.geometry().table[column].to_numpy()),
            torch.tensor(whole[column].to_numpy()),
            atol=1e-4,
            rtol=1e-3,
            equal_nan=True,
        )
    path = state_trajectory({"one": of}, TOKENS, texts=TEXTS, labels=TOKENS, label="token").select(layer=1, head=2).table
    mine = found.trajectory(TOKENS.tolist(), "token").table
    assert mine["axis_1"].abs().to_numpy() == pytest.approx(path["axis_1"].abs().to_numpy(), abs=1e-4)
    at = found.at(5)
    assert at.about["effective_rank"] == pytest.approx(whole.sort_values("position")["effective_rank"].iloc[5], rel=1e-3)
    state = at.select(part="state").table.pivot(index="key", columns="value", values="entry").to_numpy()
    assert state == pytest.approx(found.states[5].numpy())


def test_the_axes_of_many_states_are_those_of_some_and_hold_all() -> None:
    states = torch.randn(3000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states[:, 0] *= 20
    table, share = follow(states)
    exact = torch.linalg.svd(states - states.mean(0), full_matrices=False)
    best = float(exact.S[:3].square().sum() / exact.S.square().sum())
    assert best - 0.01 < share <= best + 1e-9 and len(table) == 3000


def test_all_heads_after_a_token_are_those_of_their_walks() -> None:
    of = model()
    every = head_states(of, TOKENS, 1, 5, name="one")
    for head in range(4):
        own = every.select(head=head).table.pivot(index="key", columns="value", values="entry").to_numpy()
        assert own == pytest.approx(walk(of, head=head).states[5].numpy(), abs=1e-6)
    assert len({panel.marks[0].limits for panel in every.specification().panels}) == 1, "one scale for all"


def test_what_cannot_be_walked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no state"):
        walk(model("attention"))
    with pytest.raises(IndexError, match="head 9"):
        walk(model(), head=9)
    with pytest.raises(IndexError, match="position 8"):
        walk(model()).at(8)
    with pytest.raises(ValueError, match="3 entries for 8"):
        state_walk(model(), TOKENS, 0, 0, name="one", texts=["a", "b", "c"])
    monkeypatch.setattr("statescope.analyses.geometry.state_walk.BUDGET", 1000)
    with pytest.raises(TooLargeError, match="over the budget"):
        walk(model())
