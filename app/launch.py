"""Start the Streamlit server so that only this machine reaches it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from ..probe.errors import StatescopeError

ADDRESS = "127.0.0.1"
RUNS_VARIABLE = "STATESCOPE_RUNS"


class PortInUseError(StatescopeError, OSError):
    """The port is taken by another program."""


def options(port: int, *, browser: bool) -> list[str]:
    """Streamlit's flags: loopback only, no foreign hosts, telemetry, questions, file watcher or tracebacks in the page."""
    settings = {
        "server.address": ADDRESS,
        "server.port": port,
        "server.headless": not browser,
        "server.showEmailPrompt": False,  # else the first start on a machine waits for an answer
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 5,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "type",
        "client.toolbarMode": "minimal",
    }
    flags = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in settings.items()]
    return [*flags, *(f"--server.allowedHosts={host}" for host in ("localhost", ADDRESS))]


def launch(folder: Path, port: int, *, browser: bool) -> None:
    """Replace this process by the server. Raises PortInUseError where the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise PortInUseError(f"port {port} is taken; give another with --port {port + 1}") from error
    print(f"statescope: the runs in {folder}/ at http://{ADDRESS}:{port} (Ctrl-C stops it)", flush=True)
    os.environ[RUNS_VARIABLE] = str(folder.resolve())
    script = str(Path(__file__).with_name("main.py"))
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", script, *options(port, browser=browser)])  # noqa: S606
