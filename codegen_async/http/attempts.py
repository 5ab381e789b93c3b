"""Tell of every request that was made: to the observer, and at DEBUG to the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Self
from urllib.parse import urlencode

from codegen_async.events import Attempt, Reporter
from codegen_async.http.answers import Request, Response
from codegen_async.limits import Slot

_log = logging.getLogger("codegen_async")


class Attempts:
    """Tell of the attempts at one call; `number` counts them."""

    def __init__(self, reporter: Reporter, request: Request, *, background: bool) -> None:
        self._reporter = reporter
        self._request = request
        self._background = background
        self._number = 0

    @classmethod
    def of(cls, reporter: Reporter, request: Request, *, background: bool) -> Self | None:
        """Return what tells of a call; None if nobody listens."""
        wanted = reporter.listening or _log.isEnabledFor(logging.DEBUG)
        return cls(reporter, request, background=background) if wanted else None

    def over(self, slot: Slot | None, response: Response | None, error: str | None) -> None:
        """Tell that an attempt is over, unless its slot never came.

        Args:
            slot: what it was made with.
            response: its answer, if one came.
            error: the class of the error it came to.
        """
        if slot is None or slot.taken_at is None:
            return
        self._number += 1
        attempt = Attempt(
            endpoint=self._request.endpoint,
            method=self._request.method,
            template=self._request.template,
            number=self._number,
            background=self._background,
            status=None if response is None else response.status,
            error=error,
            queued=slot.waited,
            seconds=max(0.0, asyncio.get_running_loop().time() - slot.taken_at),
            size=0 if response is None else len(response.body),
            url=self._url(),
        )
        self._write(attempt)
        self._reporter.tell(attempt)

    def _url(self) -> str:
        query = self._request.query
        return f"{self._reporter.base_url}{self._request.path}" + (f"?{urlencode(query)}" if query else "")

    def _write(self, attempt: Attempt) -> None:
        _log.debug(
            "%s %s: %s in %.3f s (attempt %d, queued %.3f s)",
            attempt.method,
            self._request.path,
            attempt.status if attempt.error is None else f"{attempt.status or 'no answer'}, {attempt.error}",
            attempt.seconds,
            attempt.number,
            attempt.queued,
            extra={
                "endpoint": attempt.endpoint,
                "status": attempt.status,
                "seconds": attempt.seconds,
                "queued": attempt.queued,
                "attempt": attempt.number,
            },
        )
