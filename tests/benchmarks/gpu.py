"""What ten minutes of a GPU show of the Triton kernels: whether they are right, how fast, and whether all configurations are.

    make gpu [WHEELS=folder] [OUT=folder]        python tests/benchmarks/gpu.py [--wheels folder] [--out folder]
    make gpu DRY=1                               python tests/benchmarks/gpu.py --dry

It needs the checkout, Python, torch, Triton and numpy. WHEELS: a folder with wheels of flash-linear-attention, fla-core and
einops, which are unpacked and not installed; without them ours are timed beside their plain torch twins. A dry run walks the
same rows through Triton's interpreter on a CPU, at tiny sizes.

Parts, in order: the default configuration of each family against float64, forward and gradients; times beside
flash-linear-attention, the most important rows first, each checked before it is timed; every configuration; 100 runs that agree
to the bit. Each row is a process of its own with a time limit, so that one that fails, hangs or loses the device takes no other
with it. Rows of checks run side by side; rows of times alone, once their kernels have been compiled. `results.json` and
`results.md` in the output folder are written whole after each row that ends, so that an interruption keeps what was done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLES = [ROOT / "tests" / folder for folder in ("kernels", "triton", "benchmarks")]  # what tests and this script share
BUDGET = 450.0  # seconds of all rows together; those that do not fit are named as not run
ROW_LIMIT = 150.0  # seconds of one row
TINY = (1, 20, 1, 8)
PARTS = ("default", "compile", "times", "configurations", "bits")


@dataclass(frozen=True)
class Row:
    """One process: what it shows, in which part. run: (whether dry) -> the entries of its table."""

    part: str
    name: str
    run: Callable[[bool], list[dict[str, Any]]]


@dataclass(frozen=True)
class Part:
    """Rows of one table. together: whether they may run side by side, and beside the next part's, as times may not."""

    title: str
    rows: tuple[Row, ...]
    together: bool = True


def checks(part: str, kind: str, dry: bool) -> tuple[Row, ...]:
    """The rows of a table of `gpu_checks`."""
    import gpu_checks

    where = gpu_checks.INTERPRETER if dry else gpu_checks.GPU

    def run(check: Any, _: bool) -> list[dict[str, Any]]:
        return [row._asdict() | {"holds": row.holds} for row in check(where)]

    return tuple(Row(part, name, partial(run, check)) for name, check in getattr(gpu_checks, kind)(where).items())


def times(part: str, dry: bool) -> tuple[Row, ...]:
    """Gated delta rule, with taps, and then the others at one shape; then at the other shapes."""
    import peers

    def run(name: str, shape: peers.Shape, dry: bool) -> list[dict[str, Any]]:
        other = "theirs" if _has_fla() and not dry else "twin"
        how: dict[str, Any] = {"device": "cpu", "rounds": 1} if dry else {}
        rows = peers.taps_against_none(shape, **how) if name == "taps" else peers.against(name, shape, **how, other=other)
        beside = "without taps" if name == "taps" else {"theirs": "flash-linear-attention", "twin": "plain torch"}[other]
        return [row._asdict() | {"ratio": row.ratio, "peer is": beside} for row in rows]

    first, *others = list(peers.PEERS)[:1] if dry else peers.PEERS
    shapes = (TINY,) if dry else peers.SHAPES
    names = [(first, shapes[0]), ("taps", shapes[0]), *((name, shapes[0]) for name in others)]
    names += [(name, shape) for shape in shapes[1:] for name in (first, *others)]
    return tuple(Row(part, f"{name}, {' x '.join(map(str, shape))}", partial(run, name, shape)) for name, shape in names)


def compiled(part: str, dry: bool) -> tuple[Row, ...]:
    """Each peer once with two of the sequences of the times, which leaves its kernels compiled on disk."""
    import peers

    def run(name: str, side: str, dry: bool) -> list[dict[str, Any]]:
        begin, peer = time.perf_counter(), peers.PEERS[name]
        tokens = peer.make(TINY if dry else (2, *peers.SHAPES[0][1:]), gradient=True, device="cpu" if dry else "cuda")
        calls = [partial(peer.ours, chunk=chunk) for chunk in peers.CHUNKS] if side == "ours" else [peer.theirs]
        for call in calls:
            call({key: x.detach() for key, x in tokens.items()})
            peers.refusal(peers.step(call, tokens))
        return [{"what": "seconds", "found": time.perf_counter() - begin}]

    names, sides = ("Mamba-2",) if dry else peers.PEERS, ("ours", "theirs") if _has_fla() and not dry else ("ours",)
    return tuple(Row(part, f"{name}, {side}", partial(run, name, side)) for name in names for side in sides)


def parts(dry: bool) -> tuple[Part, ...]:
    return (
        Part("Default configurations against float64", checks("default", "default_checks", dry)),
        Part("Compiled ahead of the times", compiled("compile", dry)),
        Part("Times", times("times", dry), together=False),
        Part("Every configuration", checks("configurations", "configuration_checks", dry)),
        Part("Runs that agree to the bit", checks("bits", "repetition_checks", dry)),
    )


def run_row(part: str, name: str, result: Path, dry: bool) -> None:
    """Run one row in this process, and write its entries, or its error, to a file."""
    import torch

    from statescope.kernels import dispatch

    if part == "compile":
        os.environ["FLA_CACHE_RESULTS"] = "0"  # configurations chosen while others run would slow the peer
    if dry:
        dispatch.FAST_STORAGE = torch.float16
    torch.manual_seed(0)
    begin = time.perf_counter()
    try:
        row = next(row for own in parts(dry) for row in own.rows if (row.part, row.name) == (part, name))
        found: dict[str, Any] = {"entries": row.run(dry)}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    write(result, json.dumps(found | {"seconds": time.perf_counter() - begin}))


def start_row(row: Row, dry: bool, deadline: float) -> dict[str, Any]:
    """Run one row in a process of its own, forked where torch is imported and the GPU not yet touched; read what it wrote."""
    left = min(deadline - time.monotonic(), ROW_LIMIT)
    if left <= 0:
        return {"error": "not run: the time was used up"}
    context = get_context("forkserver")
    context.set_forkserver_preload(["gpu_checks", "peers"])
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "row.json"
        process = context.Process(target=run_row, args=(row.part, row.name, result, dry))
        process.start()
        process.join(left)
        if process.is_alive():
            process.kill()
            process.join()
            return {"error": f"stopped after {left:.0f} seconds"}
        if not result.exists():
            return {"error": f"the process ended with {process.exitcode}"}
        return dict(json.loads(result.read_text()))


def run_rows(parts: Sequence[Part], arguments: argparse.Namespace, deadline: float) -> Iterator[tuple[Part, Row, dict[str, Any]]]:
    """Each row with its part and its result, as they end."""
    for together, side_by_side in groupby(parts, key=lambda part: part.together):
        with ThreadPoolExecutor(arguments.workers if together else 1) as pool:
            rows = [(part, row) for part in side_by_side for row in part.rows]
            started = {pool.submit(start_row, row, arguments.dry, deadline): (part, row) for part, row in rows}
            for ended in as_completed(started):
                yield *started[ended], ended.result()


def run_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """All parts, with the tables written after every row."""
    begin, asked = time.monotonic(), [part for part in parts(arguments.dry) if part.rows[0].part in arguments.only]
    report: dict[str, Any] = {"dry": arguments.dry, "machine": machine(), "seconds": 0.0}
    report["parts"] = {part.title: {row.name: None for row in part.rows} for part in asked}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part, row, result in run_rows(asked, arguments, begin + arguments.seconds):
        report["parts"][part.title][row.name] = result
        report["seconds"] = time.monotonic() - begin
        write(arguments.out / "results.json", json.dumps(report, indent=1))
        write(arguments.out / "results.md", markdown(report))
        print(f"{part.title} | {row.name} | {verdict(result)}", flush=True)
    return report


def write(path: Path, text: str) -> None:
    """A file that appears whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def verdict(result: dict[str, Any] | None) -> str:
    """One cell: what a row came to."""
    if result is None:
        return "not run"
    if "error" in result:
        return str(result["error"]).strip().splitlines()[0][:200]
    entries = result["entries"]
    if "holds" in entries[0]:
        wrong = [entry for entry in entries if not entry["holds"]]
        worst = max(entries, key=lambda entry: (entry["found"] != entry["found"], entry["found"] / (entry["allowed"] or 1)))
        shown = "; ".join(f"{entry['what']}: {entry['found']:.2e}" for entry in wrong[:3])
        said = f"{len(wrong)} of {len(entries)} wrong: {shown}" if wrong else f"{len(entries)} right"
        return f"{said} (worst {worst['found']:.1e} of {worst['allowed']:.0e})"
    if "ratio" in entries[0]:
        return "; ".join(
            f"{entry['what']}: {entry['ours']:.3f} ms, {entry['peer is']} "
            + (f"refuses: {entry['refusal']}" if entry["refusal"] else f"{entry['peer']:.3f} ms, ratio {entry['ratio']:.2f} ")
            + ("" if entry["refusal"] else f"(at most {entry['wanted']:g})")
            for entry in entries
        )
    return "; ".join(f"{entry['what']} {entry['found']:.1f}" for entry in entries)


def markdown(report: dict[str, Any]) -> str:
    """The tables, one a part."""
    about = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    lines = ["# The Triton kernels on a GPU" + (" (a dry run in the interpreter)" if report["dry"] else ""), "", about, ""]
    for title, rows in report["parts"].items():
        lines += [f"## {title}", "", "| row | result |", "|---|---|"]
        lines += [f"| {name} | {verdict(result).replace('|', '/')} |" for name, result in rows.items()]
        lines.append("")
    return "\n".join([*lines, f"{report['seconds']:.0f} seconds in all."]) + "\n"


def machine() -> dict[str, str]:
    """What ran this."""
    import torch
    import triton

    found = {"torch": torch.__version__, "triton": triton.__version__, "python": sys.version.split()[0]}
    if torch.cuda.is_available():
        found = {"GPU": torch.cuda.get_device_name(), "CUDA": str(torch.version.cuda)} | found
    if _has_fla():
        from importlib import metadata

        found["flash-linear-attention"] = metadata.version("fla-core")
    return found


def _has_fla() -> bool:
    from importlib.util import find_spec

    return find_spec("fla") is not None


def import_paths(folder: Path, wheels: Path | None) -> list[str]:
    """Where Python finds the checkout under its name, what the tests share, and the unpacked wheels."""
    (folder / "statescope").symlink_to(ROOT, target_is_directory=True)
    for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return [str(folder), *map(str, TABLES)]


def read_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="walk the rows in Triton's interpreter, at tiny sizes")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu", help="folder of results.json and results.md")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of flash-linear-attention and what it needs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="for all rows together")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1), help="rows of checks side by side")
    arguments = parser.parse_args(given)
    if arguments.wheels and not list(arguments.wheels.glob("*.whl")):
        parser.error(f"--wheels {arguments.wheels} holds no wheels (*.whl)")
    return arguments


def main() -> int:
    """0 where every row ran and every check holds; a time decides nothing."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as folder:
        sys.path[:0] = import_paths(Path(folder), arguments.wheels)
        if arguments.dry:
            os.environ["TRITON_INTERPRET"] = "1"
        import torch

        if not arguments.dry and not torch.cuda.is_available():
            print("no NVIDIA GPU is visible to torch; a dry run needs none: make gpu DRY=1", file=sys.stderr)
            return 2
        report = run_all(arguments)
    print(f"{arguments.out / 'results.md'}")
    results = [result for rows in report["parts"].values() for result in rows.values()]
    failed = [result for result in results if result is None or "error" in result]
    wrong = [entry for result in results if result for entry in result.get("entries", ()) if not entry.get("holds", True)]
    return int(bool(failed or wrong))


if __name__ == "__main__":
    sys.exit(main())
