"""Checkpoints of flash-linear-attention against the library's own run of them, on Triton's interpreter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from every_analysis import check_allowed, check_analyses, check_behaviour, check_directions, check_operators
from every_method import check_methods
from fla_models import LAYERS, MODELS, OF_SOFTMAX, STEPS, T, V, made_layer, made_model, write_models
from opened_app import charts, open_app
from safetensors.torch import load_file

from statescope import Edit, hooked, load
from statescope.analyses.models import shows, transitions_of
from statescope.probe.errors import UnknownNameError
from statescope.probe.loaders import ForeignModel, UnknownArchitectureError
from statescope.probe.loaders.agreement import check_agreement
from statescope.probe.loaders.foreign import adapters

pytestmark = pytest.mark.filterwarnings(
    "ignore:Triton is not supported on current platform:UserWarning",
    "ignore:According to Bo, you are using a potentially buggy FLA implementation of RWKV:UserWarning",
    "ignore:The correction_factor is set to 1 by default:UserWarning",
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning",
)
STATE = "blocks.0.attn.hook_state"
LAYER_HOOKS = {"simple GLA": ("log_decay",), "ReBased": ()}
OF_MAMBA = {"num_heads": 4, "head_dim": 16, "state_size": 8}
REFUSED: dict[str, dict[str, Any]] = {
    "MesaNet": {"num_heads": 2, "head_dim": 16},
    "LogLinearMamba2": OF_MAMBA | {"n_groups": 1},
    "Mamba3": OF_MAMBA,
    "Mom": {"num_heads": 2, "head_dim": 16},
    "PaTHAttention": {"num_heads": 2},
}


def _first_output(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = layer(x)
    return out[0] if isinstance(out, tuple) else out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fla")
    write_models(made)
    return made


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, folder: Path) -> ForeignModel:
    loaded = load(folder / request.param)
    assert isinstance(loaded, ForeignModel)
    return loaded


@pytest.fixture
def truth(model: ForeignModel, folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{type(model.foreign).__name__.removesuffix('ForCausalLM')}.safetensors")


def test_logits_are_the_librarys(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(truth["tokens"]), truth["logits"], rtol=1e-4, atol=1e-4)
    assert truth["logits"].std() > 0.1


def test_states_are_those_of_the_librarys_recurrence_token_by_token(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    _, cache = model.run_with_cache(truth["tokens"], names_filter=STATE, taps=list(range(STEPS)))
    assert cache[STATE].shape == truth["states"].shape
    for t in range(STEPS):
        found, expected = cache[STATE][:, t], truth["states"][:, t]
        assert (found - expected).norm() <= 1e-4 * expected.norm(), t


def test_states_are_seen_while_the_librarys_own_kernels_generate(truth: dict[str, torch.Tensor]) -> None:
    """What `observe` saw of a run of the library's own, token by token from its cache, against the states in that cache."""
    torch.testing.assert_close(truth["observed"], truth["states"], rtol=1e-4, atol=1e-5)
    assert float((truth["observed"][:, 1:] - truth["states"][:, :-1]).norm()) > 1e-2  # one token too early


def test_an_edit_changes_what_comes_after_it(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        plain = model(truth["tokens"])
        edited = model.run_with_edits(truth["tokens"], {STATE: [Edit(8, "scale", torch.tensor(0.3))]})
    torch.testing.assert_close(edited[:, :9], plain[:, :9], rtol=1e-5, atol=1e-6)
    assert (edited[:, 9] - plain[:, 9]).abs().max() > 1e-6


def test_every_hook_fires_with_the_declared_axes(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    names = [name for name in model.hook_dict if name.startswith("blocks.0.attn")]
    _, cache = model.run_with_cache(truth["tokens"], names_filter=names, taps=[3, 9])
    sizes = {"batch": 2, "position": T, "query": T, "source": T, "tap": 2} | model.mixer(0).axis_sizes
    for name in names:
        value, point = cache[name], model.points[name]
        if isinstance(value, torch.Tensor):
            several = sizes.get("householder", 1) > 1
            axes = [axis.strip("[]") for axis in point.axes.split() if several or not axis.startswith("[")]
            assert tuple(value.shape) == tuple(sizes[axis] for axis in axes), name


def test_effective_attention_times_values_is_the_read_out(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    of_channels = "blocks.0.attn.hook_x" in model.hook_dict
    names = [f"blocks.0.attn.hook_{part}" for part in ("effective_attention", "x" if of_channels else "v", "recurrence_out")]
    if names[0] not in model.hook_dict:
        with pytest.raises(UnknownNameError, match="has no hook_effective_attention"):
            model.run_with_cache(truth["tokens"], names_filter=names[0])
        return
    _, cache = model.run_with_cache(truth["tokens"], names_filter=names)
    mixing, values, read = (cache[name] for name in names)
    equation = "bhqsc,bshc->bqhc" if of_channels else "bhqs,bshv->bqhv" if values.ndim == 4 else "bhqsn,bshnv->bqhv"
    torch.testing.assert_close(torch.einsum(equation, mixing, values), read, rtol=1e-4, atol=1e-4)


def test_no_transition_leaves_what_its_family_allows(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    said = {layer: model.allowed_spectrum(layer) for layer in range(model.layers)}
    for layer, transition in transitions_of(model, truth["tokens"]) if shows(model, "attn.hook_transition") else ():
        allowed = said[layer]
        if allowed is None:
            assert model.mixer(layer).title == "Comba"
        else:
            check_allowed(allowed, transition)


def test_every_analysis_takes_it(model: ForeignModel, truth: dict[str, torch.Tensor]) -> None:
    check_analyses(model, truth["tokens"][:, :6])
    check_behaviour(model)
    check_directions(model, V)
    check_operators(model, truth["tokens"][:, :4])
    check_methods(model, truth["tokens"][:, :6], model.mixer(0).points)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_leaves_the_states(model: ForeignModel, truth: dict[str, torch.Tensor], side: str) -> None:
    tokens = truth["tokens"]
    padding = torch.zeros(2, 5, dtype=torch.long)
    parts = (padding, tokens) if side == "left" else (tokens, padding)
    padded = torch.cat(parts, dim=1)
    mask = torch.cat([torch.zeros_like(part) if part is padding else torch.ones_like(part) for part in parts], dim=1)
    shift = 5 if side == "left" else 0
    for layer in range(2):
        hook = f"blocks.{layer}.attn.hook_state"
        _, plain = model.run_with_cache(tokens, names_filter=hook, taps=[4, T - 1])
        _, shifted = model.run_with_cache(padded, names_filter=hook, taps=[4 + shift, T - 1 + shift], attention_mask=mask)
        torch.testing.assert_close(shifted[hook], plain[hook], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OF_SOFTMAX)
def test_attention_is_the_librarys_and_its_patterns_make_z(name: str, folder: Path) -> None:
    model, truth = load(folder / name), load_file(folder / f"{name}.safetensors")
    names = [f"*.attn.hook_{part}" for part in ("v", "pattern", "z", "log_decay")]
    with torch.no_grad():
        logits, cache = model.run_with_cache(truth["tokens"], names_filter=names)
        torch.testing.assert_close(logits, truth["logits"], rtol=1e-4, atol=1e-4)
        mixed = torch.einsum("bhqs,bshv->bqhv", cache["pattern", 1], cache["v", 1])
        torch.testing.assert_close(mixed, cache["z", 1], rtol=1e-4, atol=1e-5)
        assert cache["pattern", 1].triu(1).abs().max() == 0 and cache["log_decay", 1].max() <= 0
        remembering = model.run_with_hooks(
            truth["tokens"], fwd_hooks=[("blocks.0.attn.hook_log_decay", lambda value, hook: 0 * value)]
        )
        assert (remembering - logits).abs().max() > 1e-4
        padded = torch.cat([torch.zeros(2, 4, dtype=torch.long), truth["tokens"]], dim=1)
        mask = (torch.arange(T + 4) >= 4).long().expand(2, -1)
        torch.testing.assert_close(model(padded, attention_mask=mask)[:, 4:], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_without_a_model_of_the_librarys_is_hooked(name: str, folder: Path) -> None:
    layer, truth = made_layer(name), load_file(folder / f"{name}.safetensors")
    model = hooked(layer, truth["x"][:, :4], run=_first_output)
    with torch.no_grad():
        out, cache = model.run_with_cache(truth["x"], taps=[STEPS - 1, T - 1], names_filter="*.attn.*")
        edited = model.run_with_edits(truth["x"], {STATE: [Edit(STEPS, "scale", torch.tensor(0.0))]})
    torch.testing.assert_close(out, truth["out"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(edited[:, : STEPS + 1], out[:, : STEPS + 1])
    assert (edited - out).abs().max() > 1e-4
    if "state" in truth:
        torch.testing.assert_close(cache["state", 0][:, 0], truth["state"], rtol=1e-4, atol=1e-5)
    decay = cache["log_decay", 0] if "log_decay" in LAYER_HOOKS[name] else torch.zeros(2, T, 2)
    weight = decay[:, STEPS:].flip(1).cumsum(1).flip(1)  # what each later token leaves of the earlier state
    values = cache["v", 0] if name == "simple GLA" else torch.cat([cache["v", 0], torch.ones(2, T, 2, 1)], dim=-1)
    left = torch.cat([weight[:, 1:], torch.zeros(2, 1, 2)], dim=1).exp()
    later = torch.einsum("bth,bthk,bthv->bhkv", left, cache["k", 0][:, STEPS:], values[:, STEPS:])
    moved = weight[:, 0].exp()[..., None, None] * cache["state", 0][:, 0] + later
    torch.testing.assert_close(cache["state", 0][:, 1], moved, rtol=1e-4, atol=1e-5)


def test_the_chunked_form_of_rebased_is_the_librarys_own_reference() -> None:
    """Their chunked kernel adds 1e-10 to the normaliser, where their parallel one adds eps."""
    layer, x = made_layer("ReBased"), torch.randn(2, T, 32)
    layer.mode, layer.eps = "chunk", 1e-10
    with torch.no_grad():
        out = hooked(layer, x[:, :4], run=_first_output)(x)
        layer.feature_map.use_gamma = layer.feature_map.use_beta = False  # whose norm in torch takes gamma and beta as well
        torch.testing.assert_close(out, layer.forward_reference(x), rtol=1e-4, atol=1e-5)


def test_families_that_are_refused_say_why_of_the_librarys_own_models(tmp_path: Path) -> None:
    """Loaded already, and from a folder that the library saved."""
    for name, settings in REFUSED.items():
        theirs = made_model(name, settings)
        for number, given in enumerate((theirs, tmp_path / name)):
            if number:
                theirs.save_pretrained(given)
            with pytest.raises(UnknownArchitectureError, match=f"{name}ForCausalLM is refused for its .*: .{{20}}"):
                load(given)
    refused = {one.modules[0] for one in adapters() if one.refused and one.package == "fla"}
    made_on_a_gpu_alone = {"RodimusAttention"}
    assert refused == {"MesaNet", "LogLinearMamba2", "Mamba3", "MomAttention", "PaTHAttention"} | made_on_a_gpu_alone


def test_agreement_is_measured_where_the_library_runs(folder: Path) -> None:
    measured = json.loads((folder / "agreement.json").read_text())
    assert set(measured) == set(MODELS)
    for name, errors in measured.items():  # of logits and of two states; of Mamba-2 from the module itself too
        assert len(errors) == (6 if name == "Mamba2" else 3) and max(errors) < 1e-4, name


def test_a_module_that_is_loaded_already_needs_no_folder() -> None:
    """Mamba-2 is the one whose folder another library reads."""
    from fla.models import Mamba2Config, Mamba2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 31, "pad_token_id": 0}
    theirs = Mamba2ForCausalLM(Mamba2Config(**sizes, num_heads=4, head_dim=16, state_size=8, n_groups=2, chunk_size=8))
    for parameter in theirs.parameters():
        if parameter.ndim >= 2:
            parameter.data.normal_(std=parameter.shape[-1] ** -0.5)
    model, tokens = load(theirs), torch.randint(3, 31, (2, T))
    _, cache = model.run_with_cache(tokens, taps="last")
    assert cache["state", 1].shape == (2, 1, 4, 8, 16)
    with torch.no_grad():
        plain = model(tokens)
        edited = model.run_with_edits(tokens, {STATE: [Edit(8, "scale", torch.tensor(0.3))]})
    torch.testing.assert_close(edited[:, :9], plain[:, :9])
    assert (edited[:, 9] - plain[:, 9]).abs().max() > 1e-6


def test_inspect_says_that_the_library_needs_a_gpu(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from statescope.app.cli import main

    main(["inspect", str(folder / "KDA")])
    printed = capsys.readouterr().out
    for part in ("KDAForCausalLM", "Kimi delta attention", "hook_log_decay", "not compared", "runs it on a GPU only"):
        assert part in printed, part


def test_a_comparison_without_the_library_is_refused(folder: Path) -> None:
    model = load(folder / "GLA")
    assert isinstance(model, ForeignModel)
    with pytest.raises(ValueError, match="runs on a GPU only: there is nothing here to compare with"):
        check_agreement(model, torch.zeros(1, 3, dtype=torch.long))


@pytest.mark.parametrize("page", ["live_state", "live_transitions", "live_attention"])
@pytest.mark.parametrize("name", ["GatedDeltaNet", "GSA"])
def test_the_app_opens_a_folder_of_them(name: str, page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATESCOPE_MODELS", str(folder))
    app = open_app(folder / "no runs", monkeypatch, page, live=name, text="1 2 3 4 5 6")
    assert not app.exception and not app.error and not app.warning and app.selectbox(key="live").value == name
    shown = page != "live_attention" or "blocks.0.attn.hook_effective_attention" in load(folder / name).hook_dict
    assert bool(charts(app)) == shown and (shown or "No layer of this model shows" in app.info[0].value)
