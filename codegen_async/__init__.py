"""Asyncio-first, typed client for hosted agent runs.

A name is imported when it is first used: asyncio alone takes longer to import than many a script to run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from codegen_async.version import __version__

if TYPE_CHECKING:
    from codegen_async.batch.audit import AuditReport
    from codegen_async.batch.batch import Batch, export_journal, journal_status
    from codegen_async.batch.items import Outcome, State
    from codegen_async.batch.signals import stop_on_signals
    from codegen_async.codegen.account_models import (
        ModelCatalog,
        ModelOption,
        ModelProvider,
        Organization,
        OrganizationPage,
        Repo,
        RepoPage,
        User,
    )
    from codegen_async.codegen.client import CodegenClient
    from codegen_async.codegen.models import (
        AgentRun,
        AgentRunLog,
        AgentRunLogs,
        AgentRunPage,
        AgentType,
        PullRequest,
        SourceType,
    )
    from codegen_async.codegen.prompts import CreateOptions, PromptResult
    from codegen_async.codegen.webhooks import RunWebhook
    from codegen_async.errors import (
        AlreadyExistsError,
        APIError,
        AuthenticationError,
        BatchPausedError,
        CapacityError,
        ClientClosedError,
        CodegenAsyncError,
        ConfigurationError,
        ConnectionFailedError,
        CreateOutcomeUnknownError,
        DecodeError,
        GatewayError,
        InvalidArgumentError,
        InvalidRequestError,
        JournalError,
        LimiterBusyError,
        NotFoundError,
        NotOfferedError,
        OutcomeUnknownError,
        PermissionDeniedError,
        QuotaExceededError,
        RateLimitedError,
        RedirectedError,
        RequestTimeoutError,
        RunBlockedError,
        RunEndedError,
        RunError,
        RunFailedError,
        ServerError,
        StatusError,
        WaitTimeoutError,
        is_passing,
    )
    from codegen_async.hosted.dialect import Call, Dialect, Shown
    from codegen_async.hosted.run import Cost, HostedRun
    from codegen_async.hosted.runs import HostedRuns
    from codegen_async.hosted.settling import OnUnknown
    from codegen_async.http.answers import Refusal, Response, Twice
    from codegen_async.limits import (
        Budget,
        Concurrency,
        ConcurrencyState,
        FleetState,
        LimiterState,
        MemberState,
        Permit,
        Priority,
        Rate,
        WindowLimiter,
        WindowState,
        read_budget,
    )
    from codegen_async.middesk.client import MiddeskClient
    from codegen_async.middesk.free import Artifact, Interrupt, Output
    from codegen_async.middesk.interrupts import InterruptHandler
    from codegen_async.middesk.models import (
        MiddeskAgent,
        MiddeskRun,
        MiddeskRunPage,
        MiddeskThread,
        MiddeskThreadPage,
        Rating,
        Requester,
        RunFeedback,
        Step,
        StreamEvent,
        WebhookEvent,
    )
    from codegen_async.models import Phase, RunId, RunLike
    from codegen_async.settings import Fleet, Timeouts

__all__ = [
    "APIError",
    "AgentRun",
    "AgentRunLog",
    "AgentRunLogs",
    "AgentRunPage",
    "AgentType",
    "AlreadyExistsError",
    "Artifact",
    "AuditReport",
    "AuthenticationError",
    "Batch",
    "BatchPausedError",
    "Budget",
    "Call",
    "CapacityError",
    "ClientClosedError",
    "CodegenAsyncError",
    "CodegenClient",
    "Concurrency",
    "ConcurrencyState",
    "ConfigurationError",
    "ConnectionFailedError",
    "Cost",
    "CreateOptions",
    "CreateOutcomeUnknownError",
    "DecodeError",
    "Dialect",
    "Fleet",
    "FleetState",
    "GatewayError",
    "HostedRun",
    "HostedRuns",
    "Interrupt",
    "InterruptHandler",
    "InvalidArgumentError",
    "InvalidRequestError",
    "JournalError",
    "LimiterBusyError",
    "LimiterState",
    "MemberState",
    "MiddeskAgent",
    "MiddeskClient",
    "MiddeskRun",
    "MiddeskRunPage",
    "MiddeskThread",
    "MiddeskThreadPage",
    "ModelCatalog",
    "ModelOption",
    "ModelProvider",
    "NotFoundError",
    "NotOfferedError",
    "OnUnknown",
    "Organization",
    "OrganizationPage",
    "Outcome",
    "OutcomeUnknownError",
    "Output",
    "PermissionDeniedError",
    "Permit",
    "Phase",
    "Priority",
    "PromptResult",
    "PullRequest",
    "QuotaExceededError",
    "Rate",
    "RateLimitedError",
    "Rating",
    "RedirectedError",
    "Refusal",
    "Repo",
    "RepoPage",
    "RequestTimeoutError",
    "Requester",
    "Response",
    "RunBlockedError",
    "RunEndedError",
    "RunError",
    "RunFailedError",
    "RunFeedback",
    "RunId",
    "RunLike",
    "RunWebhook",
    "ServerError",
    "Shown",
    "SourceType",
    "State",
    "StatusError",
    "Step",
    "StreamEvent",
    "Timeouts",
    "Twice",
    "User",
    "WaitTimeoutError",
    "WebhookEvent",
    "WindowLimiter",
    "WindowState",
    "__version__",
    "export_journal",
    "is_passing",
    "journal_status",
    "read_budget",
    "stop_on_signals",
]

# In the order in which they import one another, so that a light name does not load a heavy module.
_HOMES = (
    "errors",
    "models",
    "settings",
    "limits",
    "codegen.models",
    "codegen.account_models",
    "hosted.settling",
    "codegen.webhooks",
    "codegen.prompts",
    "codegen.client",
    "http.answers",
    "hosted.dialect",
    "hosted.run",
    "hosted.runs",
    "middesk.free",
    "middesk.models",
    "middesk.interrupts",
    "middesk.client",
    "batch.items",
    "batch.audit",
    "batch.batch",
    "batch.signals",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
