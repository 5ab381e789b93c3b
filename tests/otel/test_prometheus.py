"""What Prometheus sees through OpenTelemetry's exporter."""

import asyncio
from collections.abc import Generator

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from codegen_async.otel import Telemetry
from codegen_async.testing import CodegenServer, Fault
from tests.support.clients import open_client


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    meters = MeterProvider([PrometheusMetricReader()])
    yield Telemetry(meter_provider=meters)
    meters.shutdown()


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_the_names_are_those_of_the_documentation(codegen_server: CodegenServer, telemetry: Telemetry) -> None:
    codegen_server.faults.add(Fault.RATE_LIMITED, endpoint="create", times=1, retry_after=1)
    async with open_client(codegen_server.url, observe=telemetry) as client:
        await client.wait_for_run(await client.create_run("x"))
        lines = (await asyncio.to_thread(generate_latest, REGISTRY)).decode().splitlines()  # as its server does
    names = {line.split(" ")[2] for line in lines if line.startswith("# TYPE")}
    assert {
        "http_client_request_duration_seconds",
        "codegen_async_limiter_wait_duration_seconds",
        "codegen_async_limiter_slots",
        "codegen_async_limiter_queue_length",
        "codegen_async_limiter_rejections_total",
        "codegen_async_waits",
        "codegen_async_run_duration_seconds",
    } <= names
    [slots] = [
        line for line in lines if line.startswith("codegen_async_limiter_slots{") and "logs" in line and "avail" in line
    ]
    assert 'codegen_async_slot_state="available"' in slots
    assert slots.endswith(" 60.0")
