"""Deliver the events of a simulated Middesk account: signed, and again until they are answered with success."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

__all__ = ["Delivery", "Webhook", "Webhooks"]

RETRIES = 10
"""Repeated deliveries, over some three days."""

_GROWTH = 2.8  # ten delays that begin with 15 s add up to three days
_PATIENCE = 10.0


class Webhook(NamedTuple):
    """Where events go: only to this machine. `copies` is how often each is sent, as if an answer had been lost."""

    url: str
    secret: str
    copies: int


class Delivery(NamedTuple):
    """An attempt: when (server's clock), which event, and the status of the answer, 0 if there was none."""

    time: float
    event_id: str
    type: str
    status: int


class Webhooks:
    """Send events to those who asked for them.

    Args:
        clock: the server's.
        speed: how many times faster it is than the loop's.
        seed: of the delays.
    """

    def __init__(self, clock: Callable[[], float], speed: float, seed: int) -> None:
        self.deliveries: list[Delivery] = []
        """All attempts that came to an end."""
        self._now = clock
        self._speed = speed
        self._delays = random.Random(f"{seed}:webhooks")
        self._hooks: list[Webhook] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def add(self, hook: Webhook) -> None:
        """Send events there from now on.

        Raises:
            ValueError: it is not on this machine.
        """
        if not ipaddress.ip_address(urlsplit(hook.url).hostname or "").is_loopback:
            raise ValueError(f"url: expected one on 127.0.0.1, got {hook.url!r}")
        self._hooks.append(hook)

    def send(self, event: Mapping[str, Any]) -> None:
        """Deliver an event, in the background."""
        for hook in self._hooks:
            for _ in range(hook.copies):
                task = asyncio.create_task(self._deliver(hook, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Give up what is not delivered yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, hook: Webhook, event: Mapping[str, Any]) -> None:
        for delay in self._pauses():
            status = await self._post(hook, event)
            self.deliveries.append(Delivery(self._now(), event["id"], event["type"], status))
            if 200 <= status < 300:  # noqa: PLR2004 - success
                return
            await asyncio.sleep(delay / self._speed)

    def _pauses(self) -> Iterator[float]:
        first = self._delays.uniform(1.0, 30.0)
        return (first * _GROWTH**n for n in range(RETRIES + 1))

    async def _post(self, hook: Webhook, event: Mapping[str, Any]) -> int:
        body = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Middesk-Signature-256": hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest(),
            "X-Correlation-Id": event["data"]["object"]["id"],
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE)) as session,
                session.post(hook.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0
