"""Speak OpenTelemetry: metrics and spans of what a client does.

    from codegen_async.otel import Telemetry

    async with CodegenClient(observe=Telemetry()) as client: ...

Needs the extra `otel`; where they go is set up with OpenTelemetry's SDK, as in any application. The names follow its
conventions for HTTP clients; what is ours begins with `codegen_async.`. The wait for a slot is a metric of its own and
no part of the time of a request. Never told: headers, bodies, prompts, results, metadata, paths of this machine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import singledispatchmethod
from urllib.parse import urlsplit

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer

from codegen_async.events import Attempt, ClientClosed, ClientOpened, Event, ItemChanged, Observed, PhaseChanged
from codegen_async.limits import LimiterState
from codegen_async.models import RunId
from codegen_async.version import __version__

__all__ = ["Telemetry"]

Attributes = dict[str, str | int | float]

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Bounds of the buckets for requests: those that OpenTelemetry advises."""

RUN_SECONDS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
"""Bounds of the buckets for runs."""

_NAME = "codegen_async"
_ENDPOINT = "codegen_async.endpoint"
_TOO_MANY_REQUESTS = 429
_ERRORS = 400  # and above
_PATIENCE = 1.0  # seconds that a busy loop may take to show its clients to the thread that collects
_RUNS_AT_MOST = 100_000  # of which the beginning is remembered

Reading = tuple[int, Mapping[str, str]]
"""A figure and its attributes."""

Gauge = Callable[[Observed], Iterable[Reading]]


class Telemetry:
    """Observe clients and their batches for OpenTelemetry: `CodegenClient(observe=Telemetry())`.

    One can observe several clients, whose figures are then added up.

    Args:
        meter_provider: where metrics go. Default: the global one.
        tracer_provider: where spans go. Default: the global one.
    """

    def __init__(
        self, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
    ) -> None:
        self._tracer = get_tracer(_NAME, __version__, tracer_provider)
        meter = get_meter(_NAME, __version__, meter_provider)
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=REQUEST_SECONDS,
        )
        self._queued = meter.create_histogram(
            "codegen_async.limiter.wait.duration", "s", "How long requests stood in line for their slots."
        )
        self._rejections = meter.create_counter(
            "codegen_async.limiter.rejections", "{request}", "Requests that were answered with 429."
        )
        self._durations = meter.create_histogram(
            "codegen_async.run.duration",
            "s",
            "From when a run was created here, or first waited for, until its end was seen.",
            explicit_bucket_boundaries_advisory=RUN_SECONDS,
        )
        meter.create_observable_up_down_counter(
            "codegen_async.limiter.slots", [self._gauge(_slots)], "{slot}", "Slots of the rate limits, by state."
        )
        meter.create_observable_gauge(
            "codegen_async.limiter.queue.length", [self._gauge(_lines)], "{request}", "Callers in line for a slot."
        )
        meter.create_observable_up_down_counter(
            "codegen_async.waits", [self._gauge(_waits)], "{run}", "Runs that are waited for."
        )
        meter.create_observable_up_down_counter(
            "codegen_async.batch.items", [self._count_items], "{item}", "Items of batches, by state."
        )
        self._clients: dict[int, tuple[Observed, asyncio.AbstractEventLoop]] = {}
        self._begun: dict[RunId, float] = {}
        self._items: dict[str, dict[str, str]] = {}
        self._in_state: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Take in an event; what an observer is called with."""
        self._take(event)

    @singledispatchmethod
    def _take(self, event: Event) -> None:
        """Take in an event of a kind that is not told: there may be more kinds than metrics."""

    @_take.register
    def _(self, event: ClientOpened) -> None:
        self._clients[id(event.client)] = event.client, asyncio.get_running_loop()

    @_take.register
    def _(self, event: ClientClosed) -> None:
        self._clients.pop(id(event.client), None)

    @_take.register
    def _(self, event: Attempt) -> None:
        attributes = _of_request(event)
        self._requests.record(event.seconds, attributes)
        priority = "background" if event.background else "interactive"
        self._queued.record(event.queued, {_ENDPOINT: event.endpoint, "codegen_async.priority": priority})
        if event.status == _TOO_MANY_REQUESTS:
            self._rejections.add(1, {_ENDPOINT: event.endpoint})
        if not event.background or event.method == "POST":  # polls would be most of all spans, and nobody's
            self._trace(event, attributes)

    @_take.register
    def _(self, event: PhaseChanged) -> None:
        now = asyncio.get_running_loop().time()
        if not event.run.phase.is_terminal:
            if len(self._begun) == _RUNS_AT_MOST:
                del self._begun[next(iter(self._begun))]
            self._begun.setdefault(event.run.id, now)
        elif event.run.id in self._begun:
            seconds = now - self._begun.pop(event.run.id)
            self._durations.record(seconds, {"codegen_async.run.phase": event.run.phase.value})

    @_take.register
    def _(self, event: ItemChanged) -> None:
        items = self._items.setdefault(event.batch, {})
        before = items.get(event.key)
        if before is not None:
            self._in_state[before] -= 1
        items[event.key] = event.state
        self._in_state[event.state] += 1

    def _trace(self, attempt: Attempt, attributes: Attributes) -> None:
        """Write the span of a request that is over."""
        end = time.time_ns()
        more: Attributes = {"url.full": attempt.url, "codegen_async.queued": attempt.queued}
        if attempt.number > 1:
            more["http.request.resend_count"] = attempt.number - 1
        span = self._tracer.start_span(
            f"{attempt.method} {attempt.template}",
            kind=SpanKind.CLIENT,
            attributes={**attributes, **more},
            start_time=end - round(attempt.seconds * 1e9),
        )
        if attempt.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def _gauge(self, look: Gauge) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return what looks at all open clients, from whatever thread collects."""

        def collect(_: CallbackOptions) -> Generator[Observation]:
            totals: Counter[tuple[tuple[str, str], ...]] = Counter()
            for client, loop in list(self._clients.values()):
                for figure, attributes in _on_loop(loop, client, look):
                    totals[tuple(attributes.items())] += figure
            for items, total in totals.items():
                yield Observation(total, dict(items))

        return collect

    def _count_items(self, _: CallbackOptions) -> Generator[Observation]:
        for state, count in dict(self._in_state).items():
            yield Observation(count, {"codegen_async.item.state": state})


def _of_request(attempt: Attempt) -> Attributes:
    """Return what the conventions call a request by."""
    url = urlsplit(attempt.url)
    attributes: Attributes = {
        "http.request.method": attempt.method,
        "server.address": url.hostname or "",
        "server.port": url.port or (80 if url.scheme == "http" else 443),
        "url.template": attempt.template,
    }
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    if attempt.error is not None:
        is_status = attempt.status is not None and attempt.status >= _ERRORS
        attributes["error.type"] = str(attempt.status) if is_status else attempt.error
    return attributes


def _slots(client: Observed) -> Generator[Reading]:
    for endpoint, state in client.limits.items():
        for name, count in _in_states(state).items():
            yield count, {_ENDPOINT: endpoint, "codegen_async.slot.state": name}


def _in_states(state: LimiterState) -> Mapping[str, int]:
    return {"available": state.available, "in_flight": state.in_flight, "cooling": state.cooling}


def _lines(client: Observed) -> Generator[Reading]:
    for endpoint, state in client.limits.items():
        yield state.queue_length, {_ENDPOINT: endpoint}


def _waits(client: Observed) -> Generator[Reading]:
    yield client.waits, {}


def _on_loop(loop: asyncio.AbstractEventLoop, client: Observed, look: Gauge) -> list[Reading]:
    """Return what is seen on a client's loop, where alone it may be looked at; nothing if that is busy or closed."""
    try:
        if asyncio.get_running_loop() is loop:
            return list(look(client))
    except RuntimeError:
        pass  # none is running on this thread
    seen: concurrent.futures.Future[list[Reading]] = concurrent.futures.Future()
    try:
        loop.call_soon_threadsafe(lambda: seen.set_result(list(look(client))))
        return seen.result(_PATIENCE)
    except (RuntimeError, TimeoutError):
        return []
