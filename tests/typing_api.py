"""What type checkers infer of public calls. Type-checked, never run."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from codegen_async import (
    AgentRun,
    AgentRunLog,
    AgentRunLogs,
    AgentRunPage,
    AgentType,
    APIError,
    CodegenClient,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    LimiterState,
    ModelCatalog,
    Organization,
    OrganizationPage,
    OutcomeUnknownError,
    Phase,
    PromptResult,
    PullRequest,
    Rate,
    RateLimitedError,
    Repo,
    RepoPage,
    RunBlockedError,
    RunError,
    RunFailedError,
    RunId,
    RunLike,
    RunWebhook,
    SourceType,
    StatusError,
    Timeouts,
    User,
    WaitTimeoutError,
    WindowLimiter,
)
from codegen_async.testing import CodegenServer, run_virtual


async def opening() -> None:
    async with CodegenClient() as client:
        assert_type(client, CodegenClient)
    async with CodegenClient(
        "token",
        org_id=5,
        base_url="https://example.test",
        latency=1,
        share=0.5,
        rates={"get": Rate(1, 1.0)},
        ceiling=Rate(60, 60.0),
        timeouts=Timeouts(total=5.0),
        max_body=2**20,
    ) as client:
        assert_type(client.org_id, int)
        assert_type(client.base_url, str)
        assert_type(client.limits, dict[str, LimiterState])
    CodegenClient(org_id="5")  # type: ignore[arg-type]
    CodegenClient("token", 5)  # type: ignore[call-arg]
    CodegenClient(timeouts=60.0)  # type: ignore[arg-type]
    with CodegenClient():  # type: ignore[attr-defined]
        pass


async def calls(client: CodegenClient) -> None:
    assert_type(await client.create_run("x"), AgentRun)
    assert_type(
        await client.create_run(
            "x",
            images=["data:image/png;base64,AAAA", Path("a.png")],
            metadata={"a": [1, {"b": None}]},
            repo_id=1,
            model="m",
            agent_type=AgentType.CODEGEN,
        ),
        AgentRun,
    )
    assert_type(await client.resume_run(17, "go on", images=(Path("a.png"),)), AgentRun)
    assert_type(await client.get_run(17), AgentRun)
    assert_type(client.list_runs(user_id=1, source_type=SourceType.SLACK, page_size=5), AsyncGenerator[AgentRun])
    assert_type(await client.list_runs_page(skip=1, limit=2), AgentRunPage)
    assert_type(client.run_logs(17, reverse=True), AsyncGenerator[AgentRunLog])
    assert_type(await client.run_logs_page(17, skip=1, limit=2), AgentRunLogs)
    assert_type(client.follow_logs(17, latency=1), AsyncGenerator[AgentRunLog])
    assert_type(await client.run("x", timeout=60, repo_id=1, images=[Path("a.png")], raise_on_failure=True), AgentRun)
    assert_type(client.map(["x", "y"], max_active=5, model="m"), AsyncGenerator[PromptResult])
    async for result in client.map(iter(["x"]), webhooks=[{"url": "https://example.com"}]):
        assert_type(result.unwrap(), AgentRun)
        assert_type(result.run, AgentRun | None)
        assert_type(result.ok, bool)
    hook: RunWebhook = {"url": "https://example.com", "secret": "s"}
    await client.create_run("x", webhooks=[hook])
    await client.resume_run(17, "y", model="m", webhooks=(hook,))
    client.map(["x"], repo="acme/website")  # type: ignore[call-arg]
    client.map(["x"], webhooks=[{"secret": "s"}])  # type: ignore[typeddict-item]
    assert_type(client.list_organizations(page_size=5), AsyncGenerator[Organization])
    assert_type(await client.list_organizations_page(skip=1, limit=2), OrganizationPage)
    assert_type(client.list_repos(), AsyncGenerator[Repo])
    assert_type(await client.list_repos_page(), RepoPage)
    assert_type(await client.me(), User)
    assert_type(await client.list_models(), ModelCatalog)
    assert_type((await client.list_models()).providers[0].models[0].value, str)
    client.notify(17)
    await client.get_run("17")  # type: ignore[arg-type]
    await client.create_run("x", "y")  # type: ignore[call-arg]
    await client.create_run("x", metadata=[1])  # type: ignore[arg-type]
    await client.list_runs_page(5)  # type: ignore[call-arg]


async def waiting(client: CodegenClient, run: AgentRun) -> None:
    async def answer(paused: AgentRun) -> int:
        return (await client.resume_run(paused.id, "yes")).id

    def answer_at_once(paused: AgentRun) -> None:
        client.notify(paused.id)

    assert_type(await client.wait_for_run(run, timeout=60, latency=1, on_blocked=answer), AgentRun)
    assert_type(await client.wait_for_run(17, raise_on_failure=True), AgentRun)
    assert_type(await client.wait_for_runs([17, run, 18], timeout=5.0), list[AgentRun])
    assert_type(await client.wait_for_runs({17, 18}), list[AgentRun])
    assert_type(client.as_completed(range(3)), AsyncGenerator[AgentRun])
    assert_type(client.watch([run]), AsyncGenerator[AgentRun])
    async for seen in client.watch([run]):
        assert_type(seen, AgentRun)
    assert_type(await client.wait_for_runs([17], return_exceptions=True), list[AgentRun | Exception])
    await client.wait_for_run("17")  # type: ignore[arg-type]
    await client.wait_for_run(17, on_blocked=answer_at_once)  # type: ignore[arg-type]
    await client.wait_for_runs(17)  # type: ignore[call-overload]


def models(run: AgentRun, page: AgentRunPage, logs: AgentRunLogs, row: AgentRunLog, pull: PullRequest) -> None:
    assert_type(run.id, int)
    assert_type(run.status, str | None)
    assert_type(run.phase, Phase)
    assert_type(run.phase.is_terminal, bool)
    assert_type(run.created_at, str | None)
    assert_type(run.created_time, datetime | None)
    assert_type(run.source_type, str | None)
    assert_type(run.github_pull_requests, tuple[PullRequest, ...] | None)
    assert_type(run.metadata, dict[str, Any] | None)
    assert_type(run.raise_for_status(), AgentRun)
    assert_type(pull.url, str | None)
    assert_type(page.items, tuple[AgentRun, ...])
    assert_type(page.total, int)
    assert_type(page.unreadable, int)
    assert_type(logs.logs, tuple[AgentRunLog, ...])
    assert_type(logs.total_logs, int | None)
    assert_type(row.message_type, str | None)
    assert_type(row.created_time, datetime | None)
    run_like(run)
    run_like(logs)  # type: ignore[arg-type]
    run.status = "COMPLETE"  # type: ignore[misc]


def run_like(run: RunLike) -> None:
    assert_type(run.id, RunId)
    assert_type(run.phase, Phase)
    assert_type(run.created_time, datetime | None)


def errors() -> None:
    try:
        raise NotImplementedError
    except WaitTimeoutError as error:
        assert_type(error.run_id, RunId)
        assert_type(error.run, RunLike | None)
        timeout: TimeoutError = error
        run_error: RunError = error
        del timeout, run_error
    except (RunBlockedError, RunFailedError) as error:
        assert_type(error.run.phase if error.run else None, Phase | None)
        assert_type(error.run.web_url if error.run else None, str | None)
    except InvalidRequestError as error:
        assert_type(error.fields, Sequence[str])
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except StatusError as error:
        assert_type(error.status, int | None)
    except DecodeError as error:
        assert_type(error.body, str)
    except OutcomeUnknownError as error:
        assert_type(error.likely_done, bool)
    except APIError as error:
        assert_type((error.method, error.path, error.attempts), tuple[str, str, int])
        assert_type(error.request_id, str | None)
    except InvalidArgumentError as error:
        value_error: ValueError = error
        assert_type(error.field, str)
        del value_error


async def limiting() -> None:
    limiter = WindowLimiter(Rate(60, 30.0), burst=10, margin=0.1, lateness=1)
    async with limiter.slot() as slot:
        slot.sent()
        slot.answered()
    assert_type(limiter.state, LimiterState)
    assert_type(limiter.state.pace, float | None)
    assert_type(limiter.next_free, float)


def simulating() -> None:
    async def main() -> AgentRun:
        async with CodegenServer() as server, CodegenClient(server.token, base_url=server.url) as client:
            return await client.get_run(1)

    assert_type(run_virtual(main()), AgentRun)
