"""The app as `make app` starts it on a machine where Streamlit never ran."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit.config

from statescope.app.server.gate import Gate
from statescope.app.server.launch import NoNameError, launch, settings


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


def test_what_streamlit_would_do_by_itself_is_off() -> None:
    """Its advertisement on the page is shown where a server is not headless; questions, telemetry and tracebacks are settings."""
    chosen = settings("127.0.0.1", 8501)
    assert chosen["server.address"] == "127.0.0.1"
    on = ("server.headless", "logger.hideWelcomeMessage")
    off = (
        "server.showEmailPrompt",
        "server.runOnSave",
        "server.enableAgentApi",
        "browser.gatherUsageStats",
        "client.showErrorLinks",
    )
    assert all(chosen[name] is True for name in on) and not any(chosen[name] for name in off)
    assert chosen["client.showErrorDetails"] == "none" and chosen["server.fileWatcherType"] == "none"
    assert set(chosen) <= set(streamlit.config._config_options_template), "a setting that this Streamlit does not know"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_every_address_needs_the_names_a_browser_may_use(tmp_path: Path, address: str) -> None:
    with pytest.raises(NoNameError, match="--names"):
        launch(tmp_path, 8501, browser=False, address=address)


def gate_of(*names: str) -> Callable[..., str | None]:
    gate = Gate(lambda *_: None, names)

    def refusal(host: str, origin: str | None = None, *, connection: bool = True) -> str | None:
        headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
        return gate.refusal(headers, connection=connection)

    return refusal


def test_another_address_is_reached_under_its_own_name_alone() -> None:
    refusal = gate_of("lab.example", "fe80::1", "127.0.0.1")
    assert refusal("lab.example:8501", "https://lab.example:8501") is None  # behind a proxy that speaks TLS
    assert refusal("LAB.example:8501", "http://lab.example:8501") is None
    assert refusal("[fe80::1]:8501", "http://[fe80::1]:8501") is None
    assert refusal("other.example:8501", "http://other.example:8501")
    assert refusal("lab.example:8501", "http://lab.example:8502")
    assert refusal("lab.example:8501", "file://lab.example:8501")
    for odd in ("lab.example:x", "lab.example:99999", "u@lab.example", "lab.example/x", "lab.example?x", "[", "[fe80::1", ""):
        assert refusal(odd, f"http://{odd}"), odd
    assert gate_of("a")("a", connection=False) is None


def test_two_hosts_in_one_request_are_refused() -> None:
    gate = Gate(lambda *_: None, ["a"])
    assert gate.refusal([(b"host", b"a"), (b"host", b"a")], connection=False)
    assert gate.refusal([], connection=False)
