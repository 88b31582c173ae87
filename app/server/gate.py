"""What the server lets in: requests to its own names, and from its own pages.

Streamlit's own checks let a page of any other port of this machine open the connection that runs the app, ask a service
outside which address this machine has, and look at no request but the one that opens it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Gate:
    """An ASGI application around another one.

    names: the host names and addresses under which a browser reaches the server. A request whose Host header names another
        one is refused, for a stranger's name may be made to lead here. The port is not compared: it is another one behind
        an SSH tunnel.

    A page of another origin is refused too: the Origin of a request, scheme aside, is its Host with its port, and a connection
    that runs the app has to have one.
    """

    def __init__(self, inner: Application, names: Collection[str]) -> None:
        self.inner = inner
        self.names = frozenset(name.lower() for name in names)

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Pass a request on, or answer 403 and say why."""
        if scope["type"] not in ("http", "websocket"):
            await self.inner(scope, receive, send)
            return
        refusal = self.refusal(scope["headers"], connection=scope["type"] == "websocket")
        if refusal is None:
            await self.inner(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": refusal.encode()})

    def refusal(self, headers: Collection[tuple[bytes, bytes]], *, connection: bool) -> str | None:
        """Why a request is refused, or None. connection: it opens the connection that runs the app."""
        hosts, origins = (
            [value.decode("latin-1") for name, value in headers if name == wanted] for wanted in (b"host", b"origin")
        )
        if len(hosts) != 1 or _name(hosts[0]) not in self.names:
            return f"this server answers to {', '.join(sorted(self.names))} only"
        if not origins:
            return "a connection needs the Origin of the page that opens it" if connection else None
        if len(origins) != 1 or _host_of(origins[0]) != hosts[0].lower():
            return "this server answers its own pages only"
        return None


def _host_of(origin: str) -> str | None:
    """The name and port in an Origin header, or None for what is no origin of a page."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _name(host: str) -> str | None:
    """The name in a Host header, or None for one that is no name and port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and parts.username is None else None
