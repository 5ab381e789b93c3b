"""Clients and senders that carry the canary, without showing it to the test's own variables."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from codegen_async.codegen.client import CodegenClient
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.http.sender import AiohttpSender
from codegen_async.limits import Limits, Priority, Rate
from codegen_async.secret import Secret
from codegen_async.settings import Timeouts
from tests.support.canary import CANARY

ORG = 323
GET = Request(endpoint="get", method="GET", path=f"/v1/organizations/{ORG}/agent/run/17")
POST = Request(endpoint="create", method="POST", path=f"/v1/organizations/{ORG}/agent/run", body=b'{"prompt":"do it"}')


def open_client(url: str, **options: Any) -> CodegenClient:
    """Return a client of a server on this machine; its token comes from the environment."""
    return CodegenClient(org_id=ORG, base_url=url, **options)


class Sending:
    """A sender together with limits to take slots from."""

    def __init__(self, sender: AiohttpSender, limits: Limits) -> None:
        self.sender = sender
        self.limits = limits

    async def __call__(self, request: Request = GET) -> Response | NoAnswerError:
        """Send one request; return what came of it."""
        try:
            return await self.sender.send(request, lambda: self.limits.slot(request.endpoint, Priority.INTERACTIVE))
        except NoAnswerError as failure:
            return failure


@asynccontextmanager
async def sending(
    url: str, *, timeouts: Timeouts | None = None, max_body: int = 2**20, limit: int = 100, period: float = 30.0
) -> AsyncGenerator[Sending]:
    """Yield a sender to a server on this machine."""
    sender = AiohttpSender(
        url, Secret(CANARY), timeouts=timeouts or Timeouts(), max_body=max_body, user_agent="codegen-async/test"
    )
    limits = Limits({name: Rate(limit, period) for name in ("get", "list", "create")})
    try:
        yield Sending(sender, limits)
    finally:
        await sender.aclose()
