"""The Middesk API as a dialect. Knows its calls; no client, no waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codegen_async.hosted.dialect import Call, Dialect
from codegen_async.hosted.wire import PageDecoder
from codegen_async.http.answers import Response
from codegen_async.limits import Rate
from codegen_async.middesk import decoding, requests
from codegen_async.middesk.contexts import check_start
from codegen_async.middesk.models import WORDS, MiddeskRun, MiddeskRunPage
from codegen_async.models import Phase

BASE_URL = "https://api.middesk.com"

RATE = Rate(20, 1.0)
"""The vendor's limit, per customer and over all endpoints."""

_ABOUT = ("business_id", "context_type", "context_id")
_PAGE = 100  # runs on a page where one is looked for
_NEXT = (1, 2, 3)  # pages after the first, which may be 0 or 1


class MiddeskDialect(Dialect[MiddeskRun]):
    """Write the calls of the Middesk API and read its answers.

    It gives back no key, but shows the thread of each run. So a thread is made for each run first, and its id is the
    key. A create takes the fields `type`, and `business_id` or `context_type` and `context_id`.
    """

    name = "middesk"
    base_url = BASE_URL
    token_variable = "MIDDESK_API_KEY"  # noqa: S105 - its name
    rates: Mapping[str, Rate | Sequence[Rate]] = {requests.ENDPOINT: RATE}
    phases: Mapping[str, Phase] = WORDS

    def __init__(self) -> None:
        self.pages: PageDecoder[MiddeskRunPage] = decoding.make_page_decoder()
        """Reads pages of runs."""

    def get(self, run_id: str) -> Call[MiddeskRun | None]:
        """Read a run, without its steps, which cost the server a look at another system."""
        return requests.get(run_id)

    def list(self, number: int | None, per_page: int | None) -> Call[MiddeskRunPage]:
        """Read a page of runs."""
        return requests.page(number, per_page, self.pages.decode)

    def parent(self, fields: Mapping[str, Any]) -> Call[str]:
        """Make a thread for a run."""
        if not any(name in fields for name in _ABOUT):
            raise KeyError(_ABOUT[0])
        call = requests.create_thread(check_start(_of(fields)))
        return call.reading(lambda answer: call.read(answer).id)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[MiddeskRun]:
        """Start a run in the thread that is its key."""
        return requests.create({**_of(fields), "thread_id": key})

    def find(self, key: str, since: float | None) -> Call[MiddeskRun | Call[Any] | None]:  # noqa: ARG002 - no run tells it
        """Look for the run of a thread at both ends of the list, as no order is documented."""
        return self._find(key, None, ())

    def _find(self, key: str, number: int | None, ahead: Sequence[int]) -> Call[MiddeskRun | Call[Any] | None]:
        call = self.list(number, _PAGE)

        def read(answer: Response) -> MiddeskRun | Call[Any] | None:
            page = call.read(answer)
            found = next((run for run in page.data if run.thread_id == key), None)
            left = _ends(page) if number is None else ahead
            return self._find(key, left[0], left[1:]) if found is None and left else found

        return call.reading(read)

    def is_own(self, status: int, said: Mapping[str, Any]) -> bool:
        """Whether a refusal is the API's own."""
        return decoding.is_own(status, said)


def _of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a create takes of the fields: the agent, and what it is to look at."""
    return {name: fields[name] for name in ("type", *_ABOUT) if name == "type" or name in fields}


def _ends(page: MiddeskRunPage) -> Sequence[int]:
    """Return the numbers of the pages beyond the first that may show the newest runs."""
    size = len(page.data) + page.unreadable
    if not page.has_more or not size:
        return ()
    last = -(-(page.total_count or 0) // size)
    return sorted({*_NEXT, *range(max(1, last - len(_NEXT)), last + 1)})
