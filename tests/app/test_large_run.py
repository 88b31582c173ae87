"""A run far larger than the memory, and one with many results of a kind: pages read and draw what they show, and no more."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import pytest
from opened_app import charts, open_app

from statescope.probe.runs.manifest import FileRecord

GIGABYTE = 10**9
MOST = GIGABYTE  # bytes, of 20 GB; what pages import counts too
IN_SPACE = {"scatter3d", "scattergl", "surface", "mesh3d", "heatmapgl", "cone", "volume", "isosurface"}  # a WebGL context each
MOST_IN_SPACE = 8  # a browser gives up the oldest of some sixteen


def add_files(run: Path, files: dict[str, FileRecord], results: dict[str, str] | None = None) -> None:
    """List files in the manifest of a run, and results of other names like those that stand there."""
    path = run / "manifest.json"
    plain = json.loads(path.read_text())
    plain["files"] |= {name: vars(record) for name, record in files.items()}
    plain["results"] |= {name: plain["results"][like] for name, like in (results or {}).items()}
    path.write_text(json.dumps(plain))


@pytest.fixture
def large(finished: Path, tmp_path: Path) -> Path:
    """A folder with a run of 20 GB: a capture, and an older checkpoint whose header is right. Both are holes on the disk."""
    run = tmp_path / "runs" / "source"
    shutil.copytree(finished / "source", run)
    first = next((run / "checkpoints").glob("*/*.safetensors"))
    older = first.with_name("step-0000001.safetensors")
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2 * GIGABYTE], "data_offsets": [0, 8 * GIGABYTE]}}).encode()
    older.write_bytes(len(header).to_bytes(8, "little") + header)
    chunk = run / "captures" / "windows.zarr" / "hooks" / "c"
    chunk.parent.mkdir(parents=True)
    for path, size in ((older, 8 * GIGABYTE + 8 + len(header)), (chunk, 12 * GIGABYTE)):
        with path.open("ab") as file:
            file.truncate(size)
    sizes = {older: 8 * GIGABYTE + 8 + len(header), run / "captures" / "windows.zarr": 12 * GIGABYTE}
    add_files(run, {path.relative_to(run).as_posix(): FileRecord("0" * 64, size) for path, size in sizes.items()})
    return run.parent


def taken() -> tuple[int, int]:
    """The bytes that this process has read so far, and the most that it has held."""
    read = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(read["rchar"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_run_of_20_gigabytes_is_shown_without_reading_it(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would hash, load or map either of its large files would read, or hold, at least 8 GB."""
    begun = taken()
    for page in ("overview", "states", "transitions", "probes", "training", "directions", "tangent", "runs", "compare"):
        app = open_app(large, monkeypatch, page, run="source")
        assert not app.exception and not app.error and app.header, page
    app = open_app(large, monkeypatch, "live_state", run="source", text="f(a, [1])")
    assert not app.exception and not app.error and charts(app)
    read, held = (now - before for now, before in zip(taken(), begun, strict=True))
    assert 0 < read < MOST and held < MOST


def test_of_many_paths_in_space_a_page_draws_few(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chart in three dimensions takes one of the few WebGL contexts that a browser has; a page may take eight."""
    run = tmp_path / "runs" / "parity"
    shutil.copytree(finished / "parity", run)
    kept = run / "results" / "state_trajectory.parquet"
    names = [f"path_{number:02d}" for number in range(MOST_IN_SPACE + 4)]
    for name in names:
        shutil.copy(kept, kept.with_name(f"{name}.parquet"))
    files = {f"results/{name}.parquet": FileRecord.of(kept) for name in names}
    add_files(run, files, dict.fromkeys(names, "state_trajectory"))
    app = open_app(run.parent, monkeypatch, "states", run="parity", view="space", path="path_07")
    assert not app.exception and not app.error
    drawn = [any(trace["type"] in IN_SPACE for trace in chart["data"]) for chart in charts(app)]
    assert 1 <= sum(drawn) <= MOST_IN_SPACE
    (box,) = [box for box in app.selectbox if box.label == "path"]
    assert box.value == "path_07" and set(box.options) >= set(names)
