"""What OpenTelemetry is told, as its SDK sees it."""

import asyncio
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from codegen_async import AgentRun, Batch, CodegenClient, Rate
from codegen_async.events import PhaseChanged
from codegen_async.otel import REQUEST_SECONDS, RUN_SECONDS, Telemetry
from codegen_async.testing import CodegenServer, Fault
from tests.batch.helpers import SHORT
from tests.support.canary import CANARY
from tests.support.clients import ORG, open_client
from tests.support.sender import REFUSED, FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = {"id": 17, "organization_id": ORG, "status": "ACTIVE"}
TEMPLATE = "/v1/organizations/{org_id}/agent/run/{run_id}"

Points = dict[frozenset[tuple[str, Any]], Any]


class Kit(NamedTuple):
    """An observer and what it has told."""

    observer: Telemetry
    reader: InMemoryMetricReader
    exporter: InMemorySpanExporter

    def metrics(self) -> Mapping[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        [resource] = data.resource_metrics
        [scope] = resource.scope_metrics
        assert scope.scope.name == "codegen_async"
        return {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> Points:
        return {frozenset((point.attributes or {}).items()): point for point in self.metrics()[name].data.data_points}

    def values(self, name: str, attribute: str) -> dict[Any, Any]:
        return {dict(attributes).get(attribute): point.value for attributes, point in self.points(name).items()}

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest.fixture
def kit() -> Generator[Kit]:
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider([reader]), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Kit(Telemetry(meter_provider=meters, tracer_provider=tracers), reader, exporter)
    meters.shutdown()
    tracers.shutdown()


async def test_a_request_is_measured_as_the_conventions_say(kit: Kit) -> None:
    async with CodegenClient(org_id=ORG, sender=FakeSender(reply(body=RUN)), observe=kit.observer) as client:
        await client.get_run(17)
        metric = kit.metrics()["http.client.request.duration"]
    assert metric.unit == "s"
    [point] = metric.data.data_points
    assert point.attributes == {
        "http.request.method": "GET",
        "server.address": "api.codegen.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "url.template": TEMPLATE,
    }
    assert tuple(point.explicit_bounds) == REQUEST_SECONDS


async def test_the_wait_for_a_slot_is_no_time_of_a_request(codegen_server: CodegenServer, kit: Kit) -> None:
    options: dict[str, Any] = {"rates": {"create": Rate(1, 60.0)}, "observe": kit.observer}
    async with open_client(codegen_server.url, **options) as client:
        await asyncio.gather(client.create_run("a"), client.create_run("b"))
        [request] = kit.points("http.client.request.duration").values()
        [(attributes, wait)] = kit.points("codegen_async.limiter.wait.duration").items()
    assert dict(attributes) == {"codegen_async.endpoint": "create", "codegen_async.priority": "interactive"}
    assert (request.count, wait.count) == (2, 2)
    assert request.sum < 1
    assert wait.sum == pytest.approx(60.1, abs=0.1)
    assert wait.max > 60
    queued = [span.attributes["codegen_async.queued"] for span in kit.spans if span.attributes]
    assert sorted(queued) == [pytest.approx(0, abs=0.01), pytest.approx(60.1, abs=0.1)]  # type: ignore[type-var]
    assert all((span.end_time or 0) - (span.start_time or 0) < 1e9 for span in kit.spans)


async def test_each_attempt_of_a_call_is_a_span(kit: Kit) -> None:
    sender = FakeSender(REFUSED, reply(503), reply(body=RUN))
    async with CodegenClient(org_id=ORG, sender=sender, observe=kit.observer) as client:
        await client.get_run(17)
    assert [span.name for span in kit.spans] == [f"GET {TEMPLATE}"] * 3
    assert all(span.kind is SpanKind.CLIENT for span in kit.spans)
    told = [dict(span.attributes or {}) for span in kit.spans]
    assert [span.get("http.request.resend_count") for span in told] == [None, 1, 2]
    assert [span.get("error.type") for span in told] == ["ConnectionFailedError", "503", None]
    assert [span.get("http.response.status_code") for span in told] == [None, 503, 200]
    assert [span.status.status_code for span in kit.spans] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert {span["url.full"] for span in told} == {f"https://api.codegen.com/v1/organizations/{ORG}/agent/run/17"}


async def test_a_refusal_is_an_error(codegen_server: CodegenServer, kit: Kit) -> None:
    async with open_client(codegen_server.url, observe=kit.observer) as client:
        await asyncio.gather(client.get_run(1), return_exceptions=True)
    [span] = kit.spans
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "404"
    assert (span.attributes or {})["server.address"] == "127.0.0.1"


async def test_polls_are_measured_and_have_no_spans(codegen_server: CodegenServer, kit: Kit) -> None:
    async with open_client(codegen_server.url, observe=kit.observer) as client:
        await client.wait_for_run(await client.create_run("x"))
        waits = kit.points("codegen_async.limiter.wait.duration")
    assert [span.name for span in kit.spans] == ["POST /v1/organizations/{org_id}/agent/run"]
    assert {"background", "interactive"} == {dict(key)["codegen_async.priority"] for key in waits}


async def test_slots_lines_and_waits_are_those_of_the_client(codegen_server: CodegenServer, kit: Kit) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE")]
    async with open_client(codegen_server.url, observe=kit.observer, rates={"create": Rate(2, 60.0)}) as client:
        runs = [await client.create_run(name) for name in "ab"]
        third = asyncio.create_task(client.create_run("c"))
        waits = [asyncio.create_task(client.wait_for_run(run)) for run in runs]
        await asyncio.sleep(1)
        slots = {
            frozenset(dict(key).values()): point.value
            for key, point in kit.points("codegen_async.limiter.slots").items()
        }
        assert slots[frozenset({"create", "cooling"})] == 2
        assert slots[frozenset({"create", "available"})] == 0
        assert slots[frozenset({"create", "in_flight"})] == 0
        assert slots[frozenset({"logs", "available"})] == 60
        assert kit.values("codegen_async.limiter.queue.length", "codegen_async.endpoint")["create"] == 1
        assert kit.points("codegen_async.waits")[frozenset()].value == 2
        # An exporter collects on a thread of its own.
        metrics = await asyncio.to_thread(kit.metrics)
        assert metrics["codegen_async.waits"].data.data_points[0].value == 2
        for task in (third, *waits):
            task.cancel()
        await asyncio.gather(third, *waits, return_exceptions=True)
    assert "codegen_async.waits" not in kit.metrics()


async def test_rejections_are_counted(codegen_server: CodegenServer, kit: Kit) -> None:
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="list", times=2, retry_after=1)
    async with open_client(codegen_server.url, observe=kit.observer) as client:
        await client.list_runs_page()
        assert kit.values("codegen_async.limiter.rejections", "codegen_async.endpoint") == {"list": 2}


async def test_runs_are_measured_from_their_creation_to_their_end(codegen_server: CodegenServer, kit: Kit) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (100.0, "COMPLETE")]
    async with open_client(codegen_server.url, observe=kit.observer) as client:
        run = await client.create_run("x")
        await asyncio.sleep(50)
        await client.wait_for_run(run)
        [(attributes, point)] = kit.points("codegen_async.run.duration").items()
    assert dict(attributes) == {"codegen_async.run.phase": "succeeded"}
    assert point.count == 1
    assert 100 <= point.sum <= 106
    assert tuple(point.explicit_bounds) == RUN_SECONDS


async def test_a_run_whose_beginning_is_not_known_is_not_measured(kit: Kit) -> None:
    kit.observer(PhaseChanged(AgentRun(id=17, organization_id=ORG, status="FAILED"), None))
    assert kit.reader.get_metrics_data() is None or "codegen_async.run.duration" not in kit.metrics()


async def test_items_are_counted_by_state_over_restarts(
    codegen_server: CodegenServer, kit: Kit, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    name = "codegen_async.batch.items"
    for _ in range(2):
        async with (
            open_client(codegen_server.url, observe=kit.observer) as client,
            Batch(client, tmp_path / "batch.db") as batch,
        ):
            for key in "abc":
                batch.add("do it", key=key)
            await batch.status()
            counted = kit.values(name, "codegen_async.item.state")
            assert sum(counted.values()) == 3
            async for _ in batch.run():
                pass
    assert kit.values(name, "codegen_async.item.state")["ended"] == 3
    assert sum(kit.values(name, "codegen_async.item.state").values()) == 3


async def test_units_are_those_of_the_documentation(codegen_server: CodegenServer, kit: Kit, tmp_path: Path) -> None:
    codegen_server.world.script = SHORT
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="create", times=1, retry_after=1)
    async with (
        open_client(codegen_server.url, observe=kit.observer) as client,
        Batch(client, tmp_path / "batch.db") as batch,
    ):
        batch.add("do it")
        async for _ in batch.run():
            pass
        units = {name: metric.unit for name, metric in kit.metrics().items()}
    assert units == {
        "http.client.request.duration": "s",
        "codegen_async.limiter.wait.duration": "s",
        "codegen_async.limiter.slots": "{slot}",
        "codegen_async.limiter.queue.length": "{request}",
        "codegen_async.limiter.rejections": "{request}",
        "codegen_async.waits": "{run}",
        "codegen_async.run.duration": "s",
        "codegen_async.batch.items": "{item}",
    }


async def test_no_prompt_result_or_token_is_told(codegen_server: CodegenServer, kit: Kit) -> None:
    async with open_client(codegen_server.url, observe=kit.observer) as client:
        run = await client.create_run("a secret wish", metadata={"why": "a secret reason"})
        final = await client.wait_for_run(run)
        shown = kit.reader.get_metrics_data()
        assert shown is not None
        text = shown.to_json() + "".join(span.to_json() for span in kit.spans)
    assert "secret" not in text
    assert CANARY not in text
    assert final.result is None or final.result not in text
