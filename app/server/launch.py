"""Start the server of the app so that only this machine reaches it."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...probe.errors import StatescopeError
from ...probe.results.palette import SERIES
from ..environment import tell
from ..model_folders import check_folder, check_runs_folder

ADDRESS = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (refused without names)
LAST_PORT = 65535


class PortInUseError(StatescopeError, OSError):
    """The port is taken by another program."""


class BadPortError(StatescopeError, ValueError):
    """A number that is no port."""


class NoNameError(StatescopeError, ValueError):
    """An address that is every address, without the names a browser may use."""


def settings(address: str, port: int) -> dict[str, Any]:
    """Streamlit's settings: no telemetry, questions, advertisement, file watcher or tracebacks in the page.

    A server that calls itself headless neither opens a browser nor offers to install things; the browser is opened by `launch`.
    """
    return {
        "global.disableWidgetStateDuplicationWarning": True,  # a default, and what was chosen on the page before
        "server.address": address,
        "server.port": port,
        "server.headless": True,
        "server.showEmailPrompt": False,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.maxUploadSize": 5,
        "server.enableAgentApi": False,
        "server.enableStaticServing": False,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "client.toolbarMode": "minimal",
        "logger.hideWelcomeMessage": True,
        # What is chosen is not red, which says that something is wrong. A colour for all themes would do away with the dark one.
        "theme.light.textColor": "#101010",  # captions are six tenths of it and of the next, and have to be read
        "theme.light.codeTextColor": "#101010",
        "theme.dark.codeTextColor": "#fafafa",
        "theme.light.primaryColor": SERIES[0],
        "theme.dark.primaryColor": SERIES[5],
    }


def launch(
    folder: Path,
    port: int,
    *,
    browser: bool,
    address: str = ADDRESS,
    names: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    models: Sequence[Path] = (),
) -> None:
    """Serve the app until it is stopped.

    port: from 1 to 65535, or 0 for any that is free; which one that is stands in the address that is printed.
    address: to listen on. Another one than this machine's own is for those who know who reaches it: whoever does sees all
        runs and can start studies.
    names: under which a browser reaches another address, if not by the address itself.
    plugins: Python files with results and pages of one's own, which are imported.
    models: folders with a model, or with several in folders of their own; no page opens another one but those of runs.

    Raises NoModelError for a folder without a model, RunItselfError where the folder of runs is one of them.
    Raises BadPortError for what is no port, PortInUseError where it is taken, NoNameError for "0.0.0.0" or "::" without names.
    """
    check_runs_folder(folder)
    for path in models:
        check_folder(path)
    if not 0 <= port <= LAST_PORT:
        raise BadPortError(f"--port needs a number from 1 to {LAST_PORT}, or 0 for any that is free; got {port!s:.12}")
    if address in EVERY_ADDRESS and not names:
        raise NoNameError(f"{address} is every address of this machine; say by --names under which names a browser may reach it")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            port = probe.getsockname()[1]
        except OSError as error:
            raise PortInUseError(f"{address}, port {port} is taken or not ours; try --port 0, which takes a free one") from error
    shown = names[0] if address in EVERY_ADDRESS else address
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    print(f"statescope: the runs in {folder}/ at {url} (Ctrl-C stops it)", flush=True)
    tell(folder, plugins, models)
    if browser:
        threading.Thread(target=_open_when_ready, args=(url,), daemon=True).start()
    _serve(address, port, [*names, *({address, ADDRESS, "localhost"} - {*EVERY_ADDRESS})])


def _serve(address: str, port: int, names: Sequence[str]) -> None:
    import streamlit
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import FileResponse
    from starlette.routing import Route

    from ..plotly_library import HEADERS, PATH, library_file
    from . import warm_up
    from .gate import Gate

    def library(request: Request) -> FileResponse:
        return FileResponse(library_file(), media_type="text/javascript", headers=HEADERS)

    script = Path(__file__).with_name("main.py")
    warm_up.begin()
    app = streamlit.App(
        script, routes=[Route(PATH, library)], middleware=[Middleware(Gate, names=names)], on_script_error=tell_error
    )
    app.run(config=settings(address, port))


def tell_error(error: Exception) -> bool:
    """Say on the page, in a sentence, that it could not be drawn. Streamlit has put the traceback on the terminal."""
    import streamlit

    from ..components.text import literal

    streamlit.error(
        f"This page could not be drawn: {literal(f'{type(error).__name__}: {error}')}. Other pages and runs still work; the "
        "terminal that serves the app has the details."
    )
    return True


def _open_when_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()  # noqa: S310 (http, and our own)
            webbrowser.open(url)
            return
        except OSError:
            time.sleep(0.2)
