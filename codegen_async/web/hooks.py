"""Take in what a service reports of runs, so that they are looked at now and not at the next turn."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from codegen_async.errors import ConfigurationError, InvalidArgumentError
from codegen_async.hosted.client import RunClient
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.webhooks import SIGNATURE_HEADER, parse_event, verify
from codegen_async.reading import UNREADABLE
from codegen_async.web.asgi import Reply, Scope, header
from codegen_async.web.problems import stated

_NAMES = ("id", "run_id", "agent_run_id")  # of fields that may hold the id of a run
_MOST = 20  # ids of one report that are looked at
_DEEPEST = 10  # levels of a report that are looked through

DONE = Reply(204)


class Hooks:
    """Take in reports. What they say is not believed: they are a reason to look.

    Args:
        client: whose runs are looked at.
        secret: at Middesk what events are signed with; else a part of the URL that nobody can guess.

    Raises:
        ConfigurationError: the secret is empty: everybody could report.
    """

    def __init__(self, client: RunClient[Any, Any], secret: str) -> None:
        if not secret:
            raise ConfigurationError("hook_secret: expected a text that nobody can guess, got an empty one")
        self._client = client
        self._secret = secret

    def accepts(self, path: str) -> bool:
        """Whether this is the path of a hook, below `hooks/`."""
        if isinstance(self._client, MiddeskClient):
            return path == "middesk"
        own = f"{self._client.dialect.name}/{self._secret}"
        return hmac.compare_digest(path.encode(errors="replace"), own.encode())

    def take(self, scope: Scope, body: bytes) -> Reply:
        """Take in a report, and return the answer.

        Raises:
            InvalidArgumentError: it cannot be read.
            ClientClosedError: the client is not open.
        """
        if not isinstance(self._client, MiddeskClient):
            return self._hint(body)
        if not verify(body, header(scope, SIGNATURE_HEADER.lower()), self._secret):
            return stated(403, "The signature is not that of this body.").reply()
        self._client.notify(parse_event(body))  # which knows those that were seen before
        return DONE

    def _hint(self, body: bytes) -> Reply:
        """Look at all runs that a report may be about: neither its fields nor its signature are documented."""
        try:
            report: object = msgspec.json.decode(body)
        except UNREADABLE:
            report = None
        for number, text in enumerate(_ids(report, _DEEPEST)):
            if number == _MOST:
                break
            try:
                run_id = self._client.read_id(text)
            except InvalidArgumentError:
                continue
            cast("Any", self._client).notify(run_id)
        return DONE


def _ids(report: object, levels: int) -> Iterator[str]:
    if isinstance(report, dict) and levels:
        for name, value in cast("dict[str, object]", report).items():
            if name in _NAMES and isinstance(value, str | int):
                yield str(value)
            yield from _ids(value, levels - 1)
    elif isinstance(report, list) and levels:
        for value in cast("list[object]", report):
            yield from _ids(value, levels - 1)
