"""Lenses against their definitions in float64: what is read, fitted and trained is what the equations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_models import FOREIGN
from torch import Tensor

from statescope import Edit, Model, ModelConfig, load
from statescope.lenses import Lens, LogitLens, ShortcutLens, TunedLens, read_states, read_with_lens, score_lenses
from statescope.mixers import GRU, Attention, GatedDeltaNet, LinearAttention
from statescope.probe.errors import UnknownNameError
from statescope.probe.files import DamagedFileError
from statescope.probe.hooks.cache import NotInThisModelError
from statescope.probe.lenses.fitters import divergence
from statescope.probe.lenses.lens import LensError, Translator
from statescope.probe.results.result import Result

V, W = 13, 16
STATES = "blocks.*.attn.hook_state"


def small(mixer: Any = None, **changes: Any) -> Model:
    config = ModelConfig(**{"vocabulary": V, "width": W, "layers": 3, "mixer": mixer or GatedDeltaNet(heads=2)} | changes)
    return Model(config).double().eval()


def tokens_of(count: int, length: int = 10, seed: int = 0) -> Tensor:
    return torch.randint(0, V, (count, length), generator=torch.Generator().manual_seed(seed))


def test_the_logit_lens_is_the_models_own_unembedding() -> None:
    model, tokens = small(), tokens_of(4)
    lens = LogitLens().fit(model, tokens)
    logits, cache = model.run_with_cache(tokens)
    for layer in range(3):
        said = lens.logits(model, f"blocks.{layer}.hook_resid_post", cache["resid_post", layer])
        normed = cache["resid_post", layer] / (cache["resid_post", layer].square().mean(-1, keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(said, (normed * model.ln_final.weight) @ model.W_U)
    scores = score_lenses(model, lens, tokens).table
    assert abs(scores["divergence"].iloc[-1]) < 1e-12 and scores["agreement"].iloc[-1] == 1
    own, said = logits.log_softmax(-1), lens.logits(model, "blocks.0.hook_resid_post", cache["resid_post", 0]).log_softmax(-1)
    expected = (own.exp() * (own - said)).sum(-1)
    assert scores["divergence"].iloc[0] == pytest.approx(float(expected.mean()))
    mean = own.exp().mean((0, 1))
    constant = (own.exp() * (own - mean.log())).sum(-1).mean()
    assert scores["constant"].iloc[0] == pytest.approx(float(constant))
    other = (mean + 0.01) / (mean + 0.01).sum()  # any other constant is worse
    assert float((own.exp() * (own - other.log())).sum(-1).mean()) > float(constant)


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_post", "blocks.1.attn.hook_state"])
def test_the_shortcut_is_least_squares(hook: str) -> None:
    model, tokens = small(), tokens_of(40)
    lens = ShortcutLens(penalty=0, batch_size=7).fit(model, tokens, [hook])
    _, cache = model.run_with_cache(tokens, names_filter=[hook, "blocks.2.hook_resid_post"], taps="all")
    x = cache[hook].flatten(2).flatten(0, 1).numpy()
    y = cache["blocks.2.hook_resid_post"].flatten(0, 1).numpy()
    solved = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    made = lens.stream(hook, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(made, np.c_[x, np.ones(len(x))] @ solved, atol=1e-6)
    error = ((made - y) ** 2).mean()
    assert error < ((x[:, : y.shape[1]] - y) ** 2).mean()  # the identity


def test_the_shortcut_from_a_hook_to_itself_is_the_identity() -> None:
    model, tokens = small(), tokens_of(40)
    name = "blocks.1.hook_resid_post"
    weight = ShortcutLens(target=name).fit(model, tokens, [name]).translators[name].weight
    assert weight is not None
    torch.testing.assert_close(weight, torch.eye(W).double(), atol=1e-4, rtol=0)


def test_the_tuned_lens_says_more_of_the_model_and_leaves_it_as_it_was() -> None:
    model, tokens, fresh = small(), tokens_of(128), tokens_of(32, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses: list[float] = []
    tuned = TunedLens(steps=80, batch_size=32).fit(model, tokens, advance=lambda step, loss: losses.append(loss))
    lenses = [LogitLens().fit(model, tokens), ShortcutLens().fit(model, tokens), tuned]
    table = score_lenses(model, lenses, fresh).table.set_index(["lens", "layer"])["divergence"]
    assert table["tuned", 0] < 0.9 * table["shortcut", 0] and table["tuned", 0] < 0.9 * table["logit", 0]
    assert abs(table["tuned", 2]) < 0.01 and np.mean(losses[-10:]) < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    weight, bias = tuned.translators["blocks.0.hook_resid_post"].weight, tuned.translators["blocks.0.hook_resid_post"].bias
    assert weight is not None
    turned = Lens("tuned", {"blocks.0.hook_resid_post": Translator(weight.T.contiguous(), bias)})
    assert score_lenses(model, turned, fresh).table["divergence"].iloc[0] > 2 * table["tuned", 0]


def test_states_have_lenses_that_beat_a_constant() -> None:
    model, tokens, fresh = small(layers=1), tokens_of(500), tokens_of(60, seed=1)
    lens = TunedLens(steps=60, batch_size=64).fit(model, tokens, [STATES])
    scores = score_lenses(model, lens, fresh)
    row = scores.table.iloc[0]
    assert row["divergence"] < row["constant"] and row["site"] == "state" and scores.summary() and scores.specification().panels
    with pytest.raises(LensError, match="the logit lens reads the stream alone"):
        LogitLens().fit(model, tokens, [STATES])


def test_divergence_is_that_of_probabilities_and_not_its_reverse() -> None:
    own, logits = torch.randn(5, V).double().log_softmax(-1), 3 * torch.randn(5, V).double()
    p, q = own.exp(), logits.softmax(-1)
    torch.testing.assert_close(divergence(own, logits), (p * (p / q).log()).sum(-1))
    assert (divergence(own, logits) - (q * (q / p).log()).sum(-1)).abs().min() > 1e-3
    masked = torch.full((5, 2), -torch.inf).double()  # tokens that neither ever says
    leaf = logits.clone().requires_grad_()
    more = divergence(torch.cat([own, masked], 1), torch.cat([leaf, masked], 1))
    torch.testing.assert_close(more, divergence(own, logits))
    (gradient,) = torch.autograd.grad(more.sum(), leaf)
    torch.testing.assert_close(gradient, q - p)
    assert divergence(torch.full((1, 2), torch.nan), torch.zeros(1, 2)).isnan().all()


def test_a_lens_is_saved_without_pickle_and_read_back(tmp_path: Path) -> None:
    model, tokens = small(), tokens_of(20)
    for lens in (LogitLens().fit(model, tokens), ShortcutLens().fit(model, tokens)):
        loaded = Lens.load(lens.save(tmp_path / "lens.safetensors"))
        assert loaded.kind == lens.kind and loaded.hooks == lens.hooks and loaded.model == "Model"
        assert score_lenses(model, loaded, tokens).table.equals(score_lenses(model, lens, tokens).table)
    whole = (tmp_path / "lens.safetensors").read_bytes()
    for damaged in (whole[:-9], b"", b"{}"):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="cannot be read as a lens"):
            Lens.load(tmp_path / "damaged")
    broken = Lens("shortcut", {"a": Translator(torch.full((2, 2), torch.nan), None)}).save(tmp_path / "nan.safetensors")
    with pytest.raises(DamagedFileError, match="not finite"):
        Lens.load(broken)
    row, matrix = torch.ones(2), torch.ones(2, 3)
    for translator in (Translator(row, None), Translator(matrix, row), Translator(None, row)):
        with pytest.raises(DamagedFileError, match="no affine map"):
            Lens.load(Lens("shortcut", {"a": translator}).save(tmp_path / "odd.safetensors"))
    (tmp_path / "link").symlink_to(tmp_path / "lens.safetensors")
    with pytest.raises(DamagedFileError, match="it is a link"):
        Lens.load(tmp_path / "link")


@pytest.mark.parametrize("name", ["mamba2", "bamba", "rwkv"])
def test_loaded_models_have_lenses(name: str) -> None:
    model = load(FOREIGN[name]())
    tokens = torch.randint(0, 31, (6, 8))
    lens = LogitLens().fit(model, tokens)
    scores = score_lenses(model, lens, tokens).table
    assert abs(scores["divergence"].iloc[-1]) < 1e-6 < scores["divergence"].iloc[0]
    reading = read_with_lens(model, lens, tokens[:1], positions=[2, 7])
    theirs = model(tokens[:1])[0, 7].softmax(-1)
    row = reading.select(hook="model", position=7).table.iloc[0]
    assert row["says"] == str(int(theirs.argmax())) and row["probability"] == pytest.approx(float(theirs.max()), rel=1e-5)


def test_logits_that_are_capped_have_no_lens() -> None:
    foreign = FOREIGN["recurrent_gemma"]()
    foreign.config.logits_soft_cap = 0.5
    model = load(foreign)
    with pytest.raises(NotInThisModelError, match="scaled or capped"):
        LogitLens().fit(model, torch.randint(0, 31, (2, 6)))
        model.logits_of(torch.zeros(1, 1, 32))


@pytest.mark.parametrize("mixer", [LinearAttention(heads=2), GatedDeltaNet(heads=2)], ids=["linear", "delta"])
def test_an_older_state_is_read_by_the_query_of_now(mixer: Any) -> None:
    """Against a run whose read-out at the query is S_s^T q_t by hand; an edit that goes on does not change what is read."""
    model, tokens = small(mixer, layers=2), tokens_of(1, 7)
    reading = read_states(model, tokens, layers=(0,), query=5, target=3)
    _, cache = model.run_with_cache(tokens, taps="all", names_filter=["*.hook_state", "*.hook_q"])
    states, q = cache["state", 0], cache["q", 0]
    for s in (0, 3, 5):

        def older(read: Tensor, hook: Any, s: int = s) -> Tensor:
            read = read.clone()
            found = torch.einsum("bhkv,bhk->bhv", states[:, s], q[:, 5])
            normalised = found.shape[-1] > read.shape[-1]  # the last column sums the weights
            read[:, 5] = found[..., :-1] / found[..., -1:] if normalised else found
            return read

        said = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_recurrence_out", older)])[0, 5].log_softmax(-1)
        row = reading.select(position=s).table.iloc[0]
        assert row["log_probability"] == pytest.approx(float(said[3]), rel=1e-6)
        propagated = model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [Edit(5, "set", states[:, s])]})[0, 5]
        torch.testing.assert_close(propagated, model(tokens)[0, 5])
    assert abs(reading.select(position=5).table["divergence"].iloc[0]) < 1e-12
    assert reading.select(position=0).table["divergence"].iloc[0] > 1e-6
    by_head = read_states(model, tokens, query=5, by_head=True)
    assert set(by_head.table["head"]) == {0, 1} and by_head.summary() and by_head.specification().panels


def test_readings_are_results_that_are_saved(tmp_path: Path) -> None:
    model, tokens = small(), tokens_of(4)
    lens = LogitLens().fit(model, tokens)
    for result in (score_lenses(model, lens, tokens), read_with_lens(model, lens, tokens[:1]), read_states(model, tokens[:1])):
        assert Result.load(result.save(tmp_path / "result.parquet")).table.equals(result.table)
        assert result.summary() and result.figure().to_matplotlib() is not None


def test_what_lenses_are_not_for_says_so() -> None:
    model, tokens = small(), tokens_of(4)
    lens = LogitLens().fit(model, tokens)
    with pytest.raises(UnknownNameError):
        lens.logits(model, "blocks.7.hook_resid_post", torch.zeros(W))
    with pytest.raises(ValueError, match="one prompt"):
        read_with_lens(model, lens, tokens)
    with pytest.raises(IndexError, match="behind the query"):
        read_states(model, tokens[:1], query=3, positions=[2, 5])
    with pytest.raises(ValueError, match="read-out"):
        read_states(small(GRU(heads=2)), tokens[:1])
    with pytest.raises(ValueError, match="no state to read"):
        read_states(small(Attention(heads=2)), tokens[:1])
    with pytest.raises(LensError, match="reads 16 numbers, got 4"):
        ShortcutLens().fit(model, tokens).stream("blocks.0.hook_resid_post", torch.zeros(4))
