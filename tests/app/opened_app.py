"""The app as tests open it, without a browser, and the numbers of its charts."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from statescope.probe.runs.manifest import FileRecord

ROOT = Path(__file__).resolve().parents[2]


def open_app(folder: Path, monkeypatch: pytest.MonkeyPatch, page: str = "overview", **query: str) -> AppTest:
    monkeypatch.setenv("STATESCOPE_RUNS", str(folder))
    app = AppTest.from_file(str(ROOT / "app" / "server" / "main.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app._page_hash = calc_hash(page)  # switch_page knows pages that are files alone
    return app.run()


def components(app: AppTest, kind: str) -> list[dict[str, Any]]:
    """What components of the page were given, of those whose data has this entry."""
    found = [json.loads(part.proto.json) for part in app.get("bidi_component") if part.proto.json]
    return [data for data in found if kind in data]


def charts(app: AppTest) -> list[dict[str, Any]]:
    """The figures of the page as plotly has them, each with the sentence for those who cannot see it as "alt"."""
    return [json.loads(data["figure"]) | {"alt": data["alt"]} for data in components(app, "figure")]


def numbers(values: Any) -> np.ndarray:
    """A plotly array, which may be packed."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).astype(float)
    return np.asarray(values, dtype=float)


def record(run: Path, **changes: Any) -> None:
    """Write a manifest anew, with the digests of the files as they are."""
    plain = json.loads((run / "manifest.json").read_text()) | changes
    for name, entry in plain["files"].items():
        entry |= asdict(FileRecord.of(run / name))
    (run / "manifest.json").write_text(json.dumps(plain))
