"""What the command line prints: progress, tables, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from ..probe.errors import StatescopeError
from ..probe.hooks.names import hook_name, layer_of, place_of
from ..probe.results.text import visible, visible_lines
from ..probe.runs.manifest import in_short
from ..probe.runs.run import Run, list_runs
from ..probe.runs.study import list_studies

if TYPE_CHECKING:
    from ..probe.loaders.agreement import Agreement
    from ..probe.models.hooked import HookedModel

console = Console()


def say(text: object, style: str = "") -> None:
    """Print text as it is: no markup is read in it, and no control character reaches the terminal."""
    console.print(Text(visible_lines(text), style=style), soft_wrap=True)


def cells(*texts: object) -> list[Text]:
    """Texts as the cells of a table, each on one line and as it is."""
    return [Text(visible(text)) for text in texts]


def titled(title: str, *columns: str) -> Table:
    """A table with a title, both as they are. What a column is too narrow for goes on below: a name can be given to a command."""
    whole = [Column(column, overflow="fold") for column in columns]
    return Table(*whole, title=Text(visible(title)), title_justify="left", show_header=any(columns))


class TerminalReporter:
    """A progress bar for each stage: step, loss, time left. Where output is no terminal, a line a stage."""

    def __init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self.task: TaskID | None = None
        self.name = ""

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if console.is_terminal:
            self.progress.stop()

    def stage(self, name: str, total: int | None) -> None:
        self.name = name
        if not console.is_terminal:
            say(name)
            return
        if self.task is not None:
            last = self.progress.tasks[self.task]
            self.progress.update(self.task, completed=last.total or 1, total=last.total or 1)
            self.progress.stop_task(self.task)
        self.task = self.progress.add_task(visible(name), total=total, note="")

    def warn(self, text: str) -> None:
        say(text, "yellow")

    def end(self) -> None: ...

    def advance(self, done: int, note: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=visible(note))
        elif done % 100 == 0:
            say(f"  {self.name}: {done}, {note}")


def print_runs(folder: Path, *, as_json: bool) -> None:
    """The runs in a folder, and the studies."""
    entries = list_runs(folder)
    if as_json:
        print(json.dumps([_run_facts(entry) for entry in entries], indent=2))
        return
    runs = titled(f"runs in {folder}/", "run", "study", "status", "created", "results")
    for entry in entries:
        facts = _run_facts(entry)
        runs.add_row(*cells(*(facts[key] for key in ("run", "study", "status", "created", "results"))))
    if entries:
        console.print(runs)
    else:
        say(f"no runs in {folder}/ yet")
    studies = titled("studies: statescope run NAME", "name", "question", "time")
    for study in list_studies():
        studies.add_row(*cells(study.name, study.question, study.time))
    console.print(studies)


def _run_facts(entry: Run | StatescopeError) -> dict[str, Any]:
    if isinstance(entry, StatescopeError):
        return {"run": "?", "study": "?", "status": f"damaged: {entry}", "created": "", "results": 0}
    manifest = entry.manifest
    shown = {"run": entry.path.name, "study": manifest.title, "status": entry.status, "created": manifest.created}
    return shown | {"results": len(entry.result_names)}


def print_run(path: Path, *, as_json: bool) -> None:
    """Print one run: what it was, and every result in words."""
    run = Run(path)
    manifest = run.manifest
    summaries = {}
    for name in run.result_names:
        try:
            summaries[name] = run.summary(name)
        except StatescopeError as error:
            summaries[name] = f"damaged: {error}"
    if as_json:
        more = {"configuration": manifest.configuration, "packages": manifest.packages, "seconds": manifest.seconds}
        print(json.dumps(_run_facts(run) | more | {"results": summaries}, indent=2))
        return
    facts = titled(str(run.path), "", "")
    spent = sum(manifest.seconds.values())
    for key, value in (
        ("study", manifest.title),
        ("status", run.status + (f": {manifest.error}" if manifest.error else "")),
        ("created", manifest.created),
        ("time", f"{spent:.0f} s"),
        ("seed", in_short(manifest.subject[1])),
        ("torch", manifest.packages.get("torch")),
        ("commit", manifest.source.get("commit")),
        ("cpu", manifest.hardware.get("cpu")),
    ):
        facts.add_row(*cells(key, value))
    console.print(facts)
    for name, text in summaries.items():
        say(f"\n{name}", "bold")
        say(text)


def print_outcome(run: Run) -> None:
    """Print where the numbers and figures of a finished run are."""
    spent = sum(run.manifest.seconds.values())
    say(f"\n{run.manifest.title} {run.status} in {run.path} ({spent:.0f} s)")
    for name in run.result_names:
        say(f"\n{name}  {figure_of(run, name)}", "bold")
        say(run.summary(name))
    say(f"\nnumbers: {run.path}/results/*.parquet    again: statescope show {quote(str(run.path))}")


def figure_of(run: Run, name: str) -> str:
    """Tell where the figure of a result is, or that it has none."""
    file = f"figures/{name}.svg"
    return f"{run.path}/{file}" if file in run.manifest.files else "not drawn"


def _differs(agreement: Agreement | None, layer: int) -> str:
    """How far the state of a layer is from the library's own, for the table."""
    if agreement is None:
        return "not compared"
    if layer not in agreement.states:
        return ""
    error = agreement.states[layer]
    return "not shown by its cache" if error is None else f"{error:.1e}"


def print_checkpoint(model: HookedModel, tokens: int) -> bool:
    """Print a loaded model's layers and how it agrees with its own library. Returns whether that is to 1e-3, or not known."""
    import torch

    from ..probe.hooks.budget import activation_bytes
    from ..probe.loaders.agreement import can_run, check_agreement
    from ..probe.loaders.foreign import ForeignModel

    drawn = torch.randint(0, model.cfg.d_vocab, (1, tokens), generator=torch.Generator().manual_seed(0))
    foreign = model if isinstance(model, ForeignModel) else None
    agreement = check_agreement(foreign, drawn) if foreign is not None and can_run(foreign.foreign) else None
    name = type(model if foreign is None else foreign.foreign).__name__
    table = titled(name, "layer", "mixer", "state, a sequence", "differs by")
    for layer in range(model.layers):
        size = activation_bytes(model, hook_name(layer, "attn.hook_state"), 1, 1, 1, 1) if model.has_state(layer) else 0
        kept = f"{size / 1024:,.1f} KiB" if size else "none"
        table.add_row(str(layer), model.mixer(layer).title, kept, "" if foreign is None else _differs(agreement, layer))
    console.print(table)
    for family, layer in {model.mixer(layer).title: layer for layer in range(model.layers)}.items():
        places = [place_of(own) for own in model.hook_dict if layer_of(own) == layer]
        hooks = [place.removeprefix("attn.") for place in places if place.startswith("attn.")]
        say(f"\nhooks of {family}: {', '.join(hooks) or 'none'}")
        say(f"around it: {', '.join(place for place in places if not place.startswith('attn.'))}")
    say(f"\ntokenizer: {'its own, so that prompts may be text' if model.tokenizer else 'none in the folder; give token ids'}")
    if foreign is None:
        say("it is a model of statescope's own: there is no other library to compare it with")
        return True
    if agreement is None:
        say("its own library runs it on a GPU only: logits and states are not compared on this machine")
        return True
    right = all(error <= 1e-3 for error in (agreement.logits, *agreement.states.values()) if error is not None)  # a NaN is not
    verdict = "agree" if right else "DO NOT AGREE"
    say(f"logits over {tokens} random tokens differ by {agreement.logits:.1e} from the library's own: they {verdict}")
    return right
