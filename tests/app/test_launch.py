"""The app as `make app` starts it on a machine where Streamlit never ran."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def test_the_first_start_on_a_machine_asks_nothing_and_serves(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "statescope", "app", "--folder", str(tmp_path), "--port", str(port)]
    home = os.environ | {"HOME": str(tmp_path), "BROWSER": "true"}
    process = subprocess.Popen(
        command, env=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline, health = time.monotonic() + 60, b""
        while not health and process.poll() is None and time.monotonic() < deadline:
            try:
                health = urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).read()
            except OSError:
                time.sleep(0.2)
    finally:
        process.terminate()
        printed, _ = process.communicate(timeout=20)
    assert health == b"ok", printed
    assert "mail" not in printed, printed
