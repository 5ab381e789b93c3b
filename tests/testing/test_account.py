"""The account of the simulated Codegen API, stopping, and fields that read null, asked with plain aiohttp."""

from typing import Any

import pytest

from codegen_async.testing import CodegenServer, Life
from tests.testing.test_codegen_server import NO_ACCESS, NO_RUN, call, invalid

pytestmark = pytest.mark.asyncio

HOME = "/v1/organizations/323"
STOPS = ["ban", "remove-from-pr"]


async def test_the_organizations_of_the_token_are_listed_by_the_page(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations |= {7: "Second", 9: "Third"}
    status, page = await call(codegen_server, "GET", "/v1/organizations?skip=1&limit=1")
    assert (status, page["total"], page["page"], page["size"], page["pages"]) == (200, 3, 2, 1, 3)
    settings = {"enable_pr_creation": True, "enable_rules_detection": True}
    assert page["items"] == [{"id": 7, "name": "Second", "settings": settings}]


async def test_the_user_has_the_fields_of_the_page(codegen_server: CodegenServer) -> None:
    status, user = await call(codegen_server, "GET", "/v1/users/me")
    assert (status, user["id"]) == (200, codegen_server.world.user_id)
    assert set(user) == {"id", "email", "github_user_id", "github_username", "avatar_url", "full_name"}


async def test_repositories_have_ids_and_full_names(codegen_server: CodegenServer) -> None:
    status, page = await call(codegen_server, "GET", f"{HOME}/repos")
    assert (status, page["total"]) == (200, 3)
    assert {repo["id"]: repo["full_name"] for repo in page["items"]} == codegen_server.account.repos


async def test_models_are_listed_by_provider(codegen_server: CodegenServer) -> None:
    status, catalog = await call(codegen_server, "GET", f"{HOME}/models")
    values = [model["value"] for provider in catalog["providers"] for model in provider["models"]]
    assert status == 200
    assert catalog["default_model"] in values


@pytest.mark.parametrize("path", ["/repos", "/models"])
async def test_a_foreign_organization_is_refused(path: str, codegen_server: CodegenServer) -> None:
    assert await call(codegen_server, "GET", f"/v1/organizations/5{path}") == (403, NO_ACCESS)


@pytest.mark.parametrize("path", ["/v1/organizations", f"{HOME}/repos"])
async def test_a_place_outside_the_list_is_refused(path: str, codegen_server: CodegenServer) -> None:
    wrong = [(["query", "skip"], "greater_than_equal"), (["query", "limit"], "less_than_equal")]
    assert await invalid(codegen_server, "GET", f"{path}?skip=-1&limit=101") == wrong


async def test_a_second_organization_has_nothing_yet(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations[7] = "Second"
    run = codegen_server.world.create("of the first")
    agent = "/v1/organizations/7/agent"
    assert await call(codegen_server, "GET", f"{agent}/run/{run.id}") == (404, NO_RUN)
    assert (await call(codegen_server, "GET", f"{agent}/runs"))[1]["total"] == 0
    status, body = await call(codegen_server, "POST", f"{agent}/run", json={"prompt": "x"})
    assert (status, body["message"].partition(".")[0]) == (404, "No repos found in the organization")


async def test_without_repositories_nothing_can_be_created(codegen_server: CodegenServer) -> None:
    codegen_server.account.repos.clear()
    status, body = await call(codegen_server, "POST", f"{HOME}/agent/run", json={"prompt": "x"})
    assert (status, body["message"].partition(".")[0]) == (404, "No repos found in the organization")


@pytest.mark.parametrize("how", STOPS)
async def test_a_stop_cancels_the_run_and_bans_its_pull_request(how: str, codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE")])
    answer = await call(codegen_server, "POST", f"{HOME}/agent/run/{how}", json={"agent_run_id": run.id})
    assert answer == (200, {})
    assert run.status_at(codegen_server.now()) == "CANCELLED"
    assert codegen_server.world.banned == {run.id}


async def test_a_stop_leaves_an_end_as_it_was(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "COMPLETE")])
    await call(codegen_server, "POST", f"{HOME}/agent/run/ban", json={"agent_run_id": run.id})
    assert run.status_at(codegen_server.now()) == "COMPLETE"


@pytest.mark.parametrize("how", STOPS)
async def test_a_stop_needs_a_run_that_exists(how: str, codegen_server: CodegenServer) -> None:
    path = f"{HOME}/agent/run/{how}"
    assert await call(codegen_server, "POST", path, json={"agent_run_id": 1}) == (404, NO_RUN)
    assert await invalid(codegen_server, "POST", path, json={}) == [(["body", "agent_run_id"], "missing")]


async def test_nulls_come_by_the_seed_and_never_to_ids() -> None:
    async def shown(seed: int) -> list[dict[str, Any]]:
        async with CodegenServer(nulls=0.3, seed=seed, life=Life(median=1.0)) as server:
            runs = [server.world.create("x", script=[(0.0, "COMPLETE")]).id for _ in range(5)]
            answers = [(await call(server, "GET", f"{HOME}/agent/run/{run}"))[1] for run in runs for _ in range(8)]
            assert {answer["id"] for answer in answers} == set(runs)
            return [{name: value is None for name, value in answer.items()} for answer in answers]

    first = await shown(1)
    hidden = {name for answer in first for name, is_null in answer.items() if is_null}
    assert hidden == set(first[0]) - {"id", "organization_id"}
    assert first == await shown(1)
    assert first != await shown(2)


async def test_nothing_is_null_by_default_that_has_a_value(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", metadata={"a": 1}, script=[(0.0, "COMPLETE")])
    _, answer = await call(codegen_server, "GET", f"{HOME}/agent/run/{run.id}")
    assert None not in answer.values()
