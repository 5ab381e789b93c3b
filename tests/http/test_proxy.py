"""A network that has only a proxy: it is used where the user says so, and learns nothing."""

import asyncio
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from codegen_async import CodegenClient, ConfigurationError, ConnectionFailedError, MiddeskClient
from codegen_async.testing import CodegenServer
from tests.support.canary import CANARY

HOST = "api.example.invalid"
PASSWORD = "p%40ss-word"

_SCRIPT = f"""\
import asyncio, sys
from codegen_async import CodegenClient

async def main():
    async with CodegenClient(org_id=323, base_url="https://{HOST}", proxy=sys.argv[1]) as client:
        print((await client.create_run("x")).id, len((await client.list_runs_page()).items))

asyncio.run(main())
"""


@asynccontextmanager
async def proxy(answer: Callable[[], int | tuple[str, int]]) -> AsyncGenerator[tuple[str, list[str]]]:
    """Be a proxy that leads to a port of this machine or refuses with a status; yield its URL and what it was told."""
    told: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        told.append(head)
        where = answer()
        if isinstance(where, int):
            writer.write(f"HTTP/1.1 {where} No\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        theirs, ours = await asyncio.open_connection(*where)
        await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://user:{PASSWORD}@127.0.0.1:{port}", told


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Return an authority whose certificate is in ca.pem."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.mark.asyncio
async def test_calls_reach_the_server_through_the_proxy_that_sees_no_token(
    tmp_path: Path, authority: trustme.CA, codegen_server: CodegenServer
) -> None:
    port = int(codegen_server.url.rpartition(":")[2])
    async with _with_tls(authority, port) as place, proxy(lambda: place) as (url, told):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _SCRIPT,
            url,
            env={"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "CODEGEN_API_TOKEN": codegen_server.token},
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
    (run,) = codegen_server.world.runs
    assert out.decode() == f"{run} 1\n"
    assert {head.splitlines()[0] for head in told} == {f"CONNECT {HOST}:443 HTTP/1.1"}
    assert all("Proxy-Authorization: Basic dXNlcjpwQHNzLXdvcmQ=" in head for head in told)
    assert not any(codegen_server.token in head for head in told)


@asynccontextmanager
async def _with_tls(authority: trustme.CA, port: int) -> AsyncGenerator[tuple[str, int]]:
    """Lead TLS for HOST to a port of this machine."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    await asyncio.to_thread(authority.issue_cert(HOST).configure_cert, context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[:2]


@pytest.mark.asyncio
async def test_a_proxy_that_refuses_is_told_and_its_password_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    async with proxy(lambda: 407) as (url, told):
        client = CodegenClient(org_id=1, base_url=f"https://{HOST}", proxy=url)
        async with client:
            with pytest.raises(ConnectionFailedError, match=r"the proxy does not let us through.*407") as caught:
                await client.create_run("x")
    assert told
    for text in (*_locals_of(caught.value), repr(client), repr(vars(client)), caplog.text):
        assert PASSWORD not in text
        assert "p@ss-word" not in text


def _locals_of(error: BaseException) -> list[str]:
    """Return what a crash reporter shows of the frames that are not the test's own."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename != __file__]
    assert frames
    return [repr(value) for frame in frames for value in frame.f_locals.values()]


@pytest.mark.parametrize(
    "url", [f"ftp://user:{PASSWORD}@p:1", f"http://user:{PASSWORD}@p:x", f"http://user:{PASSWORD}@p/a"]
)
def test_a_proxy_that_cannot_be_one_is_shown_nowhere(url: str) -> None:
    for make in (CodegenClient, MiddeskClient):
        with pytest.raises(ConfigurationError, match="proxy: expected a URL") as caught:
            make("token", proxy=url)
        assert not [text for text in _locals_of(caught.value) if PASSWORD in text]


@pytest.mark.parametrize("other", [{"latency": -1}, {"base_url": "ftp://x"}, {"share": 2}])
def test_a_set_up_that_fails_shows_no_password(other: dict[str, Any]) -> None:
    for make in (CodegenClient, MiddeskClient):
        with pytest.raises(ConfigurationError) as caught:
            make(proxy=f"http://user:{PASSWORD}@p:1", **other)
        assert not [text for text in _locals_of(caught.value) if PASSWORD in text]


@pytest.mark.asyncio
async def test_a_server_on_this_machine_is_reached_without_it(codegen_server: CodegenServer) -> None:
    server = codegen_server
    async with CodegenClient(org_id=server.org_id, base_url=server.url, proxy="http://127.0.0.1:9") as client:
        await client.create_run("x")
    assert len(server.world.runs) == 1


_NO_PROXIES = ("", "proxy:3128", "socks5://p", "http://", "http://p:0", "http://p:x", "http://a b", "http://p/x", 5)


@pytest.mark.parametrize("url", _NO_PROXIES)
def test_what_is_no_proxy_is_refused_and_not_shown(url: str) -> None:
    for make in (lambda: CodegenClient(org_id=1, proxy=url), lambda: MiddeskClient(CANARY, proxy=url)):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert str(caught.value) == (
            "proxy: expected a URL such as http://user:password@proxy.example:3128 (what was given is not shown)"
        )
