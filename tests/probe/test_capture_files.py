"""A stored capture that was altered, or that somebody else wrote, is refused in a sentence and never waited for."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from statescope import DeltaNet, Model, ModelConfig, Parity, capture, generator_for
from statescope.probe.captures.store import DamagedCaptureError, open_capture
from statescope.probe.files import DiskFullError

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches of four sequences: two chunks of each array."""
    model = Model(ModelConfig(2, 8, 1, DeltaNet(heads=2)))
    batches = [Parity().batch(4, 6, "test", generator_for(0, stream)) for stream in range(2)]
    store = tmp_path_factory.mktemp("made") / "store.zarr"
    capture(model, batches, [HOOK], positions=[2, 5], store=store)
    return store


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store.zarr"))


def refused(store: Path, match: str = "") -> None:
    with pytest.raises(DamagedCaptureError, match=f"store.zarr.*{match}"):
        open_capture(store).features(HOOK)[:]


@pytest.mark.parametrize(
    "where", ["commit.json", "zarr.json", f"hooks/{HOOK}/zarr.json", f"hooks/{HOOK}/c/1/0/0", "tokens/c/0/0"]
)
@pytest.mark.parametrize("what", ["pipe", "link", "empty"])
def test_a_file_that_is_none(where: str, what: str, store: Path) -> None:
    own = (store / where).rename(store.parent / "own")
    if what == "pipe":
        os.mkfifo(store / where)
    elif what == "link":
        (store / where).symlink_to(own)
    else:
        (store / where).touch()
    refused(store)


@pytest.mark.parametrize("name", ["tokens", "groups", "positions", "labels/parity"])
def test_a_part_that_is_gone_is_no_number(name: str, store: Path) -> None:
    chunk = store / name / "c" / "1"
    chunk.unlink() if chunk.is_file() else shutil.rmtree(chunk)
    refused(store, f"a part of {name} is missing")


def test_a_chunk_that_is_gone_is_not_finite(store: Path) -> None:
    (store / f"hooks/{HOOK}/c/1/0/0").unlink()
    with pytest.raises(DamagedCaptureError, match="not finite; it is damaged"):
        open_capture(store).features(HOOK)[:]


def test_a_capture_without_its_activations(store: Path) -> None:
    shutil.rmtree(store / f"hooks/{HOOK}")
    refused(store, "it holds no activation")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((f"hooks/{HOOK}", {"data_type": dtype, "fill_value": 0}) for dtype in ("int32", "bool", "int64")),
        (f"hooks/{HOOK}", {"data_type": "float16"}),
        *((f"hooks/{HOOK}", {"shape": shape}) for shape in ([9, 2, 8], [2**31, 2, 8], [8, 2, 2**60])),
        (f"hooks/{HOOK}", {"fill_value": 10**400}),
        *((name, {"shape": [12, 2]}) for name in ("positions", "labels/parity")),
        ("tokens", {"shape": [10**6, 10**12]}),
        *((name, {"codecs": [{"name": "absent"}]}) for name in ("tokens", f"hooks/{HOOK}")),
    ],
)
def test_an_array_that_says_what_it_is_not(name: str, change: dict[str, Any], store: Path) -> None:
    path = store / name / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(store)


@pytest.mark.parametrize("where", ["zarr.json", f"hooks/{HOOK}/zarr.json", "commit.json"])
def test_nested_without_end(where: str, store: Path) -> None:
    (store / where).write_text("[" * 100_000)
    refused(store)


class OneByOne:
    """Writes of the system that fail at the n-th, as on a disk that is full by then."""

    def __init__(self, last: int) -> None:
        self.left, self.real = last, os.open

    def __call__(self, path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return self.real(path, flags, *rest, **more)


@pytest.mark.parametrize("last", [1, 2])
def test_a_full_disk_is_a_sentence_and_the_capture_goes_on(last: int, made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    model = Model(ModelConfig(2, 8, 1, DeltaNet(heads=2)))
    batches = [Parity().batch(4, 6, "test", generator_for(0, stream)) for stream in range(2)]
    store, call = tmp_path / "own.zarr", {"hooks": [HOOK], "positions": [2, 5], "resume": True}
    with monkeypatch.context() as patch:
        patch.setattr("os.open", OneByOne(last))  # what writes the counter; the first is that of the first batch
        with pytest.raises(DiskFullError, match="no room to write"):
            capture(model, batches, store=store, **call)
    again, whole = capture(model, batches, store=store, **call), open_capture(made)
    assert (again.activations[HOOK][:] == whole.activations[HOOK][:]).all()
    assert not list(store.rglob("*.part"))


@pytest.mark.parametrize("change", [{"written": 7}, {"written": None}, {"classes": [1]}, {"classes": {"parity": 5}}])
def test_a_counter_that_is_none(change: dict[str, Any], store: Path) -> None:
    (store / "commit.json").write_text(json.dumps(json.loads((store / "commit.json").read_text()) | change))
    refused(store)
