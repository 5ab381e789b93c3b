"""What all calls of the Codegen client stand on."""

from __future__ import annotations

from codegen_async.codegen.decoding import Decoding
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.requests import Requests
from codegen_async.hosted.client import RunClient


class CodegenCalls(RunClient[AgentRun, int]):
    """Know how requests are written and answers read; the client is made of such parts, one for each kind of call."""

    _requests: Requests
    _decoding: Decoding
