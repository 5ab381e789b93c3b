"""A service that starts runs for its users, one for each order however often it is sent, and shows how they change.

    uvicorn fastapi_service:app

    curl -X PUT 'http://127.0.0.1:8000/orders/17?prompt=Fix+the+flaky+test' -H 'X-User: ada'
    curl http://127.0.0.1:8000/orders -H 'X-User: ada'
    curl -N http://127.0.0.1:8000/runs/40000/events -H 'X-User: ada'

`X-User` stands for your login, and `owners` for your database.
"""

from collections.abc import MutableMapping
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request

from codegen_async import AgentRun, CodegenClient
from codegen_async.web import attach

User = Annotated[str, Header(alias="X-User")]

api = FastAPI()
owners: dict[object, str] = {}


@api.put("/orders/{number}", status_code=202)
async def order(number: int, prompt: str, user: User, request: Request) -> AgentRun:
    """Start a run; the same order again, from whatever worker, brings the same run back."""
    client: CodegenClient = request.state.codegen
    run = await client.create_run(prompt, idempotency_key=f"{user}-{number}", patience=30.0)
    owners[run.id] = user
    return run


@api.get("/orders")
async def orders(user: User, request: Request) -> list[AgentRun]:
    """Show the runs of a user as they are now."""
    client: CodegenClient = request.state.codegen
    mine = [run_id for run_id, owner in owners.items() if owner == user and isinstance(run_id, int)]
    return [await client.get_run(run_id) for run_id in mine]


def authorize(scope: MutableMapping[str, Any], run_id: object) -> bool:
    """Whether the user of a request may see a run."""
    return run_id in owners and owners[run_id] == Request(scope).headers.get("x-user")


app = attach(api, authorize=authorize)
