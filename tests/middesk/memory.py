"""A `Sender` that asks a simulated world without HTTP: thousands of requests in a second."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from codegen_async.answers import NoAnswerError, Request, Response
from codegen_async.limits import Slot
from codegen_async.testing import MiddeskWorld


class MemorySender:
    """Carry requests to a world and answers back, late and now and then not at all.

    Args:
        world: what answers.
        latency: the most that each way takes, in seconds.
        lost: the share of answers that are lost on their way back, when the work is done.
        rng: decides.
    """

    def __init__(self, world: MiddeskWorld, *, latency: float, lost: float, rng: random.Random) -> None:
        self._world = world
        self._latency = latency
        self._lost = lost
        self._rng = rng

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        """Send one request; see `Sender`."""
        async with take_slot() as slot:
            slot.sent()
            await asyncio.sleep(self._rng.uniform(0.0, self._latency))
            status, body = self._answer(request)
            await asyncio.sleep(self._rng.uniform(0.0, self._latency))
            if self._rng.random() < self._lost:
                raise NoAnswerError("the connection broke", sent=True)
            slot.answered()
            return Response(status=status, body=msgspec.json.encode(body))

    def _answer(self, request: Request) -> tuple[int, Any]:
        _, _, _, run_id, *what = request.path.split("/")
        run = self._world.runs[run_id]
        if not what:
            return 200, self._world.seen(run)
        fields = msgspec.json.decode(request.body or b"")
        if not self._world.answer(run_id, fields["id"], fields["input"]):
            return 422, {"errors": [{"message": "is not a pending interrupt"}]}
        return 200, self._world.response(run)

    def renew(self) -> None:
        """Do nothing: there are no connections."""

    async def aclose(self) -> None:
        """Do nothing."""
