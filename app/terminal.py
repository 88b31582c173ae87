"""What the command line prints: progress, tables, JSON."""

from __future__ import annotations

import json
from pathlib import Path
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
from rich.table import Table

from ..analyses.studies.catalogue import ENTRIES
from ..probe.errors import StatescopeError
from ..probe.runs.run import Run, list_runs

if TYPE_CHECKING:
    from ..probe.loaders.agreement import Parity
    from ..probe.loaders.foreign import ForeignModel

console = Console()


class TerminalReporter:
    """A progress bar for each stage: step, loss, time left. Where output is no terminal, a line a stage."""

    def __init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
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
            console.print(name)
            return
        if self.task is not None:
            last = self.progress.tasks[self.task]
            self.progress.update(self.task, completed=last.total or 1, total=last.total or 1)
            self.progress.stop_task(self.task)
        self.task = self.progress.add_task(name, total=total, note="")

    def warn(self, text: str) -> None:
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def advance(self, done: int, note: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, note=note)
        elif done % 100 == 0:
            console.print(f"  {self.name}: {done}, {note}")


def print_runs(folder: Path, *, as_json: bool) -> None:
    """The runs in a folder, and the studies."""
    entries = list_runs(folder)
    if as_json:
        print(json.dumps([_run_facts(entry) for entry in entries], indent=2))
        return
    runs = Table("run", "study", "status", "created", "results", title=f"runs in {folder}/", title_justify="left")
    for entry in entries:
        facts = _run_facts(entry)
        runs.add_row(*(str(facts[key]) for key in ("run", "study", "status", "created", "results")))
    if entries:
        console.print(runs)
    else:
        console.print(f"no runs in {folder}/ yet")
    studies = Table("name", "question", "time", title="studies: statescope run NAME", title_justify="left")
    for study in ENTRIES:
        studies.add_row(study.name, study.question, study.time)
    console.print(studies)


def _run_facts(entry: Run | StatescopeError) -> dict[str, Any]:
    if isinstance(entry, StatescopeError):
        return {"run": "?", "study": "?", "status": f"damaged: {entry}", "created": "", "results": 0}
    manifest = entry.manifest
    shown = {"run": entry.path.name, "study": manifest.study, "status": entry.status, "created": manifest.created}
    return shown | {"results": len(entry.result_names)}


def print_run(path: Path, *, as_json: bool) -> None:
    """One run: what it was, and every result in words."""
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
    facts = Table("", "", show_header=False, title=str(run.path), title_justify="left")
    spent = sum(manifest.seconds.values())
    for key, value in (
        ("study", manifest.study),
        ("status", run.status + (f": {manifest.error}" if manifest.error else "")),
        ("created", manifest.created),
        ("time", f"{spent:.0f} s"),
        ("seed", manifest.seed),
        ("torch", manifest.packages.get("torch")),
        ("commit", manifest.source.get("commit")),
        ("cpu", manifest.hardware.get("cpu")),
    ):
        facts.add_row(key, str(value))
    console.print(facts)
    for name, text in summaries.items():
        console.print(f"\n[bold]{name}[/bold]")
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_outcome(run: Run) -> None:
    """Where the numbers and figures of a finished run are."""
    spent = sum(run.manifest.seconds.values())
    console.print(f"\n{run.manifest.study} {run.status} in {run.path} ({spent:.0f} s)")
    for name in run.result_names:
        console.print(f"\n[bold]{name}[/bold]  {run.path}/figures/{name}.svg", soft_wrap=True)
        console.print(run.summary(name), markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nnumbers: {run.path}/results/*.parquet    again: statescope show {run.path}", soft_wrap=True)


def _differs(parity: Parity | None, layer: int) -> str:
    """How far the state of a layer is from the library's own, for the table."""
    if parity is None:
        return "not compared"
    if layer not in parity.states:
        return ""
    error = parity.states[layer]
    return "not shown by its cache" if error is None else f"{error:.1e}"


def print_checkpoint(model: ForeignModel, tokens: int) -> bool:
    """The layers of a loaded model, and its parity with its own library. Returns whether they agree to 1e-3."""
    import torch

    from ..probe.hooks.budget import activation_bytes
    from ..probe.loaders.agreement import can_run, check_parity

    drawn = torch.randint(0, model.cfg.d_vocab, (1, tokens), generator=torch.Generator().manual_seed(0))
    parity = check_parity(model, drawn) if can_run(model.foreign) else None
    table = Table("layer", "mixer", "state, a sequence", "differs by", title=type(model.foreign).__name__)
    for layer in range(model.layers):
        mixer = model.mixer(layer)
        size = activation_bytes(model, f"blocks.{layer}.attn.hook_state", 1, 1, 1, 1) if model.has_state(layer) else 0
        table.add_row(str(layer), mixer.adapter.title, f"{size / 1024:,.1f} KiB" if size else "none", _differs(parity, layer))
    console.print(table)
    for family, layer in {model.mixer(layer).adapter.title: layer for layer in range(model.layers)}.items():
        hooks = [name.rsplit(".", 1)[1] for name in model.hook_dict if name.startswith(f"blocks.{layer}.attn.")]
        console.print(f"\nhooks of {family}: {', '.join(hooks) or 'none'}", soft_wrap=True, highlight=False)
    print()
    if parity is None:
        console.print("its own library runs it on a GPU only: logits and states are not compared on this machine", soft_wrap=True)
        return True
    right = all(error <= 1e-3 for error in (parity.logits, *parity.states.values()) if error is not None)  # a NaN is not
    verdict = "agree" if right else "DO NOT AGREE"
    differ = f"logits over {tokens} random tokens differ by {parity.logits:.1e} from the library's own: they {verdict}"
    console.print(differ, soft_wrap=True)
    return right
