"""Folders of checkpoints that are damaged, absurd or hostile: each is refused with a sentence, and runs nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from memory import peak_mib
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_parameter_registration_hook

from statescope import DeltaNet, GateLoop, Model, ModelConfig, load
from statescope.probe.checkpoint_folder import not_finite
from statescope.probe.errors import StatescopeError
from statescope.probe.loaders import UnreadableCheckpointError, UntrustedCheckpointError

SETTINGS: dict[str, Any] = {"vocab_size": 13, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 2}
OUT = "backbone.layers.0.mixer.out_proj.weight"


def _made() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(**SETTINGS)).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _made().save_pretrained(tmp_path / "mamba")
    return tmp_path / "mamba"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return Model(ModelConfig(vocabulary=13, width=8, layers=2, mixer=DeltaNet(heads=2))).save(tmp_path / "ours")


def _configure(folder: Path, **changes: Any) -> None:
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(plain | changes))


def _change(folder: Path, change: Any, file: str = "model.safetensors") -> None:
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, {"format": "pt"})


def test_a_python_file_in_the_folder_is_not_run_whatever_stdin_says(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    own = {"auto_map": {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"}}
    hostile: list[dict[str, Any]] = [
        own | {"architectures": ["AutoModelForCausalLM"], "model_type": "evil"},
        {"text_config": own},
        {"parts": [own]},
        {"architectures": ["AutoModel"]},
    ]
    folders = [tmp_path / f"hostile-{number}" for number in range(len(hostile))]
    for made, changes in zip(folders, hostile, strict=True):
        shutil.copytree(folder, made)
        (made / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")
        _configure(made, **changes)
    lines = (
        "import sys; from statescope.app.cli import main\n"
        "for folder in sys.argv[1:]:\n"
        "    try: main(['inspect', folder])\n"
        "    except SystemExit as error: print(error)"
    )
    given = [sys.executable, "-c", lines, *map(str, folders)]
    done = subprocess.run(given, input="y\n" * 50, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"] * len(hostile)
    assert done.stderr.count("lets other code or files in") == len(hostile) and "Traceback" not in done.stderr
    assert not marker.exists()


def test_no_question_is_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config.json without an auto_map leaves transformers nothing to ask; it would read stdin if it did."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("stdin was asked"))
    load(folder)
    assert sys.stdin.read() == "y\n"


@pytest.mark.parametrize(
    "setting",
    ["fusion_config", "distributed_config", "transformers_weights", "configuration_files", "_attn_implementation_internal"],
)
def test_settings_that_open_other_doors_are_refused(setting: str, folder: Path) -> None:
    _configure(folder, **{setting: ["anything"] if setting == "configuration_files" else "anything"})
    with pytest.raises(UntrustedCheckpointError, match=setting):
        load(folder)


def _sharded(folder: Path) -> dict[str, Any]:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file, {"format": "pt"})
    return {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}


def test_an_index_names_plain_files_of_the_folder_alone(folder: Path) -> None:
    index = _sharded(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    with torch.no_grad():
        torch.testing.assert_close(load(folder)(torch.arange(5)[None]), _made()(torch.arange(5)[None]).logits)
    outside = folder.parent / "outside.safetensors"
    (folder / "two.safetensors").rename(outside)
    absent = f"{folder}/two.safetensors is missing"
    cases = [
        "../outside.safetensors",
        str(outside),
        "pytorch_model.bin",
        "sub/two.safetensors",
        ".two.safetensors",
        "two.safetensors",
    ]
    (folder / "sub").mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    for name in cases:
        named = {tensor: name if file.startswith("two") else file for tensor, file in index["weight_map"].items()}
        path.write_text(json.dumps({"weight_map": named}))
        with pytest.raises(UnreadableCheckpointError, match=absent if name == "two.safetensors" else "only plain names"):
            load(folder)
    for broken in ({}, {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {}}):
        path.write_text(json.dumps(broken))
        with pytest.raises(UnreadableCheckpointError, match="needs a weight_map"):
            load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_leaves_the_folder_is_not_followed(name: str, folder: Path) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    with pytest.raises(UnreadableCheckpointError, match=rf"{name} is a link to .* copy the file itself"):
        load(folder)
    (folder / name).unlink()
    (folder.parent / name).rename(folder / f"own-{name}")
    (folder / name).symlink_to(f"own-{name}")
    load(folder)


def test_links_of_a_cache_are_followed_from_snapshots_to_blobs_alone(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--state--mamba"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(blobs / f"digest-of-{name}")
        (snapshot / name).symlink_to(f"../../blobs/digest-of-{name}")
    load(snapshot)
    (blobs / "digest-of-config.json").rename(tmp_path / "config.json")
    (blobs / "digest-of-config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(UnreadableCheckpointError, match="is not in the folder"):
        load(snapshot)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(UnreadableCheckpointError, match="is no file"):
        load(folder)


def test_files_that_are_not_of_the_checkpoint_are_not_read(folder: Path) -> None:
    zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(zeros, folder / "z_ema.safetensors", {"format": "pt"})
    save_file(zeros, folder / "shard-00000-model-00001-of-00001.safetensors", {"format": "pt"})
    (folder / ".metadata").write_bytes(b"\x80\x04cos\nsystem\n")
    with torch.no_grad():
        torch.testing.assert_close(load(folder)(torch.arange(5)[None]), _made()(torch.arange(5)[None]).logits)


@pytest.mark.parametrize("which", ["folder", "ours"])
def test_a_tensor_that_does_not_fit_is_named(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    name = OUT if which == "folder" else "blocks.0.attn.project_out.weight"
    whole = (path / "model.safetensors").read_bytes()
    cases = {
        f"{name} is missing": lambda tensors: tensors.pop(name),
        "stray.weight is not expected": lambda tensors: tensors.update({"stray.weight": torch.zeros(3)}),
        rf"{name} has shape \[3, 5\] instead of": lambda tensors: tensors.update({name: torch.zeros(3, 5)}),
        f"{name} is stored as I64": lambda tensors: tensors.update({name: tensors[name].long()}),
        f"{name} holds NaN": lambda tensors: tensors[name][-1].fill_(torch.nan),
        f"{name} holds NaN or infinities": lambda tensors: tensors[name][0, 0].fill_(torch.inf),
    }
    for match, change in cases.items():
        (path / "model.safetensors").write_bytes(whole)
        _change(path, change)
        with pytest.raises(UnreadableCheckpointError, match=match):
            load(path)
    (path / "model.safetensors").write_bytes(whole)
    load(path)


def test_what_a_family_ignores_or_ties_may_be_there_or_not(tmp_path: Path) -> None:
    from foreign_models import FOREIGN

    FOREIGN["qwen3_next"]().save_pretrained(tmp_path)
    _change(tmp_path, lambda tensors: tensors.update({"mtp.fc.weight": torch.zeros(2, 2), "mtp.count": torch.zeros(2).long()}))
    load(tmp_path)
    tied = _made()
    tied.save_pretrained(tmp_path / "tied")
    assert tied.config.tie_word_embeddings and "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    load(tmp_path / "tied")
    tied.backbone.save_pretrained(tmp_path / "base")  # names without the first part
    _configure(tmp_path / "base", architectures=["MambaForCausalLM"])
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "base")(torch.arange(5)[None]), tied(torch.arange(5)[None]).logits)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers = 1,000,000,000, some [\d.]+ TiB .* hold 22 tensors, [\d.]+ KiB"),
        ({"hidden_size": 10**9, "intermediate_size": 10**9}, "makes a model of more than"),
        ({"vocab_size": 10**12}, "makes a model of more than"),
        ({"num_hidden_layers": -1}, "makes no MambaForCausalLM|do not fit"),
        ({"hidden_size": "8"}, "makes no MambaForCausalLM"),
        ({"hidden_size": None}, "makes no MambaForCausalLM"),
        ({"architectures": "MambaForCausalLM"}, "names no architecture"),
        ({"architectures": [None]}, "names no architecture"),
        ({"hidden_act": "unheard of"}, "makes no MambaForCausalLM"),
        ({"dtype": "float999"}, "makes no MambaForCausalLM"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_absurd_configuration_is_refused_at_once(changes: dict[str, Any], match: str, folder: Path) -> None:
    load(folder)  # what is imported is imported
    _configure(folder, **changes)
    made: list[str] = []
    handle = register_module_parameter_registration_hook(lambda module, name, parameter: made.append(name))
    with pytest.raises(UnreadableCheckpointError, match=match):
        load(folder)
    handle.remove()
    assert len(made) < 200  # and so in no time


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layers": 10**9}, "layers = 1,000,000,000, some"),
        ({"width": 10**6}, "makes a model of more than"),
        ({"vocabulary": 10**12}, "makes a model of more than"),
        ({"mixer": {"kind": "delta_net", "heads": 10**7}}, "makes a model of more than|describes no model"),
        ({"mixer": {"kind": "nothing"}}, "describes no model: mixer 'nothing' is not known"),
        ({"width": "8"}, "describes no model: width needs int"),
        ({"unheard": 1}, "describes no model: field"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_absurd_configuration_of_ours_is_refused_at_once(changes: dict[str, Any], match: str, ours: Path) -> None:
    plain = json.loads((ours / "config.json").read_text())
    _configure(ours, config=plain["config"] | changes)
    with pytest.raises(UnreadableCheckpointError, match=match):
        load(ours)
    _configure(ours, config=[])
    with pytest.raises(UnreadableCheckpointError, match="describes no model"):
        load(ours)


def test_broken_files_are_told_from_pointers_and_from_other_files(folder: Path) -> None:
    whole = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    weights = whole["model.safetensors"]
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    cases: list[tuple[str, bytes, str]] = [
        ("config.json", b"{", "is no JSON"),
        ("config.json", b"\xff\xfe{}", "is no JSON"),
        ("config.json", b"[]", "holds a list"),
        ("config.json", b'{"a":' * 100_000, "is no JSON"),
        ("config.json", b'{"a": ' + b"9" * 5000 + b"}", "is no JSON"),
        ("config.json", pointer, "pointer of Git LFS"),
        ("model.safetensors", pointer, "pointer of Git LFS .*git lfs pull"),
        ("model.safetensors", b"", "cannot be read as safetensors"),
        ("model.safetensors", weights[:-5], "cannot be read as safetensors"),
        ("model.safetensors", (2**62).to_bytes(8, "little") + weights[8:], "cannot be read as safetensors"),
        ("model.safetensors", weights[:8] + b"[" + weights[9:], "cannot be read as safetensors"),
    ]
    for name, data, match in cases:
        (folder / name).write_bytes(data)
        with pytest.raises(UnreadableCheckpointError, match=match):
            load(folder)
        (folder / name).write_bytes(whole[name])
    load(folder)


def test_complex_parameters_of_ours_are_checked_too(tmp_path: Path) -> None:
    saved = Model(ModelConfig(vocabulary=13, width=8, layers=1, mixer=GateLoop(heads=2))).save(tmp_path)
    load(saved)
    assert not_finite(torch.tensor([1 + 1j, complex(0, float("nan"))]))
    assert not not_finite(torch.tensor([1e308, 1e308], dtype=torch.float64))
    assert not not_finite(torch.full((3,), 3e38))
    assert not_finite(torch.tensor([torch.inf, -torch.inf]))
    assert not not_finite(torch.arange(3))
    assert not not_finite(torch.ones(3).to(torch.float8_e4m3fn))
    assert not_finite(torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn))


def test_looking_for_damage_copies_no_weight() -> None:
    weight = torch.zeros(2**18, dtype=torch.bfloat16)
    assert peak_mib(lambda: not_finite(weight)) < 0.01
    assert peak_mib(lambda: weight.sum(dtype=torch.float64)) > 1  # as it once did


def test_three_hundred_mutated_checkpoints(folder: Path, ours: Path) -> None:
    """Each loads and gives finite logits, or is refused with a StatescopeError; nothing else comes out."""
    crashed, refused = [], 0
    tokens = torch.arange(5)[None]
    for path, count in ((folder, 200), (ours, 100)):
        for seed in hostile.checkpoints(path, count):
            try:
                with torch.no_grad():
                    assert load(path)(tokens).isfinite().all()
            except StatescopeError as error:
                refused += 1
                assert str(path) in str(error), error
            except Exception as error:
                crashed.append(f"{path.name} {seed}: {type(error).__name__}: {error}")
    assert not crashed, "\n".join(crashed)
    assert 150 < refused < 300  # some mutations are harmless
