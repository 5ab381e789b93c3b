"""Run prompts as Temporal workflows: any worker may be killed or frozen, and each prompt gets one run all the same.

A workflow for each prompt; its id is the idempotency key. Three steps:

- *intend* notes the newest run before anything is sent, and which worker is about to send;
- *create* sends, with the key. Who comes to it and is not the worker that intended, or comes a second time, may come
  after a request that is still on its way: `newer_than` has the client look for its run first, over its `settle` time.
  Just before anything is sent, a heartbeat that Temporal confirms tells that no other worker was given the step;
- *wait* waits for the end.

Only ids and keys go from step to step. What passes by itself (an outage, a limit) never ends a workflow: Temporal tries
again. So it does, a few times, with a create of which nobody can say whether it happened: each time its run is looked
for, and it is sent only if that is proven not to be there, by a run that this worker has created since. What is unknown
after that is for a person: look at the list of runs; to run the file again sends it.

    pip install codegen-async temporalio
    python temporal_batch.py worker &              # as many as you like, on any machine
    python temporal_batch.py run prompts.txt       # a prompt a line; prints key, run and phase of each

Lease and settle time have to cover what a worker may still send that was taken for dead: LEASE + the client's `settle`
>= the `connect` and `total` of its timeouts + 25 s. The defaults (45 + 60 >= 10 + 60 + 25) do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from codegen_async import (
        AgentRun,
        CodegenAsyncError,
        CodegenClient,
        CreateOutcomeUnknownError,
        RunBlockedError,
        is_passing,
    )

ADDRESS = os.environ.get("TEMPORAL_ADDRESS", "127.0.0.1:7233")
QUEUE = "codegen-async"
LEASE = timedelta(seconds=float(os.environ.get("BATCH_LEASE", "45")))
FOREVER = timedelta(days=30)
TRIES = 10  # of a create whose outcome is unknown
AGAIN = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))


@contextlib.asynccontextmanager
async def beating() -> AsyncGenerator[None]:
    """Beat while a step takes its time: a worker that is dead or frozen is noticed by its silence."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(LEASE.total_seconds() / 8)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


@contextlib.contextmanager
def explained() -> Any:
    """Let Temporal try again what passes, and what may be decided later; nothing else."""
    try:
        yield
    except CreateOutcomeUnknownError as error:
        is_final = activity.info().attempt >= TRIES
        raise ApplicationError(str(error), type="unknown", non_retryable=is_final) from None
    except CodegenAsyncError as error:
        raise ApplicationError(str(error), type=type(error).__name__, non_retryable=not is_passing(error)) from None


class Steps:
    """The steps of an item, in one worker.

    Args:
        client: an open client; one for all steps, as it keeps the limits.
        temporal: where heartbeats are confirmed.
    """

    def __init__(self, client: CodegenClient, temporal: Client) -> None:
        self._client = client
        self._temporal = temporal
        self._name = uuid.uuid4().hex  # of this life of the worker

    @activity.defn
    async def intend(self) -> Mapping[str, Any]:
        """Return what has to be known before anything is sent."""
        with explained():
            return {"floor": await self._client.newest_run_id(), "sender": self._name}

    @activity.defn
    async def create(self, key: str, prompt: str, intent: dict[str, Any]) -> int:
        """Return the run of a key, created if there is none."""
        info = activity.info()
        first = intent["sender"] == self._name and info.attempt == 1
        mine = self._temporal.get_async_activity_handle(task_token=info.task_token)
        with explained():
            async with beating():
                run = await self._client.create_run(
                    prompt,
                    idempotency_key=key,
                    newer_than=None if first else intent["floor"],
                    confirm=mine.heartbeat,
                    on_unknown="retry",
                )
        return run.id

    @activity.defn
    async def wait(self, run_id: int) -> dict[str, Any]:
        """Return the final snapshot of a run, or that of one that waits for a person."""
        with explained():
            async with beating():
                try:
                    run = await self._client.wait_for_run(run_id)
                except RunBlockedError as blocked:
                    if not isinstance(blocked.run, AgentRun):
                        raise
                    run = blocked.run
        return run.to_dict()


@workflow.defn
class Item:
    """Take one prompt to the end of its run."""

    @workflow.run
    async def run(self, prompt: str) -> dict[str, Any]:
        """Return the final snapshot, as `AgentRun.from_dict` takes it."""
        key = workflow.info().workflow_id
        intent = await workflow.execute_activity(
            Steps.intend,
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=AGAIN,
        )
        slow = {"start_to_close_timeout": FOREVER, "heartbeat_timeout": LEASE, "retry_policy": AGAIN}
        run_id = await workflow.execute_activity(Steps.create, args=[key, prompt, intent], **slow)
        result: dict[str, Any] = await workflow.execute_activity(Steps.wait, run_id, **slow)
        return result


async def worker(client: CodegenClient, temporal: Client) -> None:
    """Work until cancelled."""
    steps = Steps(client, temporal)
    activities = [steps.intend, steps.create, steps.wait]
    async with Worker(temporal, task_queue=QUEUE, workflows=[Item], activities=activities):
        await asyncio.Event().wait()


async def started(temporal: Client, key: str, prompt: str) -> WorkflowHandle[Any, dict[str, Any]]:
    """Return the workflow of a key: a new one if there is none, or one that has failed."""
    try:
        return await temporal.start_workflow(
            Item.run,
            prompt,
            id=key,
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        )
    except WorkflowAlreadyStartedError:  # it has come to its end
        return temporal.get_workflow_handle_for(Item.run, key)


async def run(temporal: Client, prompts: Mapping[str, str]) -> AsyncGenerator[tuple[str, AgentRun]]:
    """Start what is not there yet, and yield the key and the final snapshot of each."""
    handles = {key: await started(temporal, key, prompt) for key, prompt in prompts.items()}
    for key, handle in handles.items():
        yield key, AgentRun.from_dict(await handle.result())


async def main(words: list[str]) -> None:
    """Be a worker, or run a file."""
    temporal = await Client.connect(ADDRESS)
    if words == ["worker"]:
        async with CodegenClient() as client:
            await worker(client, temporal)
    else:
        path = Path(words[1])
        lines = await asyncio.to_thread(path.read_text)
        prompts = {f"{path.stem}-{number}": line for number, line in enumerate(lines.splitlines(), 1) if line.strip()}
        async for key, ended in run(temporal, prompts):
            print(key, ended.id, ended.phase, sep="\t")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
