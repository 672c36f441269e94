"""Requests that pages of other sites make a browser send: none of them is answered.

A page that is not public knows its visitors by being reachable to them only. Any site that such a
visitor opens can make their browser write to it (a foreign ``Origin``), or can give its own name
this machine's address and then read as well (a foreign ``Host``, known as DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SHARED = ".gradio.live"


class OwnPagesOnly:
    """ASGI middleware that refuses requests of foreign pages and to foreign names.

    Args:
        app: what answers.
        names: by which the page may be called, beside ``localhost``, addresses and this machine's
            own name.
        is_shared: whether ``launch(share=True)`` gave it a name under gradio.live.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), is_shared: bool = False) -> None:
        self._app = app
        self._given = {name.lower() for name in names}
        own = socket.gethostname().lower()
        self._known = self._given | {"localhost", own, f"{own}.local", socket.getfqdn().lower()}
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not (403)."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":  # nor shown inside another site's page
                message.setdefault("headers", []).append(
                    (b"content-security-policy", b"frame-ancestors 'self'")
                )
            await send(message)

        await self._app(scope, receive, send_unframed)

    def _refusal(self, headers: Headers) -> str:
        host = headers.get("host", "")
        name = _host_name(f"//{host}")
        if not self._is_known(name):
            return (
                f"This page does not answer to the name {name[:80]!r}. Open it by its address, or "
                f"start it with --name {name[:80]}."
            )
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2].lower() == host.lower():
            return ""
        if _host_name(origin) in self._given:
            return ""
        return (
            f"This request comes from another page ({origin[:80]}) and was refused. If that is "
            "this page's own name, start it with --name NAME."
        )

    def _is_known(self, name: str) -> bool:
        if name in self._known or (self._is_shared and name.endswith(_SHARED)):
            return True
        try:
            ipaddress.ip_address(name)  # no name, so nobody else's
        except ValueError:
            return False
        return True


def _host_name(address: str) -> str:
    """The host of an address without port, lower case; "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""
