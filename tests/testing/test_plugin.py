"""The plugin in projects of other people, each made up for one test."""

import pytest

pytest_plugins = ["pytester"]

CONFIG = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".ini", pytest=CONFIG)
    return pytester


def passed(project: pytest.Pytester, *arguments: str) -> list[str]:
    """Run the project's tests with the plugin; return the names of those that passed, all of which must."""
    result = project.runpytest_inprocess("-p", "codegen_async.testing.plugin", "-v", *arguments)
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    return [line.split("::")[1].split(" ")[0] for line in result.outlines if " PASSED" in line]


def test_a_test_that_asks_for_nothing_runs_once_on_the_usual_loop(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest

        usual = asyncio.new_event_loop()
        usual.close()

        @pytest.mark.asyncio
        async def test_usual():
            assert type(asyncio.get_running_loop()) is type(usual)
        """
    )
    assert passed(project) == ["test_usual"]


def test_a_test_can_ask_for_the_virtual_loop(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest
        from codegen_async.testing import VirtualLoop

        @pytest.mark.asyncio(loop_factories=["virtual"])
        async def test_virtual():
            assert type(asyncio.get_running_loop()) is VirtualLoop
            await asyncio.sleep(86_400)

        @pytest.mark.asyncio
        async def test_usual():
            assert type(asyncio.get_running_loop()) is not VirtualLoop
        """
    )
    assert passed(project) == ["test_virtual", "test_usual"]


def test_the_server_has_the_clock_of_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import aiohttp
        import pytest

        async def use(server):
            async with aiohttp.ClientSession() as session, session.get(server.url) as response:
                assert response.status == 404

        @pytest.mark.asyncio(loop_factories=["virtual"])
        async def test_virtual(codegen_server):
            before = codegen_server.now()
            await asyncio.sleep(3600)
            assert codegen_server.now() - before >= 3600
            await use(codegen_server)

        @pytest.mark.asyncio
        async def test_usual(codegen_server):
            await use(codegen_server)
        """
    )
    assert passed(project) == ["test_virtual", "test_usual"]


USE = """
import asyncio, os, subprocess, sys, threading
import pytest
from codegen_async import CodegenClient, MiddeskClient
from codegen_async.testing import CodegenServer, MiddeskServer

async def use(server):
    async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
        run = await client.create_run("do it")
        server.world.end(run.id, "ERROR")
        assert (await client.get_run(run.id)).phase == "failed"
    assert [request.endpoint for request in server.requests] == ["create", "get"]
    assert server.violations == 0
"""


def test_plain_tests_and_their_processes_can_use_the_server(project: pytest.Pytester) -> None:
    project.makepyfile(
        USE
        + """
def test_loop_of_its_own(codegen_server):
    assert isinstance(codegen_server, CodegenServer)
    asyncio.run(use(codegen_server))

def test_process(codegen_env):
    code = "import asyncio; from codegen_async import CodegenClient\\n" \\
        "async def main():\\n  async with CodegenClient() as client: print((await client.create_run('x')).id)\\n" \\
        "asyncio.run(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert list(codegen_env.world.runs) == [int(done.stdout)]

def test_middesk(middesk_env):
    assert isinstance(middesk_env, MiddeskServer)
    async def main():
        async with MiddeskClient() as client:
            assert await client.list_agents()
    asyncio.run(main())
"""
    )
    assert passed(project) == ["test_loop_of_its_own", "test_process", "test_middesk"]


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
def test_tests_on_a_loop_of_any_scope_can_use_the_server(project: pytest.Pytester, scope: str) -> None:
    project.makepyfile(
        USE
        + f"""
class Test:
    @pytest.mark.asyncio(loop_scope="{scope}")
    async def test_usual(self, codegen_server):
        await use(codegen_server)

    @pytest.mark.asyncio(loop_scope="{scope}", loop_factories=["virtual"])
    async def test_virtual(self, codegen_server):
        await use(codegen_server)
"""
    )
    assert len(passed(project)) == 2


def test_in_auto_mode_on_the_loop_of_the_session_too(project: pytest.Pytester) -> None:
    project.makepyfile(USE + "async def test_usual(codegen_server):\n    await use(codegen_server)\n")
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session")
    assert passed(project, *options) == ["test_usual"]


def test_a_server_of_the_session_stays_the_same(project: pytest.Pytester) -> None:
    project.makepyfile(
        USE
        + """
@pytest.mark.parametrize("number", [1, 2])
def test_shared(session_codegen_server, number):
    session_codegen_server.world.create("do it")
    assert len(session_codegen_server.world.runs) == number

def test_middesk(session_middesk_server):
    assert session_middesk_server.url
"""
    )
    assert len(passed(project)) == 3


def test_a_server_of_the_session_has_no_virtual_clock_and_says_so(project: pytest.Pytester) -> None:
    project.makepyfile(
        USE
        + """
@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_virtual(session_codegen_server): ...
"""
    )
    result = project.runpytest_inprocess("-p", "codegen_async.testing.plugin")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*session_codegen_server lives in real time, which a virtual clock outruns*"])


def test_each_test_gets_a_server_of_its_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.parametrize("number", [1, 2])
        async def test_empty(codegen_server, number):
            assert not codegen_server.world.runs
            codegen_server.world.create("do it")
        """
    )
    assert passed(project) == ["test_empty[1]", "test_empty[2]"]


def test_fixtures_of_the_session_go_on_working(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture(scope="session", loop_scope="session")
        async def shared():
            return asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_function(shared):
            assert shared is not asyncio.get_running_loop()

        @pytest.mark.asyncio(loop_scope="session")
        async def test_session(shared):
            assert shared is asyncio.get_running_loop()
        """
    )
    assert passed(project) == ["test_function", "test_session"]


def test_loops_that_the_project_offers_itself_stay_as_they_are(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import asyncio

        class Own(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"own": Own, "plain": asyncio.new_event_loop}
        """
    )
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        async def test_all():
            pass

        @pytest.mark.asyncio(loop_factories=["own"])
        async def test_own():
            assert type(asyncio.get_running_loop()).__name__ == "Own"

        @pytest.mark.asyncio(loop_factories=["virtual", "own"])
        async def test_both(request):
            name = {"own": "Own", "virtual": "VirtualLoop"}[request.node.callspec.id]
            assert type(asyncio.get_running_loop()).__name__ == name
        """
    )
    assert passed(project) == [
        "test_all[own]",
        "test_all[plain]",
        "test_own",
        "test_both[virtual]",
        "test_both[own]",
    ]


def test_a_project_can_have_a_virtual_loop_of_its_own(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import asyncio

        class Own(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"virtual": Own}
        """
    )
    project.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio(loop_factories=["virtual"])
        async def test_own():
            assert type(asyncio.get_running_loop()).__name__ == "Own"
        """
    )
    assert passed(project) == ["test_own"]


def test_the_automatic_mode_is_left_alone(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import pytest
        from codegen_async.testing import VirtualLoop

        async def test_unmarked(codegen_server):
            assert type(asyncio.get_running_loop()) is not VirtualLoop

        @pytest.mark.asyncio(loop_factories=["virtual"])
        async def test_marked(codegen_server):
            assert type(asyncio.get_running_loop()) is VirtualLoop
        """
    )
    assert passed(project, "--asyncio-mode=auto") == ["test_unmarked", "test_marked"]


def test_a_project_without_pytest_asyncio_in_use_is_left_alone(project: pytest.Pytester) -> None:
    project.makefile(".ini", pytest="[pytest]\nfilterwarnings = error\n")
    project.makepyfile(
        """
        import pytest

        @pytest.fixture(params=["asyncio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.parametrize("backend", ["asyncio"])
        def test_sync(backend):
            pass

        @pytest.mark.anyio
        async def test_anyio(anyio_backend_name):
            pass
        """
    )
    assert passed(project, "-p", "no:asyncio", "-k", "asyncio") == [
        "test_sync[asyncio]",
        "test_anyio[asyncio]",
    ]


def test_the_plugin_can_be_loaded_from_a_conftest(project: pytest.Pytester) -> None:
    project.makeconftest('pytest_plugins = ["codegen_async.testing.plugin"]')
    project.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio(loop_factories=["virtual"])
        async def test_virtual(codegen_server):
            assert codegen_server.url
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=1)
