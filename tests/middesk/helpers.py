"""What the Middesk tests share."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.free import Interrupt
from codegen_async.middesk.models import MiddeskRun
from codegen_async.testing import MiddeskServer
from tests.support.sender import FakeSender

T = TypeVar("T")

BUSINESS = "0a1b2c3d-0000-4000-8000-000000000001"
AGENT = "cip_orchestrator"


def client_of(server: MiddeskServer, **options: Any) -> MiddeskClient:
    """Return a client of a simulated server."""
    return MiddeskClient(server.token, base_url=server.url, **options)


def client_with(sender: FakeSender, **options: Any) -> MiddeskClient:
    """Return a client that talks to a fake."""
    return MiddeskClient("key", base_url="https://api.example.com", sender=sender, **options)


def endpoints(server: MiddeskServer) -> list[str]:
    """Return where the requests went, in their order."""
    return [request.endpoint for request in server.requests]


def ask(*labels: str) -> list[dict[str, Any]]:
    """Return questions for a script."""
    return [{"label": label} for label in labels]


def yes(run: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any]:
    """Agree to everything."""
    return {interrupt.id: {"run": run.id, "answer": f"yes: {interrupt.label}"} for interrupt in new}


class Person:
    """A handler: thinks for a while, answers as told, and remembers what it was asked.

    Args:
        thinks: seconds it takes for a round.
        answer: what it says. Default: yes to everything.
    """

    def __init__(
        self,
        thinks: float = 0.0,
        answer: Callable[[MiddeskRun, Sequence[Interrupt]], Mapping[str, Any] | None] = yes,
    ) -> None:
        self.rounds: list[list[str | None]] = []
        """The labels of each round."""
        self.began: asyncio.Event = asyncio.Event()
        self._thinks = thinks
        self._answer = answer

    async def __call__(self, run: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any] | None:
        self.rounds.append([interrupt.label for interrupt in new])
        self.began.set()
        await asyncio.sleep(self._thinks)
        return self._answer(run, new)


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Let something go on by itself."""
    return asyncio.create_task(work)


def now() -> float:
    return asyncio.get_running_loop().time()
