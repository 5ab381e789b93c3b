"""What all simulated servers do: limits, record, latency, faults. Shown on the Codegen server."""

import asyncio
import json
from typing import Any, NamedTuple

import aiohttp
import pytest

from codegen_async.http.retry import parse_retry_after
from codegen_async.limits import Rate
from codegen_async.testing import CodegenServer, Fault
from codegen_async.testing.codegen import RATES
from codegen_async.testing.rates import RetryAfter
from codegen_async.testing.server import Request, Window

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

ORGANIZATION = "/v1/organizations/323/agent"
PATHS = {
    "create": ("POST", f"{ORGANIZATION}/run", {"prompt": "do it"}),
    "resume": ("POST", f"{ORGANIZATION}/run/resume", {"agent_run_id": 1, "prompt": "go on"}),
    "get": ("GET", f"{ORGANIZATION}/run/1", None),
    "list": ("GET", f"{ORGANIZATION}/runs", None),
    "logs": ("GET", "/v1/alpha/organizations/323/agent/run/1/logs", None),
}
TOO_MANY = {"message": "Rate limit exceeded. Please try again later.", "status_code": 429}


class Reply(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def now() -> float:
    return asyncio.get_running_loop().time()


async def call(server: CodegenServer, endpoint: str, **options: Any) -> Reply:
    """Send one request on a connection of its own: nothing is repeated behind the test's back."""
    method, path, body = PATHS[endpoint]
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers, connector=fresh()) as session,
        session.request(method, path, **{"json": body, **options}) as response,
    ):
        return Reply(response.status, response.headers, await response.read())


def fresh() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(force_close=True)


async def statuses(server: CodegenServer, endpoint: str, count: int) -> list[int]:
    return [(await call(server, endpoint)).status for _ in range(count)]


# Limits.


async def test_a_limit_that_no_route_spends_is_refused_as_nothing_would_count() -> None:
    with pytest.raises(ValueError, match=r"rates: expected endpoints of routes, which are .*'create'.*got \['creat'\]"):
        CodegenServer(rates={"creat": Rate(10, 60.0), "ceiling": Rate(100, 60.0)})


@pytest.mark.parametrize(
    ("endpoint", "limit", "period"),
    [("create", 10, 60), ("get", 60, 30), ("list", 60, 30), ("logs", 60, 60), ("resume", 10, 60)],
)
async def test_each_endpoint_has_the_limit_of_its_page(
    codegen_server: CodegenServer, endpoint: str, limit: int, period: float
) -> None:
    assert codegen_server.rates[endpoint] == (limit, period)
    assert 429 not in await statuses(codegen_server, endpoint, limit)
    rejected = await call(codegen_server, endpoint)
    assert (rejected.status, rejected.json) == (429, TOO_MANY)
    assert "Retry-After" not in rejected.headers
    await asyncio.sleep(period)
    assert 429 not in await statuses(codegen_server, endpoint, limit)
    assert codegen_server.violations == 1
    assert codegen_server.worst(endpoint) == (limit + 1, limit)


async def test_each_endpoint_counts_for_itself(codegen_server: CodegenServer) -> None:
    assert 429 in await statuses(codegen_server, "create", 11)
    assert await statuses(codegen_server, "list", 60) == [200] * 60


async def test_a_rejected_create_creates_nothing() -> None:
    async with CodegenServer(rates={"create": (1, 60)}) as server:
        assert await statuses(server, "create", 2) == [200, 429]
        assert len(server.world.runs) == 1


async def test_invalid_requests_count() -> None:
    async with CodegenServer(rates={"list": (2, 30)}) as server:
        seen = [(await call(server, "list", params={"limit": 0})).status for _ in range(3)]
    assert seen == [422, 422, 429]


async def test_limits_can_be_replaced_one_by_one() -> None:
    async with CodegenServer(rates={"get": (1, 5)}) as server:
        assert server.rates == {**RATES, "get": (1, 5)}
        assert await statuses(server, "get", 2) == [404, 429]
        await asyncio.sleep(5)
        assert await statuses(server, "get", 2) == [404, 429]


async def test_a_ceiling_counts_all_endpoints() -> None:
    async with CodegenServer(rates={"ceiling": (3, 30)}) as server:
        seen = [(await call(server, endpoint)).status for endpoint in ("list", "get", "logs", "list", "get")]
        assert seen == [200, 404, 404, 429, 429]
        assert server.worst("ceiling") == (5, 3)
        assert server.worst("list").seen == 2


async def test_retry_after_tells_when_the_next_is_admitted() -> None:
    async with CodegenServer(rates={"get": (1, 30)}, retry_after=True) as server:
        await call(server, "get")
        await asyncio.sleep(10.5)
        rejected = await call(server, "get")
        assert rejected.headers["Retry-After"] == "20"
        await asyncio.sleep(20)
        assert (await call(server, "get")).status == 404


@pytest.mark.parametrize(
    ("how", "header"),
    [("up", "20"), ("nearest", "19"), ("down", "19"), ("decimal", "19.400"), ("zero", "0"), (False, None)],
)
async def test_retry_after_is_written_as_one_wants(how: RetryAfter | bool, header: str | None) -> None:
    async with CodegenServer(rates={"get": (1, 30)}, retry_after=how) as server:
        await call(server, "get")
        await asyncio.sleep(10.6)
        assert (await call(server, "get")).headers.get("Retry-After") == header


async def test_retry_after_may_be_a_date_by_the_clock_of_the_answer() -> None:
    async with CodegenServer(rates={"get": (1, 30)}, retry_after="date") as server:
        await call(server, "get")
        headers = (await call(server, "get")).headers
        assert parse_retry_after(headers["Retry-After"], headers["Date"]) == pytest.approx(30, abs=1)


async def test_a_limit_may_be_a_rate_of_the_client() -> None:
    async with CodegenServer(rates={"get": Rate(2, 30.0)}) as server:
        assert server.rates["get"] == (2, 30.0)
        assert await statuses(server, "get", 3) == [404, 404, 429]


async def test_counted_rejections_put_the_end_off() -> None:
    async with CodegenServer(rates={"get": (1, 30)}, count_rejected=True) as server:
        assert await statuses(server, "get", 1) == [404]
        await asyncio.sleep(20)
        assert await statuses(server, "get", 1) == [429]
        await asyncio.sleep(20)
        assert await statuses(server, "get", 1) == [429]
        await asyncio.sleep(31)
        assert await statuses(server, "get", 1) == [404]


BURSTS: dict[Window, list[int]] = {
    # How many of 4 + 4 + 4 requests at 0, 6 and 12 seconds are admitted, at 4 per 10 seconds.
    "sliding": [4, 0, 4],
    "first-hit": [4, 0, 4],
    "bucket": [4, 2, 2],
}


@pytest.mark.parametrize(("window", "admitted"), BURSTS.items())
async def test_the_way_of_counting_can_be_chosen(window: Window, admitted: list[int]) -> None:
    async with CodegenServer(window=window, rates={"get": (4, 10)}) as server:
        seen: list[int] = []
        for _ in range(3):
            seen.append((await statuses(server, "get", 4)).count(404))
            await asyncio.sleep(6)
    assert seen == admitted


async def test_fixed_windows_begin_at_a_phase_from_the_seed() -> None:
    async def phase(seed: int) -> int:
        """Ask every second until the next window begins; return when that is, by the server's clock."""
        async with CodegenServer(window="fixed", rates={"get": (1, 64)}, seed=seed) as server:
            for _ in range(66):
                await call(server, "get")
                await asyncio.sleep(1)
        _, begin = (seen.time for seen in server.requests if seen.status != 429)
        return int(begin % 64)

    phases = [await phase(seed) for seed in range(6)]
    assert len(set(phases)) > 3
    assert await phase(0) == phases[0]


async def test_a_two_counter_server_rejects_bursts_that_keep_the_limit() -> None:
    async with CodegenServer(window="two-counter", rates={"get": (8, 10)}) as server:
        seen: list[int] = []
        for _ in range(6):
            seen += await statuses(server, "get", 8)
            await asyncio.sleep(10)
        assert server.worst("get") == (8, 8)
        assert server.violations == seen.count(429) > 0


async def test_an_endpoint_without_limit_has_no_worst_window(codegen_server: CodegenServer) -> None:
    with pytest.raises(KeyError):
        codegen_server.worst("ceiling")


# The record.


async def test_requests_are_recorded_in_the_order_of_arrival(codegen_server: CodegenServer) -> None:
    first = now()
    await call(codegen_server, "create")
    await asyncio.sleep(3)
    second = now()
    await call(codegen_server, "get")
    assert codegen_server.requests == [Request(first, "create", 200), Request(second, "get", 404)]


async def test_a_request_has_status_0_until_it_is_answered() -> None:
    async with CodegenServer(latency=(1.0, 1.0)) as server:
        pending = asyncio.create_task(call(server, "list"))
        await asyncio.sleep(1.5)
        assert [seen.status for seen in server.requests] == [0]
        await pending
        assert [seen.status for seen in server.requests] == [200]


# Latency and speed.


async def test_latency_passes_before_a_request_is_counted_and_again_after() -> None:
    async with CodegenServer(latency=(2.0, 2.0)) as server:
        began = now()
        await call(server, "create")
        (run,) = server.world.runs.values()
        assert now() - began == pytest.approx(4, abs=1e-3)
        assert server.requests[0].time - began == pytest.approx(2, abs=1e-3)
        assert run.created == server.requests[0].time


async def test_jitter_stays_between_its_bounds_and_follows_the_seed() -> None:
    async def ways(seed: int) -> list[float]:
        async with CodegenServer(latency=(0.1, 0.5), seed=seed) as server:
            taken: list[float] = []
            for _ in range(20):
                began = now()
                await call(server, "list")
                taken += [server.requests[-1].time - began, now() - server.requests[-1].time]
            return [round(way, 3) for way in taken]

    first = await ways(1)
    assert all(0.1 <= way <= 0.501 for way in first)
    assert max(first) - min(first) > 0.2
    assert await ways(1) == first
    assert await ways(2) != first


async def test_a_fast_server_lives_faster_than_the_loop() -> None:
    async with CodegenServer(speed=60) as server:
        run = server.world.create("do it", script=[(0.0, "ACTIVE"), (600.0, "COMPLETE")])
        await asyncio.sleep(9)
        assert server.world.response(run)["status"] == "ACTIVE"
        await asyncio.sleep(1)
        assert server.world.response(run)["status"] == "COMPLETE"


async def test_a_fast_server_shortens_its_limits_and_says_so() -> None:
    async with CodegenServer(speed=60, rates={"get": (1, 600)}, retry_after=True) as server:
        assert (await call(server, "get")).status == 404
        rejected = await call(server, "get")
        assert (rejected.status, rejected.headers["Retry-After"]) == (429, "10")
        await asyncio.sleep(10)
        assert (await call(server, "get")).status == 404


# Faults.


async def test_reset_before_the_work_creates_nothing(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.RESET_BEFORE, endpoint="create")
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await call(codegen_server, "create")
    assert not codegen_server.world.runs
    assert [seen.status for seen in codegen_server.requests] == [0]


async def test_reset_after_the_work_leaves_a_run(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.RESET_AFTER, endpoint="create", times=2)
    for _ in range(2):
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await call(codegen_server, "create")
    assert len(codegen_server.world.runs) == 2
    assert (await call(codegen_server, "create")).status == 200


@pytest.mark.parametrize(("fault", "created"), [(Fault.DROP_BEFORE, 0), (Fault.DROP_AFTER, 1)])
async def test_a_dropped_request_is_never_answered(codegen_server: CodegenServer, fault: Fault, created: int) -> None:
    codegen_server.faults.add(fault)
    began = now()
    with pytest.raises(TimeoutError):
        await call(codegen_server, "create", timeout=aiohttp.ClientTimeout(total=3600))
    assert now() - began >= 3600
    assert len(codegen_server.world.runs) == created


@pytest.mark.parametrize(("fault", "created"), [(Fault.ERROR_BEFORE, 0), (Fault.ERROR_AFTER, 1)])
async def test_an_error_comes_in_plain_text(codegen_server: CodegenServer, fault: Fault, created: int) -> None:
    codegen_server.faults.add(fault, status=503)
    reply = await call(codegen_server, "create")
    assert (reply.status, reply.body) == (503, b"503 Service Unavailable")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert len(codegen_server.world.runs) == created
    assert codegen_server.requests[0].status == 503


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(None, None), (7, "7"), (0.5, "0.5"), ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT")],
)
async def test_a_planned_429_does_nothing_and_is_no_violation(
    codegen_server: CodegenServer, retry_after: float | str | None, header: str | None
) -> None:
    codegen_server.faults.add(Fault.RATE_LIMITED, retry_after=retry_after)
    reply = await call(codegen_server, "create")
    assert (reply.status, reply.json, reply.headers.get("Retry-After")) == (429, TOO_MANY, header)
    assert not codegen_server.world.runs
    assert codegen_server.violations == 0


async def test_slow_headers_come_late(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.SLOW_HEADERS, seconds=40)
    began = now()
    reply = await call(codegen_server, "create")
    assert now() - began == pytest.approx(40, abs=0.01)
    assert reply.json["id"] in codegen_server.world.runs


async def test_a_slow_body_trickles_after_its_headers(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.SLOW_BODY, seconds=40)
    headers = {"Authorization": f"Bearer {codegen_server.token}"}
    began = now()
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{codegen_server.url}{ORGANIZATION}/runs") as response,
    ):
        assert now() - began < 1
        pieces = [piece async for piece in response.content.iter_any()]
    assert len(pieces) > 5
    assert 30 < now() - began <= 41
    assert json.loads(b"".join(pieces))["items"] == []


async def test_broken_json_ends_in_the_middle(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.BROKEN_JSON)
    reply = await call(codegen_server, "create")
    assert reply.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)
    assert len(codegen_server.world.runs) == 1


async def test_a_truncated_body_ends_before_its_length(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.TRUNCATED_BODY)
    # Left open, the connection would be one on which the rest may still come.
    with pytest.raises(aiohttp.ClientPayloadError):
        await call(codegen_server, "create", headers={"Connection": "keep-alive"})
    assert len(codegen_server.world.runs) == 1


@pytest.mark.parametrize("endpoint", ["get", "logs"])
async def test_a_wrong_id_tells_of_another_run(codegen_server: CodegenServer, endpoint: str) -> None:
    codegen_server.world.runs[1] = codegen_server.world.create("do it")
    right = (await call(codegen_server, endpoint)).json
    codegen_server.faults.add(Fault.WRONG_ID)
    wrong = (await call(codegen_server, endpoint)).json
    assert wrong["id"] != right["id"]
    assert {**wrong, "id": right["id"]} == right


async def test_a_page_with_wrong_ids_is_wrong_throughout(codegen_server: CodegenServer) -> None:
    for _ in range(3):
        codegen_server.world.create("do it")
    right = (await call(codegen_server, "list")).json["items"]
    codegen_server.faults.add(Fault.WRONG_ID)
    wrong = (await call(codegen_server, "list")).json["items"]
    assert len(right) == 3
    assert [item["id"] for item in wrong] == [item["id"] + 1 for item in right]


async def test_a_fault_applies_to_refusals_as_well(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.SLOW_HEADERS, seconds=5)
    began = now()
    assert (await call(codegen_server, "get")).status == 404
    assert now() - began >= 5


async def test_rejected_requests_use_no_fault_up() -> None:
    async with CodegenServer(rates={"get": (1, 30)}) as server:
        await call(server, "get")
        server.faults.add(Fault.ERROR_BEFORE)
        assert (await call(server, "get")).status == 429
        await asyncio.sleep(30)
        assert (await call(server, "get")).status == 500


@pytest.mark.parametrize("fault", Fault)
async def test_every_fault_can_strike_and_the_server_goes_on(codegen_server: CodegenServer, fault: Fault) -> None:
    codegen_server.faults.add(fault, seconds=1)
    try:
        async with asyncio.timeout(60):
            await call(codegen_server, "list")
    except (aiohttp.ClientError, TimeoutError):
        pass
    assert codegen_server.faults.injected == {fault: 1}
    assert (await call(codegen_server, "list")).status == 200


async def test_a_connection_is_kept_after_an_answer_that_is_only_bad_or_slow(
    codegen_server: CodegenServer,
) -> None:
    opened: list[object] = []

    async def opening(_: object, __: object, params: object) -> None:
        opened.append(params)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(opening)
    headers = {"Authorization": f"Bearer {codegen_server.token}"}
    async with aiohttp.ClientSession(codegen_server.url, headers=headers, trace_configs=[trace]) as session:
        for fault in (Fault.ERROR_AFTER, Fault.BROKEN_JSON, Fault.SLOW_BODY, Fault.RATE_LIMITED):
            codegen_server.faults.add(fault, seconds=1)
            async with session.get(f"{ORGANIZATION}/runs") as response:
                await response.read()
    assert len(opened) == 1


# Life of the server.


async def test_the_work_goes_on_when_the_client_has_gone() -> None:
    async with CodegenServer(latency=(5.0, 5.0)) as server:
        with pytest.raises(TimeoutError):
            await call(server, "create", timeout=aiohttp.ClientTimeout(total=1))
        assert not server.world.runs
        await asyncio.sleep(10)
        assert len(server.world.runs) == 1


async def test_a_server_stops_at_once_though_requests_are_open() -> None:
    async with CodegenServer() as server:
        server.faults.add(Fault.DROP_AFTER, times=None)
        pending = [asyncio.create_task(call(server, "list")) for _ in range(3)]
        await asyncio.sleep(1)
        began = now()
    assert now() - began < 1
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes)


async def test_a_stopped_server_refuses_connections() -> None:
    async with CodegenServer() as server:
        assert (await call(server, "list")).status == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await call(server, "list")


async def test_servers_stand_side_by_side() -> None:
    async with CodegenServer() as one, CodegenServer(seed=5) as other:
        await call(one, "create")
        assert one.url != other.url
        assert (len(one.world.runs), len(other.world.runs)) == (1, 0)


@pytest.mark.asyncio
async def test_a_server_runs_in_real_time_as_well() -> None:
    async with CodegenServer(speed=1000) as server:
        run = server.world.create("do it", script=[(0.0, "ACTIVE"), (1.0, "COMPLETE")])
        while server.world.response(run)["status"] != "COMPLETE":
            assert (await call(server, "create")).status in {200, 429}
        assert run.finished_at is not None
        assert server.now() >= run.finished_at
