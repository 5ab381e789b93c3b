"""A `Sender` without a network."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import Slot


class Hang:
    """A reply that never comes.

    Args:
        after: how far the request gets: "slot" (nothing sent), "sent" (no answer), "answered" (no body).
    """

    def __init__(self, after: str) -> None:
        self.after = after


Reply = Response | NoAnswerError | Hang

REFUSED = NoAnswerError("the server cannot be reached", sent=False)
LOST = NoAnswerError("the connection broke", sent=True)
SILENT = NoAnswerError("no answer in time", sent=True, timed_out=True)


def reply(status: int = 200, body: object = b"{}", problem: str | None = None, **headers: str) -> Response:
    """Return an answer; `retry_after="7"` becomes the header `retry-after`."""
    return Response(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else msgspec.json.encode(body),
        problem=problem,
    )


class FakeSender:
    """Answer requests from a queue, and keep a record.

    Args:
        replies: what to answer, in this order.
        then: what to answer when they have run out. Default: nothing, which fails the test.
    """

    def __init__(self, *replies: Reply, then: Reply | None = None) -> None:
        self.replies = deque(replies)
        self._then = then
        self.requests: list[Request] = []
        self.times: list[float] = []
        """When each request was sent, in loop time."""
        self.renewals = 0
        self.closed = False

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        """Send one request; see `Sender`."""
        async with take_slot() as slot:
            self.requests.append(request)
            self.times.append(asyncio.get_running_loop().time())
            answer = self.replies.popleft() if self.replies or self._then is None else self._then
            if isinstance(answer, NoAnswerError):
                if answer.sent:
                    slot.sent()
                raise answer
            if isinstance(answer, Hang):
                return await _hang(answer, slot)
            slot.sent()
            slot.answered()
            return answer

    def renew(self) -> None:
        """Count the renewal."""
        self.renewals += 1

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True


async def _hang(hang: Hang, slot: Slot) -> Response:
    if hang.after != "slot":
        slot.sent()
    if hang.after == "answered":
        slot.answered()
    never: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    return await never
