"""Organizations, the user, repositories and models, against the simulated server and against odd ones."""

from typing import Any

import pytest

from codegen_async import CodegenClient, InvalidArgumentError, Organization, PermissionDeniedError, Rate, Repo
from codegen_async.testing import CodegenServer
from tests.support.sender import FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client_of(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url, **options)


async def test_all_organizations_of_the_token_come_page_after_page(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations |= {number: f"Number {number}" for number in range(1, 25)}
    async with client_of(codegen_server) as client:
        listed = [organization async for organization in client.list_organizations(page_size=10)]
        page = await client.list_organizations_page(skip=20, limit=3)
    assert {one.id: one.name for one in listed} == codegen_server.account.organizations
    assert (len(page.items), page.total, page.size, page.pages) == (3, 25, 3, 9)
    assert listed[0].settings == {"enable_pr_creation": True, "enable_rules_detection": True}
    assert [request.endpoint for request in codegen_server.requests] == ["organizations"] * 4


async def test_the_repositories_have_the_ids_that_a_create_takes(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        repos = {repo.full_name: repo async for repo in client.list_repos()}
        page = await client.list_repos_page(limit=1)
    website = repos["example/website"]
    assert (website.id, website.name, website.organization_id) == (101, "website", codegen_server.org_id)
    assert (len(repos), page.total, page.items) == (3, 3, (website,))


async def test_the_user_and_the_models_can_be_seen(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        me, catalog = await client.me(), await client.list_models()
    assert (me.id, me.github_username) == (codegen_server.world.user_id, "example-user")
    assert catalog.default_model in [model.value for provider in catalog.providers for model in provider.models]


async def test_a_foreign_organization_is_refused(codegen_server: CodegenServer) -> None:
    async with CodegenClient(codegen_server.token, org_id=5, base_url=codegen_server.url) as client:
        with pytest.raises(PermissionDeniedError, match="You do not have access to this organization"):
            await client.list_models()
        with pytest.raises(PermissionDeniedError):
            _ = [repo async for repo in client.list_repos()]


async def test_each_call_has_a_limit_of_its_own_and_keeps_it(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server, rates={"get": Rate(1, 1000.0)}) as client:
        for _ in range(70):
            await client.me()
            await client.list_models()
        states = client.limits
    assert not codegen_server.violations
    assert codegen_server.worst("me") == codegen_server.worst("models") == (60, 60)
    assert {"organizations", "me", "repos", "models", "stop"} < states.keys()


@pytest.mark.parametrize("size", [0, 101, True, "5"])
async def test_a_page_size_that_cannot_be_right_is_refused(size: Any, codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        for listed in (client.list_organizations(page_size=size), client.list_repos(page_size=size)):
            with pytest.raises(InvalidArgumentError, match="page_size"):
                await anext(listed)
        with pytest.raises(InvalidArgumentError, match="limit"):
            await client.list_repos_page(limit=size)
        with pytest.raises(InvalidArgumentError, match="skip"):
            await client.list_organizations_page(skip=-1)
    assert not codegen_server.requests


async def test_a_server_that_ignores_skip_ends_the_list() -> None:
    page = {"items": [{"id": 1}, {"id": 2}], "total": 9, "page": 1, "size": 2, "pages": 5}
    sender = FakeSender(then=reply(200, page))
    async with CodegenClient("t", org_id=5, sender=sender) as client:
        assert [repo.id async for repo in client.list_repos(page_size=2)] == [1, 2]
        assert [one.id async for one in client.list_organizations(page_size=2)] == [1, 2]


async def test_only_ids_are_needed() -> None:
    sender = FakeSender(reply(200, {"items": [{"id": 7}]}), reply(200, {"items": [{"id": 8}]}), reply(200, {"id": 9}))
    async with CodegenClient("t", org_id=5, sender=sender) as client:
        assert [one async for one in client.list_organizations()] == [Organization(id=7)]
        assert [repo async for repo in client.list_repos()] == [Repo(id=8)]
        assert (await client.me()).email is None
