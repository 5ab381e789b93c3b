"""Who may come in: no page of another site, no name that leads elsewhere, nobody without the token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping

from codegen_async.web.asgi import Closing, Receive, Scope, Send, header
from codegen_async.web.problems import stated

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
"""The headers of every answer, beside those of all answers: nothing but our own files runs, and nobody embeds them."""

_HERE = ("127.0.0.1", "localhost", "[::1]")


def is_of_us(scope: Scope) -> bool:
    """Whether a request that may change something was made by one of our own pages, or by no page at all.

    Browsers say so in `Sec-Fetch-Site`; those that do not, in `Origin`. A page of another site can forge neither.
    """
    site = header(scope, "sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin, host = header(scope, "origin"), header(scope, "host")
    return origin is None or (bool(host) and origin.partition("://")[2] == host)


def bearer(token: str) -> Callable[[Scope], bool]:
    """Return an `authorize` that wants this token in every request, and takes as long whatever comes instead."""
    expected = f"Bearer {token}".encode()

    def authorize(scope: Scope) -> bool:
        return hmac.compare_digest((header(scope, "authorization") or "").encode(), expected)

    return authorize


class Local:
    """Answer only to the names of this machine: a name of others that leads here is how their pages would reach us.

    Args:
        app: what answers.
        hosts: further names or addresses that it is served under.
    """

    def __init__(self, app: Closing, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset((*_HERE, *map(str.lower, hosts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"]
        if len(given) == 1 and _without_port(given[0]).lower() in self._hosts:
            await self._app(scope, receive, send)
            return
        refused = stated(421, "This is served under another name.").reply()
        await refused.with_headers(HEADERS).send(send, empty=scope["method"] == "HEAD")

    async def aclose(self) -> None:
        """End what is inside."""
        await self._app.aclose()


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
