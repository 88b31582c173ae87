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

from statescope.app.cli import main
from statescope.app.plotly_library import library_address, library_file
from statescope.app.server.gate import Gate
from statescope.app.server.launch import NoNameError, PortInUseError, launch, settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_first_start_on_a_machine_asks_nothing_and_serves(tmp_path: Path) -> None:
    port = free_port()
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
                library = urllib.request.urlopen(f"http://127.0.0.1:{port}{library_address()}", timeout=20)
                assert library.read() == library_file().read_bytes()
                assert "immutable" in library.headers["Cache-Control"]
                assert library.headers["Content-Type"].startswith("text/javascript")
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


def served(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int) -> int:
    """The port that `launch` has the server listen on."""
    given: list[int] = []
    monkeypatch.setattr("statescope.app.server.launch._serve", lambda address, port, names: given.append(port))
    monkeypatch.setattr("statescope.app.server.launch.tell", lambda folder, plugins, models: None)
    launch(folder, port, browser=False)
    return given[0]


@pytest.mark.parametrize("port", ["99999999", "65536", "-1", "-80", "9" * 400])
def test_a_number_that_is_no_port_is_a_sentence(
    port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statescope.app.server.launch._serve", lambda *_: pytest.fail("it was served"))
    with pytest.raises(SystemExit) as stopped:
        main(["app", "--no-browser", f"--port={port}"])
    told = capsys.readouterr().err
    assert stopped.value.code == 1
    assert told.startswith("statescope: --port needs a number from 1 to 65535") and told.count("\n") == 1 and len(told) < 200


def test_port_0_is_any_that_is_free_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = served(monkeypatch, tmp_path, 0)
    assert 1024 <= port <= 65535
    assert f"http://127.0.0.1:{port} " in capsys.readouterr().out


def test_a_port_that_is_given_is_the_one_listened_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    assert served(monkeypatch, tmp_path, port) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortInUseError, match="try --port 0"):
            launch(tmp_path, taken.getsockname()[1], browser=False)


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
    for odd in ("http://[", "null", "http://lab.example:8501@evil.example", "http://lab.example:8501.evil", "//x"):
        assert refusal("lab.example:8501", odd, connection=False), odd
    assert gate_of("a")("a", connection=False) is None


def test_two_hosts_in_one_request_are_refused() -> None:
    gate = Gate(lambda *_: None, ["a"])
    assert gate.refusal([(b"host", b"a"), (b"host", b"a")], connection=False)
    assert gate.refusal([], connection=False)
