"""What all calls of the Codegen client stand on."""

from __future__ import annotations

from codegen_async.codegen.dialect import CodegenDialect
from codegen_async.codegen.models import AgentRun
from codegen_async.hosted.waits import WaitCalls


class CodegenCalls(WaitCalls[AgentRun, int]):
    """Know the dialect; the client is made of such parts, one for each kind of call."""

    dialect: CodegenDialect = CodegenDialect(0)  # pyright: ignore[reportIncompatibleVariableOverride] - no other is set
