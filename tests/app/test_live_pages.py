"""Pages about a model and a text: models of runs and of folders, any text, and what can be wrong with either."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import plotly
import pytest
import torch
from guest import as_a_guest, open_to_guests
from opened_app import charts, components, numbers, open_app
from plotly.offline import get_plotlyjs_version
from streamlit.testing.v1 import AppTest

from statescope import Model, ModelConfig, Run
from statescope.analyses.geometry.state_walk import state_walk
from statescope.app.components.below_state import BELOW
from statescope.app.model_folders import NoModelError, RunItselfError, check_folder, models_in
from statescope.app.plotly_library import library_address, library_file
from statescope.app.server.launch import launch
from statescope.probe.mixers import DeltaNet

pytestmark = pytest.mark.filterwarnings("ignore:.*causal_conv1d.*:UserWarning")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved models: of bytes with a layer of softmax, of softmax alone, of one layer and one head."""
    folder = tmp_path_factory.mktemp("models")
    Model(ModelConfig(256, width=32, layers=2, mixer=("gated_delta_net", "attention"))).save(folder / "bytes")
    Model(ModelConfig(50, width=16, layers=1, mixer="attention")).save(folder / "softmax")
    Model(ModelConfig(7, width=8, layers=1, mixer=DeltaNet(heads=1))).save(folder / "tiny")
    return folder


@pytest.fixture
def no_runs(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATESCOPE_MODELS", str(models))
    return tmp_path / "none"


def facts(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_state_of_a_typed_text_is_that_of_the_model(no_runs: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from statescope import load

    app = open_app(no_runs, monkeypatch, "live_state", live="bytes", text="ab\ncd", position="3", head="1")
    assert not app.exception and not app.error
    own = load(models / "bytes")
    walk = state_walk(own, torch.tensor(list(b"ab\ncd")), 0, 1, name="bytes", texts=list("abxcd"))
    assert facts(app)["norm of the state"] == f"{float(walk.states[3].norm()):.4g}"
    assert facts(app)["written"] == f"{float(walk.written[3].norm()):.4g}"
    heat = next(json.loads(data["figure"]) for data in components(app, "figure"))["data"][0]
    np.testing.assert_allclose(numbers(heat["z"]).reshape(walk.states[3].shape), walk.states[3], atol=1e-6)
    (strip,) = components(app, "tokens")
    assert strip["tokens"] == ["a", "b", "\\n", "c", "d"] and strip["position"] == 3
    app.slider(key="position").set_value(1).run()
    assert facts(app)["norm of the state"] == f"{float(walk.states[1].norm()):.4g}", "a step shows the state of its token"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("generate", value) for value in ("9" * 3000, "inf", "-1", "nan", "x", "1e400")),
        *(("temperature", value) for value in ("nan", "-0.1", "9" * 3000)),
    ],
)
def test_a_number_that_is_none_is_dropped(no_runs: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    app = open_app(no_runs, monkeypatch, "live_lens", **{key: value})
    assert not app.exception and not app.error
    assert app.number_input(key=key).value == 0 and key not in app.query_params


def test_every_number_that_is_dropped_is_told(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three the page told the last one alone: each begins the page anew, and what was told before was gone."""
    asked = {"generate": "1e99", "temperature": "nan", "draw": "-1"}
    app = open_app(no_runs, monkeypatch, "live_lens", **asked)
    told = [warning.value for warning in app.warning]
    assert not app.exception and not app.error
    assert [sum(f"{key}={value}" in text for text in told) for key, value in asked.items()] == [1, 1, 1]
    app.number_input(key="generate").set_value(1).run()
    assert not app.warning, "and once"


@pytest.mark.parametrize("longest", [16, 5])
def test_a_model_that_reads_few_tokens_is_shown_what_it_can_read(
    longest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given an example that it refused, and one that reads less than what its time is taken on could not be opened."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_positions": longest, "n_embd": 8, "n_layer": 1, "n_head": 1, "bos_token_id": None, "eos_token_id": None}
    for name, vocabulary in (("bytes", 256), ("numbers", 40)):
        GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **sizes)).save_pretrained(tmp_path / "models" / name)
    monkeypatch.setenv("STATESCOPE_MODELS", str(tmp_path / "models"))
    for name, given in (("bytes", "The keys of the "[:longest]), ("numbers", " ".join(map(str, range(longest))))):
        app = open_app(tmp_path / "runs", monkeypatch, "live_lens", live=name)
        assert not app.exception and not app.error
        assert app.text_area(key="text").value == given and components(app, "figure")


def test_what_a_model_makes_is_in_the_address_and_marked(no_runs: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from statescope import load

    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="1 2 3", generate="4")
    (strip,) = components(app, "tokens")
    expected = load(models / "tiny").generate(torch.tensor([[1, 2, 3]]), 4)[0].tolist()
    assert strip["tokens"] == [str(token) for token in expected] and strip["made"] == 3
    assert strip["position"] == 6


@pytest.mark.parametrize("below", BELOW)
def test_every_view_of_a_state_is_drawn(no_runs: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="123456" * 4, below=below)
    assert not app.exception and not app.error
    drawn = components(app, "figure")
    assert all(chart["alt"] for chart in drawn)
    assert len(drawn) == 2, "the matrix, and the view"
    assert not app.info


def test_a_text_too_short_for_an_automaton_says_so(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="123", below="automaton")
    assert not app.exception and not app.error and "3 tokens are too few" in app.info[0].value


def test_the_automaton_of_a_model_stands_beside_that_of_its_task(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATESCOPE_MODELS", raising=False)
    app = open_app(finished, monkeypatch, "live_state", run="parity", text="0110100110010110", below="automaton")
    assert not app.exception and not app.error and not app.info
    titles = [note["text"] for chart in charts(app) for note in chart["layout"]["annotations"]]
    assert "The task's own" in titles
    names: dict = {}
    code = next(block.value for block in app.code if "model_automaton" in block.value)
    exec(code.replace("Run('parity')", f"Run({str(finished / 'parity')!r})").replace(".show()", ""), names)
    assert names["result"].true_automaton.table.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("view", ["what the family allows", "what tracking needs", "stability", "by parity"])
def test_what_theory_allows_and_what_is_seen_stand_on_the_page_of_transitions(
    finished: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    monkeypatch.delenv("STATESCOPE_MODELS", raising=False)
    app = open_app(finished, monkeypatch, "live_transitions", run="parity", text="01101001", transitions=view)
    assert not app.exception and not app.error and not app.info
    assert len(charts(app)) == 1
    names: dict = {}
    code = next(block.value for block in app.code if "statescope.analyses" in block.value)
    exec(code.replace(".show()", ""), names)
    assert len(names["result"].table)


def test_how_far_each_head_attends_is_told_in_numbers(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(no_runs, monkeypatch, "live_attention", live="bytes", text="a cat and a hat")
    drawn = len(charts(app))
    app.toggle(key="attention-measures").set_value(True).run()
    assert not app.exception and not app.error
    assert len(charts(app)) == drawn + 1


def test_a_model_of_a_run_is_read_as_its_task_is_written(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATESCOPE_MODELS", raising=False)
    app = open_app(finished, monkeypatch, "live_state", run="parity", text="0110")
    assert not app.exception and not app.error
    assert list(app.selectbox(key="live").options) == ["parity: negative", "parity: positive"]
    (strip,) = components(app, "tokens")
    assert strip["label"] == "parity" and strip["values"] == [0, 1, 0, 0]
    source = open_app(finished, monkeypatch, "live_state", run="source", text='x = "a"\n')
    (strip,) = components(source, "tokens")
    assert strip["tokens"][:3] == ["x", "␣", "="]
    colours = list(source.selectbox(key="colour").options)
    assert "in string" in colours and any(name.startswith("direction ") for name in colours)
    source.selectbox(key="colour").select("in_string").run()
    assert components(source, "tokens")[0]["values"] == [0, 0, 0, 0, 1, 1, 0, 0], "true after each byte"


def test_a_run_gives_its_models_by_name(finished: Path) -> None:
    run = Run(finished / "parity")
    found = run.model("negative")
    assert found.task.kind == "parity" and found.length == 12 and not found.model.training
    again = run.model("negative").model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in found.model.state_dict().items())
    with pytest.raises(KeyError, match="did you mean"):
        run.model("negativ")


@pytest.mark.parametrize(
    ("live", "text", "told"),
    [
        ("tiny", "1 2 99", "is no token of this model"),
        ("tiny", "<img src=x onerror=alert(1)>", "is no token of this model"),
        ("tiny", " ", "Type a text"),
        ("softmax", "1 2", "No layer of this model has a state"),
        ("nowhere", "1 2", "which is not there"),
        ("tiny", "1" * 9000, "letters"),
        ("tiny", "1" * 3000, ""),
        ("tiny", "3", ""),
        ("bytes", "ünï 漢", ""),
    ],
)
def test_what_is_wrong_with_a_model_or_a_text_is_a_sentence(
    no_runs: Path, monkeypatch: pytest.MonkeyPatch, live: str, text: str, told: str
) -> None:
    app = open_app(no_runs, monkeypatch, live=live, text=text)
    assert not app.exception
    shown = " ".join(element.value for kind in ("error", "warning", "info") for element in app.get(kind))
    assert told in shown if told else not shown
    assert bool(app.metric) == (live != "softmax" and told in ("", "letters", "which is not there"))


def test_a_damaged_model_is_told_and_the_others_open(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(models, tmp_path / "models")
    file = tmp_path / "models" / "bytes" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    monkeypatch.setenv("STATESCOPE_MODELS", str(tmp_path / "models"))
    app = open_app(tmp_path / "none", monkeypatch, "live_state", live="bytes")
    assert not app.exception and "cannot be opened" in app.error[0].value and not app.metric
    app.selectbox(key="live").select("tiny").run()
    assert not app.error and app.metric


def test_a_model_that_takes_long_is_waited_for_only_on_demand(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("statescope.app.components.reading.PATIENCE", 0.0)
    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="123")
    assert "takes about" in app.warning[0].value and not app.metric
    app.checkbox[0].check().run()
    assert app.metric


def test_folders_of_models_are_named_once_and_no_link_is_followed(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "tiny", tmp_path / "inside" / "tiny")
    (tmp_path / "inside" / "outside").symlink_to(models / "bytes")
    (tmp_path / "inside" / "notes").mkdir()
    assert models_in([tmp_path / "inside"]) == {"tiny": tmp_path / "inside" / "tiny"}
    assert list(models_in([models / "tiny", tmp_path / "inside"])) == ["tiny", "tiny (2)"]
    for folder, why in ((tmp_path / "inside" / "notes", "holds no model"), (tmp_path / "nowhere", "is no folder")):
        with pytest.raises(NoModelError, match=why):
            check_folder(folder)


def test_every_model_has_a_name_of_its_own(tmp_path: Path) -> None:
    """A folder may be called as the second of two others would be."""
    folders = [tmp_path / "x" / "a", tmp_path / "y" / "a", tmp_path / "z" / "a (2)"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert models_in(folders) == dict(zip(["a", "a (2)", "a (2) (2)"], folders, strict=True))
    assert list(models_in([folders[2], *folders[:2]]).values()) == [folders[2], *folders[:2]]


def test_none_of_many_models_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / "models" / f"step-{number:03d}").mkdir(parents=True)
        (tmp_path / "models" / f"step-{number:03d}" / "config.json").write_text("{}")
    Model(ModelConfig(7, width=8, layers=1, mixer=DeltaNet(heads=1))).save(tmp_path / "models" / "step-299")
    monkeypatch.setenv("STATESCOPE_MODELS", str(tmp_path / "models"))
    app = open_app(tmp_path / "runs", monkeypatch, "live_state", live="step-299")
    assert not app.exception and not app.error and not app.warning
    assert len(app.selectbox(key="live").options) == 300
    assert "This is model 300 of 300" in app.caption[0].value, [one.value for one in app.caption]


def test_a_folder_that_may_not_be_read_hides_no_model(models: Path) -> None:
    with open_to_guests() as held:
        shutil.copytree(models / "tiny", held / "models" / "tiny")
        for closed in (held / "models" / "closed", held / "closed"):
            closed.mkdir()
            closed.chmod(0)
        with as_a_guest():
            assert models_in([held / "models", held / "closed", held / "nowhere"]) == {"tiny": held / "models" / "tiny"}
            with pytest.raises(NoModelError, match="closed may not be read"):
                check_folder(held / "closed")
            check_folder(held / "models")
        for closed in (held / "models" / "closed", held / "closed"):
            closed.chmod(0o755)


def test_weights_that_are_a_link_to_nowhere_are_told_in_a_sentence(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models / "tiny", tmp_path / "models" / "linked")
    weights = tmp_path / "models" / "linked" / "model.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "nowhere.safetensors")
    monkeypatch.setenv("STATESCOPE_MODELS", str(tmp_path / "models"))
    app = open_app(tmp_path / "runs", monkeypatch, "live_state")
    assert not app.exception and len(app.error) == 1
    assert "linked cannot be opened" in app.error[0].value and "Errno" not in app.error[0].value, app.error[0].value


def test_a_folder_that_is_a_model_hides_none_of_those_inside(models: Path, tmp_path: Path) -> None:
    """Such as that of a training, with the last model in it and a folder for each that was kept."""
    shutil.copytree(models / "tiny", tmp_path / "training")
    shutil.copytree(models / "bytes", tmp_path / "training" / "step-10")
    inside = tmp_path / "training"
    assert models_in([inside]) == {"training": inside, "step-10": inside / "step-10"}
    assert list(models_in([inside, inside / "step-10"])) == ["training", "step-10"]


@pytest.mark.parametrize("page", ["live_state", "live_lens"])
def test_of_several_models_it_says_which_one_is_shown(
    finished: Path, models: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("STATESCOPE_MODELS", str(models))
    app = open_app(finished, monkeypatch, page, run="parity")

    def told() -> list[str]:
        return [caption.value for caption in app.caption if caption.value.startswith("This is model")]

    assert told() == ["This is model 1 of 5: 3 in the folders that the app was started with and 2 of the run parity."]
    assert app.selectbox(key="live").value == "bytes"
    app.selectbox(key="live").select("parity: positive").run()
    assert told()[0].startswith("This is model 5 of 5")
    app.selectbox(key="run").select("source").run()
    assert app.selectbox(key="live").value == "bytes" and "2 of the run source" in told()[0], "where that model is no more"
    monkeypatch.delenv("STATESCOPE_MODELS")
    app = open_app(finished, monkeypatch, page, run="parity")
    assert told() == ["This is model 1 of 2 of the run parity."]


def test_one_model_is_not_counted(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATESCOPE_MODELS", str(models / "tiny"))
    app = open_app(tmp_path / "none", monkeypatch, "live_state")
    assert app.metric and not [caption for caption in app.caption if caption.value.startswith("This is model")]


def test_a_run_where_a_model_or_a_folder_of_runs_is_asked_for_is_refused_with_the_command(finished: Path) -> None:
    command = f"statescope app --folder {finished}, where the box at the side has parity"
    with pytest.raises(NoModelError, match="is a run, whose models") as told:
        check_folder(finished / "parity")
    assert str(told.value).endswith(command)
    with pytest.raises(RunItselfError, match="needs the folder that it lies in") as told:
        launch(finished / "parity", 0, browser=False)
    assert str(told.value).endswith(command)


def test_the_app_without_a_run_begins_with_the_model(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_app(no_runs, monkeypatch)
    assert not app.exception
    assert app.header[0].value == "State" and app.metric


LIVE = ("live_state", "live_transitions", "live_steering", "live_lens", "live_attention")
CHANGES = {"change": "forget a token's key", "position": "1", "of": "0: 1", "read": "3"}


@pytest.mark.parametrize("page", LIVE)
@pytest.mark.parametrize("live", ["bytes", "softmax", "tiny"])
def test_every_page_shows_every_family_or_says_why_not(
    no_runs: Path, monkeypatch: pytest.MonkeyPatch, page: str, live: str
) -> None:
    app = open_app(no_runs, monkeypatch, page, live=live, text="1 2 3", **{"with": "1", "without": "2"})
    assert not app.exception and not app.error
    drawn = len(charts(app))
    assert drawn or any("no layer" in info.value.lower() for info in app.info)


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("live_transitions", {}),
        ("live_transitions", {"transitions": "products of 2 tokens"}),
        ("live_attention", {}),
        ("live_steering", CHANGES),
        ("live_steering", {"with": "1 1", "without": "4", "position": "1"}),
        ("live_steering", {"with": "1 1", "without": "4", "position": "1", "along": "take it out"}),
        ("live_lens", {"read": "2"}),
        ("live_state", {"below": "read-out", "position": "2"}),
        ("live_state", {"below": "all heads"}),
        ("live_state", {"below": "over all tokens"}),
        ("live_state", {"below": "recall capacity"}),
    ],
)
def test_the_lines_of_python_on_a_live_page_draw_what_it_shows(
    no_runs: Path, monkeypatch: pytest.MonkeyPatch, page: str, query: dict[str, str]
) -> None:
    app = open_app(no_runs, monkeypatch, page, live="tiny", text="1234", **query)
    assert not app.exception and not app.error
    blocks = [code.value for code in app.code if "result =" in code.value]
    assert blocks
    for block in blocks:
        names: dict = {}
        exec(block.replace("result.figure", "figure = result.figure").replace(".show()", ""), names)
        drawn = names["figure"].to_frame()
        shown = [frame.value for frame in app.dataframe]
        assert any(list(frame.columns) == list(drawn.columns) and frame.equals(drawn) for frame in shown), block


def test_a_change_is_that_of_the_analysis_beside_random_ones(
    no_runs: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_app(no_runs, monkeypatch, "live_steering", live="tiny", text="1234", **CHANGES)
    table = next(frame.value for frame in app.dataframe if "low" in frame.value and "name" in frame.value)
    assert set(table["series"]) == {"unchanged", "changed", "random"}
    from statescope import Edit, load

    own = load(models / "tiny")
    tokens = torch.tensor([[1, 2, 3, 4]])
    key = own.run_with_cache(tokens, names_filter=["blocks.0.attn.hook_k"])[1]["blocks.0.attn.hook_k"][0, 0, 0]
    edits = {"blocks.0.attn.hook_state": [Edit(1, "project_out_key", key)]}
    expected = own.run_with_edits(tokens, edits)[0, 3].detach().softmax(-1)
    for row in table[table["series"] == "changed"].itertuples():
        assert row.value == pytest.approx(float(expected[int(row.name)]), abs=1e-6)


def test_a_text_stays_from_page_to_page(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.util import calc_hash

    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="1 2 3 4 5")
    app.number_input(key="generate").set_value(2).run()
    app.query_params.clear()
    app._page_hash = calc_hash("live_transitions")
    app.run()
    assert app.text_area(key="text").value == "1 2 3 4 5" and app.number_input(key="generate").value == 2


def test_a_step_does_not_bring_the_drawing_library_again(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts name its address, which a browser asks once."""
    app = open_app(no_runs, monkeypatch, "live_state", live="tiny", text="1234")
    sent = {part.proto.component_name: len(part.proto.js_content) for part in app.get("bidi_component")}
    assert max(sent.values()) < 20_000
    assert {chart["library"] for chart in components(app, "figure")} == {library_address()}


def test_the_library_is_that_of_the_installed_package() -> None:
    assert f"plotly.js v{get_plotlyjs_version()}" in library_file().read_text("utf-8")[:200]
    assert library_address().endswith(f"?v={plotly.__version__}")


def test_numbers_go_to_the_browser_packed(no_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser reads them as they lie, where it would parse text number by number."""
    app = open_app(no_runs, monkeypatch, "live_state", live="bytes", text="a cat and a hat")
    figure = json.loads(components(app, "figure")[0]["figure"])
    for trace in figure["data"]:
        if trace["type"] == "heatmap":
            assert set(trace["z"]) == {"dtype", "bdata", "shape"}
