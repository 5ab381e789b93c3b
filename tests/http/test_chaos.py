"""The client behind a proxy that breaks connections, in front of a server that knows what really happened."""

import asyncio

import pytest

from codegen_async.errors import APIError, OutcomeUnknownError
from codegen_async.http.transport import Transport
from codegen_async.secret import Secret
from codegen_async.testing import CodegenServer
from tests.support.canary import CANARY
from tests.support.chaos import Break, ChaosProxy, How, When
from tests.support.clients import POST, open_client, sending

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

HOWS: list[How] = ["close", "reset", "hang"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("when", ["request", "answer"])
async def test_a_get_survives_a_break_at_any_byte(codegen_server: CodegenServer, when: When, how: How) -> None:
    run = codegen_server.world.create("do it")
    for after in range(0, 700, 23):
        plan = Break(when=when, after=after, how=how)
        async with ChaosProxy(codegen_server.url, plan) as proxy, open_client(proxy.url) as client:
            assert (await client.get_run(run.id)).id == run.id
        await asyncio.sleep(60)  # the next client begins with a full window


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("when", ["request", "answer"])
async def test_a_create_that_breaks_at_any_byte_is_never_repeated(
    codegen_server: CodegenServer, when: When, how: How
) -> None:
    """Not even one that fails for lack of a connection may have been carried out."""
    outcomes = set()
    for after in range(0, 700, 23):
        known = len(codegen_server.world.runs)
        plan = Break(when=when, after=after, how=how)
        async with ChaosProxy(codegen_server.url, plan) as proxy:
            error = await create(proxy.url)
            await asyncio.sleep(60)
        made = len(codegen_server.world.runs) - known
        outcomes.add((type(error), made))
        assert proxy.connections == 1
        assert made <= 1
        if error is None:
            assert made == 1
        elif not isinstance(error, OutcomeUnknownError):
            raise AssertionError(f"{after}: {error!r}") from error
    assert (OutcomeUnknownError, 0 if when == "request" else 1) in outcomes


async def create(url: str) -> APIError | None:
    """Send a bare create, without the search for its run that the client would make."""
    async with sending(url) as send:
        transport = Transport(send.sender, send.limits, token=Secret(CANARY))
        try:
            await transport.call(POST, bytes)
        except APIError as error:
            return error
    return None
