"""Who sent a webhook, what it says, whether it came before, and what a client makes of it."""

import asyncio
import hashlib
import hmac
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.errors import ConfigurationError, InvalidArgumentError
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.models import WebhookEvent
from codegen_async.middesk.webhooks import SIGNATURE_HEADER, SeenEvents, parse_event, verify
from codegen_async.models import Phase
from codegen_async.testing import MiddeskServer
from tests.middesk.helpers import Person, ask, begin, client_of, endpoints, now

SECRET = "a secret"
BODY = b'{"id": "e-1"}'
SIGNATURE = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()

EVENT: dict[str, Any] = {
    "object": "event",
    "id": "e-1",
    "type": "run.completed",
    "account_id": "acc",
    "created_at": "2026-04-30T12:00:11Z",
    "data": {"object": {"object": "run", "id": "r-1", "status": "error", "interrupts": [], "steps": []}},
}

virtual = pytest.mark.asyncio(loop_factories=["virtual"])


# Signatures


@pytest.mark.parametrize("signature", [SIGNATURE, SIGNATURE.upper()])
@pytest.mark.parametrize("secret", [SECRET, SECRET.encode()])
def test_a_signature_of_the_raw_body_is_right(signature: str, secret: str | bytes) -> None:
    assert verify(BODY, signature, secret)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        SIGNATURE[:-1],
        SIGNATURE + "0",
        "sha256=" + SIGNATURE,
        " " + SIGNATURE,
        SIGNATURE + "\n",
        SIGNATURE[:-1] + "g",
        SIGNATURE[:-1] + "\u0663",
        "\u00e9" * 64,
        "\udc80" * 64,
        SIGNATURE.encode(),
        b"",
        7,
        [SIGNATURE],
    ],
)
def test_what_is_no_signature_is_wrong(signature: object) -> None:
    assert verify(BODY, signature, SECRET) is False


@given(st.binary(max_size=50), st.text(max_size=70), st.text(min_size=1, max_size=10))
def test_a_random_text_is_never_a_signature(body: bytes, signature: str, secret: str) -> None:
    key = secret.encode("utf-8", "surrogatepass")
    assert verify(body, signature, key) is False


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"1", b"2")])
def test_a_signature_holds_for_one_body(body: bytes) -> None:
    assert not verify(body, SIGNATURE, SECRET)


def test_a_signature_holds_for_one_secret() -> None:
    assert not verify(BODY, SIGNATURE, "another secret")


@pytest.mark.parametrize("secret", ["", b""])
def test_an_empty_secret_proves_nothing(secret: str | bytes) -> None:
    signature = hmac.new(b"", BODY, hashlib.sha256).hexdigest()
    with pytest.raises(ConfigurationError, match="secret"):
        verify(BODY, signature, secret)


# Events


def test_an_event_has_its_run() -> None:
    event = parse_event(json.dumps(EVENT).encode())
    assert (event.id, event.type, event.account_id, event.created_at) == (
        "e-1",
        "run.completed",
        "acc",
        "2026-04-30T12:00:11Z",
    )
    assert event.run is not None
    assert (event.run.id, event.run.phase, event.run.steps) == ("r-1", Phase.FAILED, ())
    assert event.data == EVENT["data"]


def test_events_about_other_things_have_no_run() -> None:
    event = parse_event(b'{"id": "e", "type": "business.created", "data": {"object": {"object": "business", "id": 3}}}')
    assert event.run is None
    assert event.data["object"]["id"] == 3


def test_an_event_without_data_has_no_run() -> None:
    assert parse_event(b'{"id": "e", "type": "run.archived"}').run is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"type": "run.created"}',
        b'{"id": "", "type": "run.created"}',
        b'{"id": "e", "type": "run.created", "data": {"object": {"id": 7}}}',
        b'{"id": "e", "type": "x", "data": {"a": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgumentError, match="a Middesk event"):
        parse_event(body)


def test_a_repeated_event_is_told_from_its_first() -> None:
    seen = SeenEvents()
    assert [seen.add(event_id) for event_id in ("a", "b", "a", "a", "c", "b")] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]


def test_events_are_remembered_up_to_a_bound() -> None:
    seen = SeenEvents(capacity=3)
    assert all(seen.add(str(number)) for number in range(1000))
    assert not seen.add("998")
    assert seen.add("1")


# A client that hears of events


def event_of(run_id: str, event_id: str = "e") -> WebhookEvent:
    body = {"id": event_id, "type": "run.completed", "data": {"object": {"id": run_id}}}
    return parse_event(json.dumps(body).encode())


@virtual
async def test_an_event_wakes_the_wait_within_one_request(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    async with client_of(middesk_server, latency=3600.0) as client:
        wait = begin(client.wait_for_run(run.id))
        await asyncio.sleep(60.0)
        before = len(middesk_server.requests)
        middesk_server.world.end(run.id)
        heard = now()
        client.notify(event_of(run.id))
        assert (await wait).phase is Phase.SUCCEEDED
        assert endpoints(middesk_server)[before:] == ["get"]
        assert now() - heard < 1.0


@virtual
async def test_a_repeated_event_costs_no_request(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[])
    async with client_of(middesk_server, latency=3600.0) as client:
        wait = begin(client.wait_for_run(run.id))
        await asyncio.sleep(60.0)
        for _ in range(5):
            client.notify(event_of(run.id))
            await asyncio.sleep(10.0)
        assert endpoints(middesk_server) == ["get", "get"]
        client.notify(run.id)
        await asyncio.sleep(10.0)
        assert endpoints(middesk_server) == ["get", "get", "get"]
        wait.cancel()


@virtual
async def test_events_that_concern_no_wait_do_nothing(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        client.notify(event_of("unknown"))
        client.notify(parse_event(b'{"id": "e", "type": "business.created"}'))
        with pytest.raises(InvalidArgumentError):
            client.notify("../1")
        await asyncio.sleep(10.0)
        assert middesk_server.requests == []


# Real deliveries: the simulated server's to an aiohttp handler


def receiver(client: MiddeskClient, answers: list[int]) -> web.Application:
    """Return an application that hands events on; `answers` are the statuses of its first answers."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        if not verify(body, request.headers.get(SIGNATURE_HEADER), SECRET):
            return web.Response(status=401)
        status = answers.pop(0) if answers else 200
        if status == 200:
            client.notify(parse_event(body))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/", receive)
    return app


@virtual
async def test_webhooks_make_waiting_quick_at_the_price_of_a_request_each(middesk_server: MiddeskServer) -> None:
    middesk_server.world.script = [(100.0, ask("a")), (100.0, ask("b")), (100.0, "completed")]
    person = Person()
    async with client_of(middesk_server, latency=3600.0) as client, TestServer(receiver(client, [])) as hook:
        run = middesk_server.world.create()
        middesk_server.add_webhook(str(hook.make_url("/")), SECRET, copies=2)
        began = now()
        final = await client.wait_for_run(run.id, on_blocked=person)
        assert now() - began == pytest.approx(300.0, abs=1.0)
        assert (final.phase, person.rounds) == (Phase.SUCCEEDED, [["a"], ["b"]])
        # A look when a wait begins or goes on, and one at each of the three events that somebody waits for.
        assert endpoints(middesk_server) == ["get", "get", "resume", "get", "get", "resume", "get", "get"]


@virtual
async def test_a_delivery_is_repeated_until_it_is_answered_with_success(middesk_server: MiddeskServer) -> None:
    async with (
        client_of(middesk_server, latency=10 * 86400.0) as client,
        TestServer(receiver(client, [500, 503, 404])) as hook,
    ):
        middesk_server.add_webhook(str(hook.make_url("/")), SECRET)
        run = middesk_server.world.create(script=[(10.0, "completed")])
        final = await client.wait_for_run(run.id)
        await asyncio.sleep(86400.0)
        assert final.phase is Phase.SUCCEEDED
        deliveries = middesk_server.deliveries
        assert sorted(delivery.status for delivery in deliveries) == [200, 200, 404, 500, 503]
        received = [(delivery.type, delivery.status) for delivery in deliveries if delivery.status == 200]
        assert sorted(received) == [("run.completed", 200), ("run.created", 200)]


@virtual
async def test_a_delivery_is_given_up_after_ten_repetitions_in_three_days(middesk_server: MiddeskServer) -> None:
    middesk_server.add_webhook("http://127.0.0.1:9/", SECRET)
    began = now()
    middesk_server.world.create(script=[])
    await asyncio.sleep(30 * 86400.0)
    times = [delivery.time - began for delivery in middesk_server.deliveries]
    assert [delivery.status for delivery in middesk_server.deliveries] == [0] * 11
    assert 1.0 <= times[1] <= 31.0
    assert 0.2 * 86400 <= times[-1] <= 6 * 86400


@virtual
async def test_a_foreign_signature_wakes_nobody(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server, latency=3600.0) as client, TestServer(receiver(client, [])) as hook:
        middesk_server.add_webhook(str(hook.make_url("/")), "another secret")
        run = middesk_server.world.create(script=[(100.0, "completed")])
        wait = begin(client.wait_for_run(run.id))
        await asyncio.sleep(200.0)
        assert not wait.done()
        assert {delivery.status for delivery in middesk_server.deliveries} == {401}
        wait.cancel()


@virtual
async def test_webhooks_stay_on_this_machine(middesk_server: MiddeskServer) -> None:
    with pytest.raises(ValueError, match=r"expected one on 127\.0\.0\.1"):
        middesk_server.add_webhook("http://192.0.2.1/", SECRET)
