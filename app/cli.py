"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro
from tyro.conf import Positional

from ..probe.errors import StatescopeError
from ..probe.results.text import visible_lines
from .figures import figure
from .find_run import find_run

RUNS = Path("runs")
FAILED, USAGE, INTERRUPTED = 1, 2, 130
STUDY_OPTIONS = """--out DIR: the run folder (default runs/{run}).
--seeds 0..4 (or 0,2,5): all of these seeds in one run, with intervals over them.
--plugins FILE.py ...: files of your own with mixers, tasks or estimators.
--workers N: seeds that are done at a time, each in a process of its own.
--keep 0,10,100: steps of training whose checkpoints are kept; the app shows what changes from one to the next.
--device cuda: where models train, on an NVIDIA GPU; the default is cpu.
The run keeps the last three, and goes on with them unless others are given."""
PLUGINS = "--plugins"
FLAGSHIPS = ("parity", "source-code")
DESCRIPTION = """An interpretability and theory workbench for models whose memory is a state.

Behind any command, --plugins FILE.py ... imports mixers, tasks, estimators and results of your own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Whatever a user or a file can cause ends in a sentence. `--debug`, or STATESCOPE_DEBUG=1 in the environment, shows where an
    error came from.
    """
    # Two math threads on two cores are slower than one; this must be set before numpy and torch are imported.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("STATESCOPE_DEBUG", "0") not in ("", "0")
    try:
        _command([word for word in given if word != "--debug"])
    except KeyboardInterrupt:
        _stop("interrupted; the same command goes on where this one stopped", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to print has no reader either
        sys.exit(0)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _stop(explain(error), FAILED)


def _command(given: list[str]) -> None:
    if PLUGINS in given and given[:1] != ["app"]:  # which tells its pages
        given = _import_own(given)
    if given[:1] == ["run"] and len(given) > 1 and not given[1].startswith("-"):
        _run_study(given[1], given[2:])
    elif given[:1] == ["atlas"]:
        from .atlas import COMMANDS as OF_THE_ATLAS

        _choose(OF_THE_ATLAS, given[1:], "statescope atlas", atlas.__doc__ or "")
    else:
        _choose(COMMANDS, given, "statescope", DESCRIPTION)


def _import_own(given: list[str]) -> list[str]:
    """Import the user's files behind --plugins; the words beside them."""
    from ..probe.plugins import import_file

    at = given.index(PLUGINS)
    files = list(takewhile(lambda word: word.endswith(".py"), given[at + 1 :]))
    if not files:
        _stop(f"{PLUGINS} needs one or more Python files behind it, which end in .py", USAGE)
    for file in files:
        import_file(Path(file))
    return given[:at] + given[at + 1 + len(files) :]


def explain(error: Exception) -> str:
    """An error in a sentence: ours say all there is; of others also where they came from."""
    if isinstance(error, StatescopeError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; smaller settings need less"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].filename}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {error}{where}; --debug shows the way there"


def run(study: Annotated[Positional[str], tyro.conf.arg(metavar="STUDY")]) -> None:
    """Run a study: statescope run parity --seed 1 --training.steps 500

    `statescope run NAME --help` lists all settings of a study. The same command goes on where an earlier one stopped.

    Args:
        study: the name of a study; a Python file with a study of your own, my_study.py or my_study.py:NAME; a .toml file with
            `study = "NAME"` and the settings to change; or a run folder, to go on with it.

    """
    _run_study(study, [])


def list_runs(folder: Path = RUNS, json: bool = False) -> None:
    """List the runs there are, and the studies to run.

    Args:
        folder: where runs are.
        json: print JSON instead of tables.

    """
    from .terminal import print_runs

    print_runs(folder, as_json=json)


def show(run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")], folder: Path = RUNS, json: bool = False) -> None:
    """Show a run: its settings, its numbers and its figures.

    Args:
        run: a run folder, or the name of one.
        folder: where runs are.
        json: print JSON instead of tables.

    """
    from .terminal import print_run

    print_run(find_run(run, folder), as_json=json)


def verify(run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")], folder: Path = RUNS) -> None:
    """Compare every file of a run with the digest recorded when it was written.

    Args:
        run: a run folder, or the name of one.
        folder: where runs are.

    """
    from ..probe.runs.run import Run

    found = Run(find_run(run, folder))
    problems = found.problems()
    for problem in problems:
        print(visible_lines(f"{found.path}: {problem}"), file=sys.stderr)
    if problems:
        sys.exit(FAILED)
    count = len(found.manifest.files)
    written = "1 file as it was written" if count == 1 else f"{count} files as they were written"
    print(f"{found.path}: {written} ({found.status})")


def demo(folder: Path = RUNS) -> None:
    """Run the two flagship studies and say where their figures and numbers are.

    Args:
        folder: where runs go.

    """
    from ..probe.runs.study import study_named
    from .terminal import TerminalReporter, print_outcome, say

    for name in FLAGSHIPS:
        study = study_named(name)
        say(f"\n{name}: {study.question} (about {study.time})")
        with TerminalReporter() as reporter:
            finished = study.run(folder / study.run_name, reporter)
        print_outcome(finished)
    print("\nLook at the runs in a browser:\n\n    make app")


def inspect(folder: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")], tokens: int = 32) -> None:
    """What is in a checkpoint: layers, families, state sizes, hooks; and whether it runs here as in its own library.

    Args:
        folder: with config.json and safetensors.
        tokens: how many random tokens logits and states are compared on.

    """
    from ..probe.loaders import load
    from .terminal import print_checkpoint

    if tokens < 1:
        _stop(f"--tokens {tokens}: at least 1 token is compared", USAGE)
    if not print_checkpoint(load(folder), tokens):
        sys.exit(FAILED)


def probe(
    checkpoint: Annotated[Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    data: Annotated[Positional[Path], tyro.conf.arg(metavar="DATA")],
    label: str,
    out: Path | None = None,
) -> None:
    """Probe a label of your own in a model of your own: statescope probe CHECKPOINT DATA.csv --label noun

    It is the study own-data, which has more settings: statescope run own-data --help

    Args:
        checkpoint: a folder with config.json and safetensors.
        data: a CSV or Parquet table. It has a row a token (columns sequence, token and the label), a row a word (sequence, word
            and the label, which is read at the last token of the word), or a row a sequence (text or tokens, and the label). A
            column group names the source of a sequence: folds keep a source together.
        label: the column that is probed.
        out: the run folder; where it is not given, a new one in runs.

    """
    place = [] if out is None else ["--out", str(out)]
    _run_study("own-data", ["--checkpoint", str(checkpoint), "--data", str(data), "--label", label, *place])


def app(
    models: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[MODEL ...]")] = (),
    folder: Path = RUNS,
    port: int = 8501,
    browser: bool = True,
    plugins: tuple[Path, ...] = (),
    address: str = "127.0.0.1",
    names: tuple[str, ...] = (),
) -> None:
    """Open the app in a browser, on this machine only (127.0.0.1).

    It shows runs, and looks into models: those of runs, and those in folders that are named here.

    From elsewhere: ssh -L 8501:127.0.0.1:8501 HOST, and open http://127.0.0.1:8501 there.

    Args:
        models: folders with a model each (config.json and safetensors, of statescope, transformers or flash-linear-attention),
            or folders of such folders.
        folder: where runs are.
        port: to listen on, from 1 to 65535; 0 takes any that is free.
        browser: open a browser window.
        plugins: Python files with studies, results and pages of your own.
        address: listen on another address than this machine's own. Whoever reaches it sees all runs and can start studies.
        names: host names under which a browser may reach another address, if not by the address itself.

    """
    from .server.launch import launch

    launch(folder, port, browser=browser, address=address, names=names, plugins=plugins, models=models)


def atlas() -> None:
    """Measure the claims of papers: statescope atlas list, statescope atlas verify P006 --seeds 0..4."""
    main(["atlas", "--help"])


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "list": list_runs,
    "show": show,
    "verify": verify,
    "demo": demo,
    "inspect": inspect,
    "probe": probe,
    "app": app,
    "figure": figure,
    "atlas": atlas,
}


def _choose(commands: dict[str, Callable[..., Any]], given: list[str], program: str, description: str) -> None:
    for command in commands.values():  # tyro would break a line of the help wherever one of the source ends
        command.__doc__ = re.sub(r"(?<=\S)\n {12,}(?=\S)", " ", command.__doc__ or "")
    tyro.extras.subcommand_cli_from_dict(commands, args=given, prog=program, description=description)


def _run_study(name: str, given: list[str]) -> None:
    """Run the study `name` with settings from flags: defaults < file < flags."""
    if {"--help", "-h"} & set(given):
        from .study_help import study_help

        text = study_help(name, STUDY_OPTIONS)
        if text is not None:
            print(visible_lines(text))
            return
    from .study_arguments import read_keep, read_study, read_workers, take_out
    from .terminal import TerminalReporter, print_outcome

    given, workers = read_workers(given)
    given, device = take_out("--device", given)
    given, keep = read_keep(given)
    study, out = read_study(name, given, STUDY_OPTIONS)
    with TerminalReporter() as reporter:
        finished = study.run(out, reporter, workers=workers, device=device, keep=keep)
    print_outcome(finished)


def _stop(message: str, code: int) -> NoReturn:
    print(f"statescope: {visible_lines(message)}", file=sys.stderr)
    sys.exit(code)
