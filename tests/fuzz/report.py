"""What is damaged is refused in a sentence: `make fuzz` tries it through the command line and prints a table.

Manifests go through `list`, `show` and `verify`, checkpoints through `inspect`, and files of settings through `run`, in this
process. A file of settings that is sound is read alone, for to run it is a study; tables and settings of objects, which no
command takes alone, go through their readers.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import hostile
import torch

from statescope import DeltaNet, Model, ModelConfig, Run, Study, Table, generator_for
from statescope.app.cli import main
from statescope.app.study_arguments import study_from_file
from statescope.probe.configuration import from_plain, to_plain
from statescope.probe.errors import StatescopeError

Outcome = Literal["sound", "refused", "crashed", "lost"]


@dataclass(frozen=True)
class Nothing(Study, kind="fuzz_nothing"):
    def execute(self, run: Run) -> None:
        pass


def command(*arguments: str) -> tuple[Outcome, str]:
    """What came of a command, and what it printed to stdout. An error that it did not foresee, it offers to debug."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        return "crashed", out.getvalue()
    text = out.getvalue() + err.getvalue()
    told = "Traceback" not in text and "--debug" not in text and all(one == "\n" or one.isprintable() for one in text)
    if not told or (code and not text.strip()):
        return "crashed", out.getvalue()
    return "refused" if code else "sound", out.getvalue()


def settings(folder: Path) -> Iterator[Outcome]:
    """Lost: what is read, and is not the same when it is written and read again."""
    for sound, plain in hostile.settings(2000):
        try:
            made = from_plain(type(sound), plain)
            again = from_plain(type(made), json.loads(json.dumps(to_plain(made))))
            yield "sound" if again == made else "lost"
        except StatescopeError as error:
            yield "refused" if str(error) else "crashed"
        except Exception:
            yield "crashed"


def settings_files(folder: Path) -> Iterator[Outcome]:
    """Lost: a folder that is made for a run that cannot be."""
    path, place = folder / "mine.toml", folder / "run"
    for text in hostile.settings_files(500):
        path.write_text(text)
        try:
            study_from_file(path)
            yield "sound"
            continue
        except Exception:
            outcome, _ = command("run", str(path), "--out", str(place))
        yield "lost" if place.exists() or outcome == "sound" else outcome


def manifests(folder: Path) -> Iterator[Outcome]:
    """Lost: a sound run that is not listed beside the damaged one, or files that a command changed."""
    sound = Nothing().run(folder / "sound").path
    good, odd = json.loads((sound / "manifest.json").read_text()), folder / "odd"
    odd.mkdir()
    for data in hostile.manifests(good, 500):
        (odd / "manifest.json").write_bytes(data)
        listed, text = command("list", "--folder", str(folder), "--json")
        shown, verified = command("show", str(odd))[0], command("verify", str(odd))[0]
        if "crashed" in (listed, shown, verified):
            yield "crashed"
            continue
        runs = [entry["run"] for entry in json.loads(text)] if listed == "sound" else []
        kept = (odd / "manifest.json").read_bytes() == data and json.loads((sound / "manifest.json").read_text()) == good
        if len(runs) != 2 or "sound" not in runs or not kept:
            yield "lost"
        else:
            yield "refused" if "refused" in (shown, verified) else "sound"


def tables(folder: Path) -> Iterator[Outcome]:
    """Lost: ids or targets that are none."""
    for turn, path in enumerate(hostile.tables(folder, 300)):
        try:
            task = Table(str(path))
            batch = task.batch(3, 2, "train", generator_for(turn))
            ids = bool(((batch.tokens >= 0) & (batch.tokens < task.vocabulary)).all())
            asked = batch.targets[batch.targets != -100]
            yield "sound" if ids and bool(((asked >= 0) & (asked < task.vocabulary)).all()) else "lost"
        except StatescopeError as error:
            yield "refused" if str(path) in str(error) and "\n" not in str(error) else "crashed"
        except Exception:
            yield "crashed"


def foreign_checkpoints(folder: Path) -> Iterator[Outcome]:
    """Lost: numbers that are not those of the library that the checkpoint is of."""
    from transformers import MambaConfig, MambaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    sizes = {"vocab_size": 13, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 2}
    MambaForCausalLM(MambaConfig(**sizes)).eval().save_pretrained(folder)
    yield from _inspected(folder, 200)


def own_checkpoints(folder: Path) -> Iterator[Outcome]:
    """Lost: a model that gives no finite numbers."""
    Model(ModelConfig(vocabulary=13, width=8, layers=2, mixer=DeltaNet(heads=2))).save(folder / "ours")
    yield from _inspected(folder / "ours", 100)


def _inspected(folder: Path, count: int) -> Iterator[Outcome]:
    for _ in hostile.checkpoints(folder, count):
        outcome, text = command("inspect", str(folder), "--tokens", "5")
        yield "lost" if outcome == "refused" and text.strip() else outcome  # it was read, and does not run as it should


KINDS = {
    "settings of objects": settings,
    "files of settings": settings_files,
    "manifests": manifests,
    "tables": tables,
    "checkpoints of transformers": foreign_checkpoints,
    "checkpoints of our own": own_checkpoints,
}


def report() -> bool:
    """Print the table; whether nothing crashed and nothing was lost."""
    warnings.simplefilter("ignore")
    logging.disable()
    torch.manual_seed(0)
    print("| what | tried | refused with a sentence | crashed | lost |\n|---|---|---|---|---|")
    clean = True
    for what, outcomes in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = Counter(outcomes(Path(folder)))
        print(f"| {what} | {found.total()} | {found['refused']} | {found['crashed']} | {found['lost']} |", flush=True)
        clean &= not (found["crashed"] or found["lost"])
    return clean


if __name__ == "__main__":
    raise SystemExit(not report())
