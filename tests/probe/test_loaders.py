"""Foreign checkpoints: logits, states, edits and padding, against the library that made them."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import FOREIGN
from recipes import recipe

from statescope import Edit, Model, ModelConfig, load
from statescope.probe.loaders import ForeignModel, UnknownArchitectureError, UnreadableCheckpointError
from statescope.probe.loaders.agreement import check_agreement, foreign_logits, foreign_states
from statescope.probe.loaders.trust import UntrustedCheckpointError

T = 17


@pytest.fixture(params=FOREIGN)
def foreign(request: pytest.FixtureRequest) -> Any:
    return FOREIGN[request.param]()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, 31, (2, T))


def test_a_folder_loads_with_the_same_logits(foreign: Any, tokens: torch.Tensor, tmp_path: Path) -> None:
    foreign.save_pretrained(tmp_path / "saved")
    model = load(tmp_path / "saved")
    truth = foreign_logits(foreign, tokens)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), truth, rtol=1e-4, atol=1e-4)
        loss = model(tokens, return_type="loss")
    expected = torch.nn.functional.cross_entropy(truth[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def test_states_are_those_of_the_foreign_recurrence_token_by_token(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    positions = [2, 3, 7, 12, T - 1]
    truths = [foreign_states(model, tokens[:, : t + 1])[0].clone() for t in positions]
    _, cache = model.run_with_cache(tokens, names_filter="blocks.0.attn.hook_state", taps=positions)
    found = cache["blocks.0.attn.hook_state"]
    for slot, truth in enumerate(truths):
        assert (found[:, slot] - truth).norm() <= 1e-4 * truth.norm()


def test_a_copy_is_a_model_of_its_own(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    plain = model(tokens)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        model.add_hook("blocks.0.hook_resid_post", lambda value, hook: 0 * value)
        assert torch.equal(copied(tokens), plain)  # the hook hangs on the original alone
        with pytest.raises(RuntimeError, match=r"hook_resid_post has a hook function; call reset_hooks"):
            copy.deepcopy(model)
        model.reset_hooks()
        names = [name for name in copied.hook_dict if name.startswith("blocks.") and not name.endswith("key_state")]
        _, cache = copied.run_with_cache(tokens, names_filter=names, taps="last")
        assert list(cache.cache_dict) and set(cache.cache_dict) == set(names)
        pickle.dumps(cache)
        zeroed = copied.run_with_hooks(tokens, fwd_hooks=[("blocks.0.hook_resid_post", lambda value, hook: 0 * value)])
        assert not torch.allclose(zeroed, plain)
        with torch.no_grad():
            next(copied.foreign.parameters()).zero_()
        assert torch.equal(model(tokens), plain)


def test_a_module_that_is_loaded_again_belongs_to_the_later_model(foreign: Any, tokens: torch.Tensor) -> None:
    first = load(foreign)
    plain = first(tokens)
    second = load(foreign)
    seen: list[str] = []
    second.add_hook("blocks.0.hook_resid_pre", lambda value, hook: seen.append(str(hook.name)))
    torch.testing.assert_close(second(tokens), plain)
    assert seen == ["blocks.0.hook_resid_pre"]
    with pytest.raises(RuntimeError, match="was hooked again by a later load"):
        first(tokens)


def test_the_residual_stream_is_the_sum_of_what_is_shown(foreign: Any, tokens: torch.Tensor) -> None:
    """On many tokens, where the first run that chose the hooks had two."""
    model = load(foreign)
    _, cache = model.run_with_cache(tokens, names_filter="blocks.*.hook_*")
    for layer in range(model.layers):
        shown = {name: cache[f"blocks.{layer}.hook_{name}"] for name in ("resid_pre", "resid_post")}
        for name in ("attn_out", "resid_mid", "mlp_out"):
            if f"blocks.{layer}.hook_{name}" in model.hook_dict:
                shown[name] = cache[f"blocks.{layer}.hook_{name}"]
        if "mlp_out" in shown:
            added = shown.get("attn_out", 0) + shown["mlp_out"]
            torch.testing.assert_close(shown["resid_pre"] + added, shown["resid_post"], rtol=1e-4, atol=1e-5)
        if "resid_mid" in shown:
            entering = shown["resid_pre"] + shown.get("attn_out", 0)
            torch.testing.assert_close(entering, shown["resid_mid"], rtol=1e-4, atol=1e-5)


def test_the_layers_of_a_family_that_adds_up_are_seen_whole() -> None:
    """Where all of a layer's parts are in the list, none of its hooks may be lost."""
    for name in ("qwen3_next", "kimi_linear", "recurrent_gemma", "xlstm", "jamba", "bamba"):
        model = load(FOREIGN[name]())
        wanted = {f"blocks.{layer}.hook_{part}" for layer in range(2) for part in ("attn_out", "resid_mid", "mlp_out")}
        assert wanted <= set(model.hook_dict), name


def test_a_run_stops_at_a_layer(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter="*.hook_resid_*")
        for layer in (0, 1):
            assert torch.equal(model(tokens, stop_at_layer=layer), cache["resid_pre", layer])
        assert torch.equal(model(tokens, stop_at_layer=2), cache["resid_post", 1])
        _, first = model.run_with_cache(tokens, stop_at_layer=1)
        assert "blocks.0.hook_resid_post" in first.cache_dict and not any(
            name.startswith("blocks.1") for name in first.cache_dict
        )
        with pytest.raises(ValueError, match="the run stops at layer 1"):
            model.run_with_cache(tokens, names_filter="blocks.1.hook_resid_pre", stop_at_layer=1)
        assert model(tokens).shape == (2, T, 31)


def test_agreement_is_measured_and_a_wrong_model_fails_it(tokens: torch.Tensor) -> None:
    model = load(FOREIGN["qwen3_next"]())
    agreement = check_agreement(model, tokens)
    assert agreement.logits < 1e-5 and agreement.states[0] is not None and agreement.states[0] < 1e-5
    edit = Edit(3, "scale", torch.tensor(0.9))
    run = model.forward
    model.forward = lambda *args, **how: run(*args, **how, edits={"blocks.0.attn.hook_state": [edit]})
    wrong = check_agreement(model, tokens)
    assert wrong.logits > 1e-4 and wrong.states[0] > 1e-4


def test_an_edit_changes_what_comes_after_it(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    edit = Edit(8, "scale", torch.tensor(0.3))
    with torch.no_grad():
        plain, edited = model(tokens), model.run_with_edits(tokens, {"blocks.0.attn.hook_state": [edit]})
    torch.testing.assert_close(edited[:, :9], plain[:, :9], rtol=1e-5, atol=1e-6)
    assert (edited[:, 9] - plain[:, 9]).abs().max() > 1e-6
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), plain)  # nothing of it is left


def test_every_hook_fires_with_the_declared_axes(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    names = [name for name in model.hook_dict if name.startswith("blocks.0.attn")]
    assert "blocks.0.attn.hook_state" in names
    _, cache = model.run_with_cache(tokens, names_filter=names, taps=[3, 9])
    for name in names:
        point, value = model.points[name], cache[name]
        if not isinstance(value, torch.Tensor):
            continue
        sizes = {"batch": 2, "position": T, "query": T, "source": T, "tap": 2} | model.mixer(0).axis_sizes
        axes = [axis for axis in point.axes.split() if not axis.startswith("[")]
        assert tuple(value.shape) == tuple(sizes[axis] for axis in axes), name


def test_effective_attention_times_values_is_the_read_out(foreign: Any, tokens: torch.Tensor) -> None:
    model = load(foreign)
    of_channels = "channel" in model.points["blocks.0.attn.hook_state"].axis_names
    names = [f"blocks.0.attn.hook_{part}" for part in ("effective_attention", "x" if of_channels else "v", "recurrence_out")]
    _, cache = model.run_with_cache(tokens, names_filter=names)
    mixing, values, read = (cache[name] for name in names)
    equation = "bhqsc,bshc->bqhc" if of_channels else "bhqs,bshv->bqhv"
    torch.testing.assert_close(torch.einsum(equation, mixing, values), read, rtol=1e-4, atol=1e-4)


def test_softmax_layers_of_hybrids_have_hooks(tokens: torch.Tensor) -> None:
    foreign = FOREIGN["qwen3_next"]()
    model = load(foreign)
    with torch.no_grad():
        plain = model(tokens)
    logits, cache = model.run_with_cache(tokens, names_filter=["blocks.1.attn.hook_pattern", "blocks.1.attn.hook_v"])
    torch.testing.assert_close(logits.detach(), plain, rtol=1e-4, atol=1e-5)
    pattern = cache["pattern", 1]
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 4, T))
    assert pattern.triu(1).abs().max() == 0
    zeroed = model.run_with_hooks(tokens, fwd_hooks=[("blocks.1.attn.hook_v", lambda value, hook: 0 * value)])
    assert not torch.allclose(zeroed, plain)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", FOREIGN)
def test_padding_leaves_the_states(name: str, side: str, tokens: torch.Tensor) -> None:
    model = load(FOREIGN[name]())
    padding = torch.zeros(2, 5, dtype=torch.long)
    parts = (padding, tokens) if side == "left" else (tokens, padding)
    padded = torch.cat(parts, dim=1)
    mask = torch.cat([torch.zeros_like(part) if part is padding else torch.ones_like(part) for part in parts], dim=1)
    shift = 5 if side == "left" else 0
    hooks = [f"blocks.{layer}.attn.hook_state" for layer in range(model.layers) if model.has_state(layer)]
    _, plain = model.run_with_cache(tokens, names_filter=hooks, taps=[4, T - 1])
    _, shifted = model.run_with_cache(padded, names_filter=hooks, taps=[4 + shift, T - 1 + shift], attention_mask=mask)
    for hook in hooks:
        torch.testing.assert_close(shifted[hook], plain[hook], rtol=1e-4, atol=1e-5)


def test_the_erase_term_is_there(tokens: torch.Tensor) -> None:
    """Without it, as a sum of decayed writes, the read-out of a gated delta rule is off; ours is right."""
    model = load(FOREIGN["qwen3_next"]())
    parts = ("q", "k", "v", "beta", "log_decay", "recurrence_out")
    _, cache = model.run_with_cache(tokens, names_filter=[f"blocks.0.attn.hook_{part}" for part in parts])
    q, k, v, beta, log_decay, read = (cache[part, 0] for part in parts)
    c = log_decay.cumsum(1)
    ratio = (c[:, :, None] - c[:, None]).clamp(max=0).exp().movedim(3, 1).tril()
    sums = torch.einsum("bihk,bjhk,bhij,bjh,bjhv->bihv", q, k, ratio, beta, v)
    assert (sums - read).norm() > 0.1 * read.norm()
    assert (sums[:, 0] - read[:, 0]).norm() <= 1e-4 * read[:, 0].norm()  # the first token has nothing to erase


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCheckpointError, match="does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(UnreadableCheckpointError, match="has no config.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UnreadableCheckpointError, match=r"pytorch_model\.bin, which are pickles and may run code"):
        load(tmp_path)
    nothing = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.ModuleList([torch.nn.MultiheadAttention(2, 1)]))
    with pytest.raises(UnknownArchitectureError, match=r"\(its mixers: MultiheadAttention\); known are .*gated delta rule"):
        load(nothing)
    FOREIGN["mamba"]().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["EvilForCausalLM"]}')
    with pytest.raises(UnknownArchitectureError, match=r"config.json names 'EvilForCausalLM'"):
        load(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        {"attn_implementation": "someone/kernels"},
        {"_attn_implementation": "someone/kernels"},
        {"experts_implementation": "sonicmoe"},
        {"use_kernels": True},
        {"quantization_config": {"quant_method": "fp8"}},
        {"text_config": {"attn_implementation": "someone/kernels"}},
    ],
    ids=str,
)
def test_a_checkpoint_cannot_bring_code(setting: dict[str, Any], tmp_path: Path, tokens: torch.Tensor) -> None:
    """transformers fetches and runs a hub's kernels where config.json names them as an implementation."""
    FOREIGN["qwen3_next"]().save_pretrained(tmp_path)
    plain = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(plain | setting))
    with pytest.raises(UntrustedCheckpointError, match="lets other code or files in"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UntrustedCheckpointError, match="lets other code or files in"):
        load(tmp_path, attn_implementation="someone/kernels")
    assert load(tmp_path, attn_implementation="eager")(tokens).isfinite().all()


def test_nothing_else_reaches_from_pretrained(tmp_path: Path) -> None:
    """Its other arguments, among them those by which it runs code from elsewhere, have no way in."""
    assert set(inspect.signature(load).parameters) == {"source", "dtype", "device_map", "attn_implementation"}
    model = FOREIGN["qwen3_next"]()
    with pytest.raises(ValueError, match="dtype: not for a model that is already loaded"):
        load(model, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnreadableCheckpointError, match="holds an adapter"):
        load(tmp_path)


def test_half_precision_and_shards(tmp_path: Path, tokens: torch.Tensor) -> None:
    foreign = FOREIGN["mamba2"]().to(torch.bfloat16)
    foreign.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = load(tmp_path, dtype=torch.bfloat16)
    with torch.no_grad():
        logits = model(tokens)
    assert isinstance(model, ForeignModel)
    assert next(model.parameters()).dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), foreign_logits(foreign.float(), tokens), rtol=0.1, atol=0.1)


def test_a_checkpoint_is_loaded_as_it_is_stored(tmp_path: Path, tokens: torch.Tensor) -> None:
    """transformers divides Mamba-2's output matrices at loading where its configuration says that they were rescaled."""
    foreign = FOREIGN["mamba2"]()
    foreign.config.rescale_prenorm_residual = True
    foreign.save_pretrained(tmp_path)
    truth = foreign_logits(foreign, tokens)
    changed = type(foreign).from_pretrained(tmp_path, use_safetensors=True)
    assert (foreign_logits(changed, tokens) - truth).abs().max() > 0.01  # if it is mended, `_restore` can go
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path)(tokens), truth, rtol=1e-4, atol=1e-4)


def test_inspect_prints_layers_hooks_and_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from statescope.app.cli import main

    FOREIGN["qwen3_next"]().save_pretrained(tmp_path / "saved")
    main(["inspect", str(tmp_path / "saved")])
    printed = capsys.readouterr().out
    assert "tokenizer: none" in printed and "hook_resid_mid" in printed
    for part in ("Qwen3NextForCausalLM", "gated delta rule", "softmax attention", "hook_log_decay", "1.0 KiB", "agree"):
        assert part in printed, part
    for arguments, said in (([str(tmp_path / "nowhere")], "does not exist"), ([str(tmp_path), "--tokens", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            main(["inspect", *arguments])
        assert said in capsys.readouterr().err
    Model(ModelConfig(vocabulary=9)).save(tmp_path / "ours")
    main(["inspect", str(tmp_path / "ours")])
    printed = capsys.readouterr().out
    assert "delta_net" in printed and "a model of statescope's own" in printed


def test_what_the_page_says_of_a_family_is_so(foreign: Any) -> None:
    model = load(foreign)
    for layer in range(model.layers):
        adapter = model.mixer(layer).adapter
        declared = {point.name for point in adapter.points()}
        held = {name.split(".", 2)[2] for name in model.hook_dict if name.startswith(f"blocks.{layer}.attn.")}
        assert held == declared and model.has_state(layer) is ("attn.hook_state" in declared)


def test_a_family_from_outside_is_one_file(tmp_path: Path, tokens: torch.Tensor) -> None:
    """In a process of its own, with the adapter's file offered by an installed package's entry point."""
    recipe("A family of checkpoints").write(tmp_path)
    (tmp_path / "fading-1.dist-info").mkdir()
    (tmp_path / "fading-1.dist-info" / "METADATA").write_text("Name: fading\nVersion: 1\n")
    (tmp_path / "fading-1.dist-info" / "entry_points.txt").write_text("[statescope.plugins]\nfading = fading_adapter\n")
    (tmp_path / "use.py").write_text(
        """
import torch, fading
from statescope import Edit, Model, ModelConfig, load

torch.manual_seed(0)
theirs, tokens = fading.Fading(), torch.randint(0, 31, (2, 9))
model, state = load(theirs), "blocks.0.attn.hook_state"
with torch.no_grad():
    torch.testing.assert_close(model(tokens), theirs(tokens).logits)
    logits, cache = model.run_with_cache(tokens, taps=[3, 8])
    assert cache["state", 1].shape == (2, 2, 2, 4, 4) and cache["q", 0].shape == (2, 9, 2, 4)
    edited = model.run_with_edits(tokens, {state: [Edit(4, "scale", torch.tensor(0.0))]})
    torch.testing.assert_close(edited[:, :5], logits[:, :5])
    assert (edited[:, 5] - logits[:, 5]).abs().max() > 1e-4
print(model.mixer(0).adapter.title)
"""
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    given = [sys.executable, str(tmp_path / "use.py")]
    done = subprocess.run(given, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fading sums", done.stderr[-2000:]
