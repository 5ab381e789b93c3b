"""Two people answer what agents ask. Run it: it talks to a simulated server, in simulated time, and takes a second.

What would be yours is `Inbox` (a page, a chat, a ticket), `webhooks` (a route of your application) and `follow`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from codegen_async import Interrupt, MiddeskClient, MiddeskRun, RunBlockedError
from codegen_async.middesk.webhooks import SIGNATURE_HEADER, parse_event, verify
from codegen_async.testing import MiddeskServer, run_virtual

SECRET = "the secret that the webhook was registered with"
BUSINESS = "0a1b2c3d-0000-4000-8000-000000000001"


class Inbox:
    """Hold questions until somebody answers them."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()

    async def ask(self, run: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any]:
        """Return the answers, by interrupt id, when all are there."""
        loop = asyncio.get_running_loop()
        answers = {interrupt.id: loop.create_future() for interrupt in new}
        for interrupt in new:
            question = f"{run.agent}: {interrupt.label}"
            self.questions.put_nowait((question, answers[interrupt.id]))
        return {interrupt_id: await answer for interrupt_id, answer in answers.items()}


def webhooks(client: MiddeskClient) -> web.Application:
    """Return an application that takes in what Middesk sends."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()  # as it came: the signature is over these bytes
        if not verify(body, request.headers.get(SIGNATURE_HEADER), SECRET):
            return web.Response(status=401)
        client.notify(parse_event(body))
        return web.Response()

    app = web.Application()
    app.router.add_post("/middesk", receive)
    return app


async def follow(client: MiddeskClient, inbox: Inbox) -> MiddeskRun:
    """Start a run and see it through."""
    run = await client.create_run("cip_orchestrator", business_id=BUSINESS)
    try:
        return await client.wait_for_run(
            run,
            on_blocked=inbox.ask,
            interrupt_timeout=3 * 86400,  # nobody for three days
            timeout=3600,  # an hour of the agent's own time
            include_steps=True,
        )
    except RunBlockedError as blocked:
        print("left to a person:", blocked)
        raise


async def person(name: str, thinks: float, inbox: Inbox) -> None:
    """Answer questions, one after the other."""
    while True:
        question, answer = await inbox.questions.get()
        await asyncio.sleep(thinks)
        show(f"{name} approves {question}")
        answer.set_result({"approved": True, "by": name})


def show(what: str) -> None:
    """Print what happens, and when."""
    print(f"{asyncio.get_running_loop().time() - 1000:6.0f} s  {what}")


async def main() -> None:
    """Follow three runs that ask twice, with two people to answer."""
    async with MiddeskServer() as server, MiddeskClient(server.token, base_url=server.url, latency=600) as client:
        server.world.script = [
            (40.0, [{"label": "Is this the right company?"}, {"label": "Is this the owner?"}]),
            (90.0, [{"label": "Approve the report?"}]),
            (20.0, "completed"),
        ]
        inbox = Inbox()
        async with TestServer(webhooks(client)) as receiver:
            server.add_webhook(str(receiver.make_url("/middesk")), SECRET)
            people = [asyncio.create_task(person(name, 300.0, inbox)) for name in ("Ada", "Grace")]
            for ended in asyncio.as_completed([follow(client, inbox) for _ in range(3)]):
                run = await ended
                show(f"run {run.id[:8]} {run.phase}, {len(run.steps or ())} steps")
            for task in people:
                task.cancel()
        polls = sum(request.endpoint == "get" for request in server.requests)
        answers = sum(request.endpoint == "resume" for request in server.requests)
        print(f"{answers} answers, {polls} looks at the server, {server.violations} violations of its limit")


if __name__ == "__main__":
    run_virtual(main())
