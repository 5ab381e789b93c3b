"""Send an answer, whole or broken."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import msgspec
from aiohttp import web

from codegen_async.testing.faults import Fault, Injection

__all__ = ["Answer", "deliver", "status_sent"]

_PIECES = 10
# l_onoff and l_linger: end the connection with RST (reset), not with FIN (good-bye).
_RESET = struct.pack("ii", 1, 0)


class Answer(NamedTuple):
    """What the server means to say."""

    status: int
    payload: Any
    headers: Mapping[str, str] = {}

    @property
    def body(self) -> bytes:
        """The payload as JSON; what is no text (half an emoji, from a script of a test) is escaped."""
        try:
            return msgspec.json.encode(self.payload)
        except UnicodeEncodeError:
            return json.dumps(self.payload).encode()

    def response(self, body: bytes | None = None) -> web.Response:
        """Return the answer as it goes out, perhaps with another body."""
        return web.Response(
            status=self.status,
            body=self.body if body is None else body,
            content_type="application/json",
            headers=self.headers,
        )


async def deliver(request: web.Request, answer: Answer, injection: Injection | None) -> web.StreamResponse:
    """Answer a request, or fail to in the way that is planned."""
    if injection is None:
        return answer.response()
    return await _DELIVERIES[injection.fault](request, answer, injection)


def status_sent(answer: Answer, injection: Injection | None) -> int:
    """Return the status that the client gets to see; 0 if none."""
    if injection is None:
        return answer.status
    if injection.fault in _SILENT:
        return 0
    return injection.status if injection.fault in _FAILING else answer.status


async def _reset(request: web.Request, _: Answer, __: Injection) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        request.transport.abort()
    return web.Response()  # goes nowhere


async def _drop(_: web.Request, __: Answer, ___: Injection) -> web.StreamResponse:
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never  # until the server stops


async def _fail(_: web.Request, answer: Answer, injection: Injection) -> web.StreamResponse:
    status = HTTPStatus(injection.status)
    return web.Response(status=status, text=f"{status.value} {status.phrase}", headers=answer.headers)


async def _delay(_: web.Request, answer: Answer, injection: Injection) -> web.StreamResponse:
    await asyncio.sleep(injection.seconds)
    return answer.response()


async def _trickle(request: web.Request, answer: Answer, injection: Injection) -> web.StreamResponse:
    body = answer.body
    response = await _start(request, answer, len(body))
    size = -(-len(body) // _PIECES)
    for start in range(0, len(body), size):
        await response.write(body[start : start + size])
        await asyncio.sleep(injection.seconds / _PIECES)
    return response


async def _truncate(request: web.Request, answer: Answer, _: Injection) -> web.StreamResponse:
    body = answer.body
    response = await _start(request, answer, len(body))
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _break(_: web.Request, answer: Answer, __: Injection) -> web.StreamResponse:
    body = answer.body
    return answer.response(body[: len(body) // 2])


async def _mistake(_: web.Request, answer: Answer, __: Injection) -> web.StreamResponse:
    return answer._replace(payload=_with_wrong_ids(answer.payload)).response()


async def _answer(_: web.Request, answer: Answer, __: Injection) -> web.StreamResponse:
    return answer.response()


async def _start(request: web.Request, answer: Answer, size: int) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = "application/json"
    response.content_length = size
    await response.prepare(request)
    return response


def _with_wrong_ids(payload: Any) -> Any:
    """Return an object with another id, or a list, or an object that holds lists, with such objects."""
    if isinstance(payload, list):
        return [_with_wrong_ids(item) for item in cast("Any", payload)]
    if not isinstance(payload, Mapping):
        return payload
    fields = dict(cast("Mapping[str, Any]", payload))
    if (name := fields.get("id")) is not None:
        return {**fields, "id": name + 1 if isinstance(name, int) else f"{name}1"}
    return {key: _with_wrong_ids(value) if isinstance(value, list) else value for key, value in fields.items()}


_Delivery = Callable[[web.Request, Answer, Injection], Awaitable[web.StreamResponse]]

_DELIVERIES: dict[Fault, _Delivery] = {
    Fault.RESET_BEFORE: _reset,
    Fault.RESET_AFTER: _reset,
    Fault.DROP_BEFORE: _drop,
    Fault.DROP_AFTER: _drop,
    Fault.ERROR_BEFORE: _fail,
    Fault.ERROR_AFTER: _fail,
    Fault.REFUSED: _answer,
    Fault.RATE_LIMITED: _answer,
    Fault.SLOW_HEADERS: _delay,
    Fault.SLOW_BODY: _trickle,
    Fault.BROKEN_JSON: _break,
    Fault.TRUNCATED_BODY: _truncate,
    Fault.WRONG_ID: _mistake,
}
_SILENT = {Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.DROP_BEFORE, Fault.DROP_AFTER}
_FAILING = {Fault.ERROR_BEFORE, Fault.ERROR_AFTER}
