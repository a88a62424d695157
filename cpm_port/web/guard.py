"""Who may ask, and what a browser may do with the answer; around everything, before anything is read of a request.

- `Host` must be a name of this server: a page of another site whose name was made to point here (DNS rebinding) says
  its own name.
- `Origin`, where a browser sends it, must be this server: no other page can have pictures looked at, or read answers.
  Only the page's own files, which hold nothing of anybody's, go out whoever links to them.
- Where the server can be reached from other machines, everything but those asks for the token, in
  `Authorization: Bearer TOKEN`. (The page takes it from its address behind `#`, which browsers do not send.)
- Every answer carries a content security policy without inline scripts and styles or any other host; nobody may frame
  the page; answers are not kept by caches.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cpm_port.web.jobs import OUR_FAULT

__all__ = ["Guard", "is_loopback", "own_names"]

_log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
ANY_ADDRESS = ("0.0.0.0", "::")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_names(host: str) -> frozenset[str]:
    """Return the names by which a server that listens there may be called, besides addresses (`Guard`)."""
    if host in ANY_ADDRESS:
        machine = socket.gethostname().lower()
        return frozenset((*LOCAL_NAMES, machine, f"{machine}.local"))
    return frozenset((*LOCAL_NAMES, host.lower()))


class Guard:
    """ASGI middleware that lets only proper requests through, and sets every answer's headers.

    Parameters
    ----------
    app : ASGIApp
    host : str
        Where the server listens. On all addresses, any address is a proper `Host`, for no name leads astray.
    token : str or None
    public : iterable of str
        Paths that need no token.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None, public: Iterable[str]) -> None:
        self._app, self._token, self._public = app, token, frozenset(public)
        self._names, self._addresses = own_names(host), host in ANY_ADDRESS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if not begun:
                await JSONResponse({"error": OUR_FAULT}, 500)(scope, receive, guarded)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        if not self._is_own(headers.get("host", "")):
            return JSONResponse({"error": "This server is not called that. Use the address that it printed."}, 421)
        if path in self._public:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != headers["host"].lower()
        if foreign or headers.get("sec-fetch-site") == "cross-site":
            return JSONResponse({"error": "Only this server's own page may ask it."}, 403)
        if self._token is not None:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return JSONResponse({"error": "This server asks for its token."}, 401)
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name in self._names:
            return True
        if not self._addresses or name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
