"""Dictionaries: planted features are found, files are SAELens's own, and what is spliced in is what the equations say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from statescope import Edit, Model, ModelConfig, ProbeSweep, capture
from statescope.dictionaries import L1, BatchTopK, Dictionary, JumpReLU, TopK, read_saelens, score_dictionaries, write_saelens
from statescope.mixers import GatedDeltaNet
from statescope.probe.dictionaries.dictionary import DictionaryError, as_rows, from_rows, sparse
from statescope.probe.dictionaries.trainers import _Jump, _Step
from statescope.probe.files import DamagedFileError
from statescope.probe.results.result import Result

ORACLES = Path(__file__).parent / "oracles" / "saelens"
WIDTH, ATOMS, ACTIVE = 16, 32, 2


def planted(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Samples that are sums of a few of many directions, with a mean and a scale of their own; and the directions."""
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.randn(ATOMS, WIDTH, generator=torch.Generator().manual_seed(7))
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    chosen = torch.rand(count, ATOMS, generator=generator).topk(ACTIVE).indices
    strengths = torch.zeros(count, ATOMS).scatter(1, chosen, 1 + torch.rand(count, ACTIVE, generator=generator))
    return 5 * strengths @ atoms + 3, atoms


def mean_max_cosine(dictionary: Dictionary, atoms: Tensor) -> float:
    rows = dictionary.decoder / dictionary.decoder.norm(dim=1, keepdim=True)
    return float((atoms @ rows.T).max(1).values.mean())


def explained(dictionary: Dictionary, x: Tensor) -> float:
    return 1 - float((x - dictionary(x)).square().sum() / (x - x.mean(0)).square().sum())


TRAINERS = {
    "topk": TopK(features=48, k=ACTIVE, steps=500),
    "batch_topk": BatchTopK(features=48, k=ACTIVE, steps=500),
    "jump_relu": JumpReLU(features=48, steps=1000),
    "l1": L1(features=48, penalty=2.0, steps=800),
}


@pytest.mark.parametrize("name", list(TRAINERS))
def test_planted_features_are_found(name: str) -> None:
    """The decoder's rows are the planted directions, and as many are active as were planted; a random dictionary has neither."""
    samples, atoms = planted(4000)
    fresh, _ = planted(1000, seed=1)
    dictionary = TRAINERS[name].fit(samples, hook="h")
    assert mean_max_cosine(dictionary, atoms) > 0.9
    active = float((dictionary.encode(fresh) > 0).double().sum(1).mean())
    assert ACTIVE * 0.75 <= active <= ACTIVE * (1.01 if name == "topk" else 3)
    assert explained(dictionary, fresh) > (0.7 if name == "l1" else 0.88)
    rows = torch.randn(48, WIDTH, generator=torch.Generator().manual_seed(3))
    rows = rows / rows.norm(dim=1, keepdim=True)
    random = Dictionary(rows.T.contiguous(), torch.zeros(48), rows, samples.mean(0), k=ACTIVE, hook="h")
    assert mean_max_cosine(random, atoms) < 0.75 and explained(random, fresh) < 0.7


def test_a_threshold_is_that_of_all_samples_in_whatever_order_they_come() -> None:
    """The first half hardly varies: k features fire in the mean over both, not over what comes first."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(6000, 6, generator=generator) * torch.cat([torch.full((3000, 1), 0.01), torch.full((3000, 1), 3.0)])
    dictionary = BatchTopK(features=16, k=3, steps=60).fit(samples, hook="h")
    assert float((dictionary.encode(samples) > 0).double().sum(1).mean()) == pytest.approx(3, abs=0.2)


def test_the_same_seed_gives_the_same_dictionary() -> None:
    samples, _ = planted(300)
    first, again, other = (TopK(features=20, steps=5, seed=seed).fit(samples).decoder for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


class Handicapped(L1, kind="handicapped"):
    """Half of the features begin so far below 0 that no gradient of the error reaches them."""

    def _start(self, *sizes: Any) -> Any:
        weights = super()._start(*sizes)
        weights.encoder_bias.data[: self.features // 2] = -6
        return weights


def test_dead_features_are_brought_back() -> None:
    samples, _ = planted(4000)
    alive = []
    for revival in (0.0, 1 / 32):
        trainer = Handicapped(features=48, steps=400, learning_rate=0.02, dead_after=2000, revival=revival)
        dictionary = trainer.fit(samples, hook="h")
        alive.append(int((dictionary.encode(samples) > 0).any(0)[:24].sum()))
    assert alive[0] == 0 and alive[1] > 6


def test_a_dictionary_is_its_equations_in_the_scale_of_the_data() -> None:
    """By numpy, for each kind of sparsity; k as a threshold, or features not measured by their rows, is another dictionary."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = (torch.randn(5, 8, generator=generator).double(), torch.randn(8, 5, generator=generator).double())
    bias, shift, x = (torch.randn(size, generator=generator).double() for size in ((8,), (5,), (20, 5)))
    pre = (x.numpy() - shift.numpy()) @ encoder.numpy() + bias.numpy()
    relu = Dictionary(encoder, bias, decoder, shift)
    np.testing.assert_allclose(relu.encode(x), np.maximum(pre, 0))
    np.testing.assert_allclose(relu(x), np.maximum(pre, 0) @ decoder.numpy() + shift.numpy())
    threshold = torch.full((8,), 0.7).double()
    np.testing.assert_allclose(Dictionary(encoder, bias, decoder, shift, threshold=threshold).encode(x), pre * (pre > 0.7))
    kept = np.sort(pre, axis=1)[:, -3][:, None]
    top = Dictionary(encoder, bias, decoder, shift, k=3)
    np.testing.assert_allclose(top.encode(x), np.maximum(pre, 0) * (pre >= kept))
    norms = np.linalg.norm(decoder.numpy(), axis=1)
    by_norm = Dictionary(encoder, bias, decoder, shift, k=3, by_norm=True)
    scaled = pre * norms
    features = np.maximum(scaled, 0) * (scaled >= np.sort(scaled, axis=1)[:, -3][:, None])
    np.testing.assert_allclose(by_norm(x), (features / norms) @ decoder.numpy() + shift.numpy())
    assert float((by_norm(x) - top(x)).abs().max()) > 1e-3


def test_thresholds_learn_through_the_rectangle() -> None:
    z = torch.tensor([[0.95, 1.2, 0.2, 1.04]], dtype=torch.float64)
    threshold = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (by_step,) = torch.autograd.grad(_Step.apply(z, threshold, 0.2).sum(), threshold)
    torch.testing.assert_close(by_step, torch.tensor([-5.0, 0, 0, -5.0]).double())
    (by_jump,) = torch.autograd.grad(_Jump.apply(z, threshold, 0.2).sum(), threshold)
    torch.testing.assert_close(by_jump, torch.tensor([-5.0, 0, 0, -5.0]).double())


@pytest.mark.parametrize("name", ["standard", "topk", "jumprelu", "transcoder"])
def test_files_that_saelens_wrote_are_read_and_written(name: str, tmp_path: Path) -> None:
    """The library's own files, with what it encodes and decodes with them (sae-lens 6.54.12)."""
    oracle = load_file(ORACLES / name / "oracle.safetensors")
    dictionary = read_saelens(ORACLES / name)
    torch.testing.assert_close(dictionary.encode(oracle["x"]), oracle["features"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dictionary(oracle["x"]), oracle["output"], rtol=1e-5, atol=1e-6)
    assert dictionary.hook == "blocks.1.hook_resid_post" and dictionary.about["sae_lens_version"] == "6.54.12"
    again = read_saelens(write_saelens(dictionary, tmp_path))
    assert torch.equal(again(oracle["x"]), dictionary(oracle["x"])) or name == "transcoder"
    theirs, ours = (json.loads((folder / "cfg.json").read_text()) for folder in (ORACLES / name, tmp_path))
    if name != "transcoder":  # theirs names no hook that it gives
        assert {key: ours[key] for key in theirs if key not in ("metadata",)} == {
            key: value for key, value in theirs.items() if key != "metadata"
        }
        weights, held = load_file(ORACLES / name / "sae_weights.safetensors"), load_file(tmp_path / "sae_weights.safetensors")
        assert set(weights) == set(held) and all(torch.equal(weights[key], held[key]) for key in weights)


def test_files_that_are_none_say_so(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_saelens(tmp_path)
    write_saelens(read_saelens(ORACLES / "topk"), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    for change, error, reason in (
        ({"architecture": "gated"}, DictionaryError, "'gated'"),
        ({"normalize_activations": "layer_norm"}, DictionaryError, "layer_norm"),
        ({"k": 99}, DamagedFileError, "k = 99"),
    ):
        (tmp_path / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(error, match=reason):
            read_saelens(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    (tmp_path / "sae_weights.safetensors").write_bytes((ORACLES / "topk" / "sae_weights.safetensors").read_bytes()[:-5])
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_saelens(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    (tmp_path / "sae_weights.safetensors").symlink_to(ORACLES / "topk" / "sae_weights.safetensors")
    with pytest.raises(DamagedFileError, match="it is a link"):
        read_saelens(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    weights = load_file(ORACLES / "topk" / "sae_weights.safetensors")
    save_file(weights | {"W_enc": torch.zeros(3)}, tmp_path / "sae_weights.safetensors")
    for change in ({}, {"k": "many"}, {"metadata": [1]}):
        (tmp_path / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(DamagedFileError):
            read_saelens(tmp_path)


@pytest.mark.parametrize(
    ("change", "weights"),
    [
        *(({"k": k}, {}) for k in (True, 2.0, "2", None, 0, [2])),
        *(({name: "false"}, {}) for name in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm")),
        *(({name: 10**9}, {}) for name in ("d_in", "d_sae")),
        *(({"metadata": about}, {}) for about in ("x", {"hook_name": 5}, {"hook_name": ["a"]})),
        *(({}, {name: torch.ones(())}) for name in ("W_enc", "W_dec", "b_enc", "b_dec")),
        *(({}, {name: value}) for name in ("W_enc", "b_dec") for value in ("long", "cfloat")),
    ],
)
def test_settings_and_weights_of_another_kind_are_refused(
    change: dict[str, Any], weights: dict[str, Any], tmp_path: Path
) -> None:
    """A switch that is text, a complex weight: nothing is taken for what it is not."""
    write_saelens(read_saelens(ORACLES / "topk"), tmp_path)
    own = load_file(tmp_path / "sae_weights.safetensors")
    changed = {name: getattr(own[name], value)() if isinstance(value, str) else value for name, value in weights.items()}
    save_file(own | changed, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(json.loads((tmp_path / "cfg.json").read_text()) | change))
    with pytest.raises(DamagedFileError, match=str(tmp_path)):
        read_saelens(tmp_path)


@pytest.mark.parametrize("sparsity", [{"k": 2}, {"threshold": torch.full((7,), 0.3, dtype=torch.float64)}, {}])
def test_units_of_the_decoder_rows_are_kept(sparsity: dict[str, Any], tmp_path: Path) -> None:
    """`by_norm`: the features, what is written to a file, and what one feature adds to another are those of the same map."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    own = Dictionary(draw(5, 7), draw(7), 3 * draw(7, 5), draw(5), by_norm=True, hook="a", **sparsity)
    x = draw(20, 5)
    plain = own.in_own_units()
    assert not plain.by_norm
    torch.testing.assert_close(plain.encode(x), own.encode(x))
    torch.testing.assert_close(plain(x), own(x))
    again = read_saelens(write_saelens(own, tmp_path))
    torch.testing.assert_close(again.encode(x), own.encode(x), rtol=1e-5, atol=1e-5, check_dtype=False)
    later = Dictionary(draw(5, 3), draw(3), 2 * draw(3, 5), draw(5), by_norm=True, hook="b")
    features = torch.eye(7, dtype=torch.float64)
    moved = later.pre_activations(own.decode(features)) - later.pre_activations(own.decode(0 * features))
    torch.testing.assert_close(own.connections(later), moved)
    with pytest.raises(DictionaryError, match="not by both"):
        Dictionary(draw(5, 7), draw(7), draw(7, 5), draw(5), k=2, threshold=draw(7))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    made = Model(ModelConfig(vocabulary=11, width=12, layers=2, mixer=GatedDeltaNet(heads=2))).double().eval()
    made.unembed.weight.data.mul_(4)
    return made


def tokens_of(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 11, (count, 8), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hook", ["blocks.0.hook_resid_post", "blocks.0.attn.hook_state"])
def test_scores_are_those_of_the_model_run_with_the_reconstruction(model: Model, hook: str) -> None:
    """Against a run by hand: a stream is replaced, and of a state what each token reads; the state itself goes on as it was."""
    tokens, seen = tokens_of(12), tokens_of(80, 1)
    kept = capture(model, seen, [hook])
    samples = kept.features(hook)
    dictionary = TopK(features=64, k=4, steps=150).fit(samples, hook=hook)
    scores = score_dictionaries(model, dictionary, tokens, batch_size=5)
    assert list(scores.table["control"]) == [False, True, True]
    row = scores.table.iloc[0]
    _, cache = model.run_with_cache(tokens, taps="all")
    rows = cache[hook].flatten(2)
    made = dictionary(rows)
    spread = (rows - rows.flatten(0, 1).mean(0)).square().sum()
    assert row["explained"] == pytest.approx(1 - float((rows - made).square().sum() / spread), rel=1e-6)
    if hook.endswith("state"):
        states = made.view(cache[hook].shape)
        q = cache["q", 0]
        read = torch.einsum("bthkv,bthk->bthv", states, q)
        out = model.run_with_hooks(tokens, fwd_hooks=[("blocks.0.attn.hook_recurrence_out", lambda value, hook: read)])
        gone_on = model.run_with_edits(tokens, {hook: [Edit(p, "set", states[:, p]) for p in range(8)]})
        assert not torch.allclose(gone_on, out)
    else:
        out = model.run_with_hooks(tokens, fwd_hooks=[dictionary.splice()])
    loss = -out[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None]).mean()
    assert row["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert row["mean_loss"] > row["own_loss"] or np.isnan(row["recovered"])
    assert row["active"] <= 4 and scores.summary() and scores.specification().panels


def test_a_perfect_dictionary_recovers_all_and_controls_are_what_they_say(model: Model, tmp_path: Path) -> None:
    hook = "blocks.0.hook_resid_post"
    eye = torch.eye(12).double()
    both = torch.cat([eye, -eye])
    perfect = Dictionary(both.T.contiguous(), torch.zeros(24).double(), both, torch.zeros(12).double(), hook=hook)
    scores = score_dictionaries(model, {"perfect": perfect}, tokens_of(10))
    row = scores.select(dictionary="perfect").table.iloc[0]
    assert row["explained"] == pytest.approx(1) and row["loss"] == pytest.approx(row["own_loss"])
    assert row["active"] == pytest.approx(12) and row["dead"] == 0
    axes = scores.select(dictionary="principal axes, beside perfect").table.iloc[0]
    assert axes["explained"] == pytest.approx(1)  # as many axes as numbers: no sparser than the space
    loaded = Result.load(scores.save(tmp_path / "scores.parquet"))
    assert loaded.table.equals(scores.table) and loaded.figure().to_matplotlib() is not None


def test_a_transcoder_imitates_a_sublayer_and_connects_without_an_input(model: Model) -> None:
    names = ["blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"]
    kept = capture(model, tokens_of(200), names)
    x, y = (kept.features(name) for name in names)
    transcoder = TopK(features=96, k=12, steps=600).fit(x, y, hook=names[0], target=names[1])
    assert transcoder.is_transcoder and explained_from(transcoder, x, y) > 0.5
    scores = score_dictionaries(model, transcoder, tokens_of(8, 2))
    assert scores.table["hook"].eq(names[1]).all()
    out = model.run_with_hooks(tokens_of(8, 2), fwd_hooks=transcoder.splice_transcoder())
    loss = -out[:, :-1].log_softmax(-1).gather(2, tokens_of(8, 2)[:, 1:, None]).mean()
    assert scores.table["loss"].iloc[0] == pytest.approx(float(loss), rel=1e-6)
    with pytest.raises(DictionaryError, match="splice_transcoder"):
        transcoder.splice()
    later = TopK(features=20, k=3, steps=5).fit(y, hook=names[1])
    features, bias = transcoder.encode(x), transcoder.decoder_bias @ later.encoder + later.encoder_bias
    exact = later.pre_activations(transcoder.decode(features))  # attribution sums to the pre-activation
    torch.testing.assert_close(features @ transcoder.connections(later) + bias, exact, rtol=1e-4, atol=1e-4)
    with pytest.raises(DictionaryError, match="not one stream"):
        transcoder.connections(TopK(features=4, k=1, steps=1).fit(torch.randn(9, 3)))


def explained_from(dictionary: Dictionary, x: Tensor, y: Tensor) -> float:
    return 1 - float((y - dictionary(x)).square().sum() / (y - y.mean(0)).square().sum())


def test_features_are_probed_like_activations(model: Model) -> None:
    tokens = tokens_of(60)
    hook = "blocks.0.attn.hook_state"
    kept = capture(model, tokens, [hook], positions=[3, 7], labels={"last": tokens % 3})
    dictionary = TopK(features=40, k=6, steps=200).fit(kept.features(hook), hook=hook)
    featured = dictionary.features_of(kept)
    assert featured.hooks == [f"{hook}.features"] and featured.activation(featured.hooks[0]).shape == (60, 2, 40)
    found = featured.features(featured.hooks[0])
    assert found.dtype == torch.float64  # as the activation and the dictionary are
    torch.testing.assert_close(found, dictionary.encode(kept.features(hook)), rtol=1e-12, atol=1e-12)
    assert len(ProbeSweep(permutations=0, resamples=10).run(*featured.split()).table) == 1
    direction = dictionary.direction(3)
    torch.testing.assert_close(direction.vector, dictionary.decoder[3])


def test_complex_and_headed_states_are_rows_and_back() -> None:
    value = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    for width in (40, 10):
        assert torch.equal(from_rows(as_rows(value, width), value), value)
    with pytest.raises(DictionaryError, match="neither by position nor by head"):
        as_rows(value, 7)
    assert torch.equal(sparse(torch.tensor([[-1.0, 2, 3]]), 2, None), torch.tensor([[0.0, 2, 3]]))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (torch.zeros(4, 3), "alike"),
        (torch.full((4, 3), torch.nan), "not finite"),
        (torch.zeros(4, 3, dtype=torch.complex64), "complex"),
        (torch.zeros(4), r"\[N, D\]"),
    ],
)
def test_samples_that_cannot_be_taken_apart(samples: Tensor, reason: str) -> None:
    with pytest.raises(DictionaryError, match=reason):
        TopK(steps=1).fit(samples)


def test_a_dictionary_of_shapes_that_disagree_is_refused(model: Any) -> None:
    with pytest.raises(DictionaryError, match="encoder_bias"):
        Dictionary(torch.zeros(3, 4), torch.zeros(3), torch.zeros(4, 3), torch.zeros(3))
    with pytest.raises(DictionaryError, match="does not have"):
        score_dictionaries(model, Dictionary(torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), hook="no"), tokens_of(2))
