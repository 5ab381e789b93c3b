"""Opened without an organization, a client takes the only one of its token; a token may have another name."""

import asyncio
from pathlib import Path

import pytest

from codegen_async import (
    AuthenticationError,
    ClientClosedError,
    CodegenClient,
    ConfigurationError,
    ConnectionFailedError,
)
from codegen_async.testing import CodegenServer, Fault
from tests.support.canary import CANARY
from tests.support.sender import REFUSED, FakeSender, Hang, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client_of(server: CodegenServer, **options: object) -> CodegenClient:
    return CodegenClient(server.token, base_url=server.url, **options)  # type: ignore[arg-type]


async def test_the_only_organization_is_taken(codegen_server: CodegenServer) -> None:
    client = client_of(codegen_server)
    assert (client.org_id, "org_id=None" in repr(client)) == (0, True)
    async with client:
        assert client.org_id == codegen_server.org_id
        run = await client.create_run("x")
        assert [one.id async for one in client.list_runs()] == [run.id]
    async with client:  # it is known now
        await client.get_run(run.id)
    assert [request.endpoint for request in codegen_server.requests] == ["organizations", "create", "list", "get"]


async def test_one_that_was_given_is_not_asked_for(
    codegen_server: CodegenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(codegen_server, org_id=5) as client:
        assert client.org_id == 5
    monkeypatch.setenv("CODEGEN_ORG_ID", "7")
    async with client_of(codegen_server) as client:
        assert client.org_id == 7
    assert not codegen_server.requests


async def test_an_empty_variable_is_none(codegen_server: CodegenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ORG_ID", "")
    async with client_of(codegen_server) as client:
        assert client.org_id == codegen_server.org_id


async def test_of_several_none_is_taken_and_the_error_names_them(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations |= {7: "Second", 9: "\x1b[31mThird"}
    client = client_of(codegen_server)
    with pytest.raises(ConfigurationError) as caught:
        await client.open()
    said = "the token has access to 3 organizations: 323 (Example), 7 (Second), 9 (?[31mThird)"
    assert str(caught.value) == f"org_id: give it as an argument or set CODEGEN_ORG_ID; {said}"
    with pytest.raises(ClientClosedError):
        await client.me()


async def test_of_many_the_first_are_named(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations = {number: f"Number {number}" + "!" * 500 for number in range(1, 251)}
    with pytest.raises(ConfigurationError) as caught:
        await client_of(codegen_server).open()
    assert "250 organizations: 1 (Number 1!" in str(caught.value)
    assert str(caught.value).endswith(", 240 more")
    assert len(str(caught.value)) < 800


async def test_a_token_without_organization_is_told_so(codegen_server: CodegenServer) -> None:
    codegen_server.account.organizations.clear()
    with pytest.raises(ConfigurationError, match="has access to no organization"):
        await client_of(codegen_server).open()


async def test_one_that_cannot_be_read_may_be_a_second() -> None:
    page = {"items": [{"id": 1}, {"name": "without an id"}], "total": 2, "page": 1, "size": 100, "pages": 1}
    sender = FakeSender(reply(200, page))
    with pytest.raises(ConfigurationError, match="2 organizations: 1, 1 more"):
        await CodegenClient("t", sender=sender).open()
    assert sender.closed


async def test_a_client_that_cannot_learn_its_organization_stays_closed_and_leaves_nothing_open() -> None:
    for answer, error in ((REFUSED, ConnectionFailedError), (reply(401, {"message": "no"}), AuthenticationError)):
        sender = FakeSender(then=answer)
        client = CodegenClient("t", sender=sender)
        with pytest.raises(error):
            await client.open()
        assert sender.closed
        with pytest.raises(ClientClosedError):
            client.check_open()


async def test_an_outage_while_it_is_opened_is_waited_out(codegen_server: CodegenServer) -> None:
    codegen_server.faults.add(Fault.ERROR_BEFORE, endpoint="organizations", status=503, times=2)
    async with client_of(codegen_server) as client:
        assert client.org_id == codegen_server.org_id


async def test_a_cancelled_opening_closes_what_it_has_opened() -> None:
    sender = FakeSender(Hang("sent"))
    client = CodegenClient("t", sender=sender)
    task = asyncio.create_task(client.open())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sender.closed
    assert not client.limits["create"].in_flight


async def test_of_two_who_open_it_at_once_one_is_told(codegen_server: CodegenServer) -> None:
    client = client_of(codegen_server)
    first, second = await asyncio.gather(client.open(), client.open(), return_exceptions=True)
    assert first is client
    assert isinstance(second, RuntimeError)
    assert (await client.me()).id
    await client.aclose()


async def test_the_question_is_remembered_as_any_request(codegen_server: CodegenServer, tmp_path: Path) -> None:
    for _ in range(2):
        async with client_of(codegen_server, memory=tmp_path / "memory") as client:
            await client.me()
    assert client.limits["organizations"].cooling == 2


async def test_the_token_may_be_called_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEGEN_API_TOKEN")
    monkeypatch.setenv("CODEGEN_API_KEY", "of-the-key")
    assert CodegenClient(org_id=5)._token.reveal() == "of-the-key"
    monkeypatch.setenv("CODEGEN_API_TOKEN", CANARY)
    assert CodegenClient(org_id=5)._token.reveal() == CANARY
