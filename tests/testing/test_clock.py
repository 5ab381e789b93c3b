import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiolimiter import AsyncLimiter

from codegen_async.testing import clock
from codegen_async.testing.clock import FastLoop, VirtualLoop, run_virtual

T = TypeVar("T")


def now() -> float:
    return asyncio.get_running_loop().time()


def run_fast(main: Coroutine[Any, Any, T], speed: float) -> T:
    with asyncio.Runner(loop_factory=lambda: FastLoop(speed)) as runner:
        return runner.run(main)


@asynccontextmanager
async def echo_after(delay: float) -> AsyncGenerator[str]:
    """Serve a page on loopback that sends back what it got after `delay` seconds of the loop's clock."""

    async def page(request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(delay)
        return web.Response(body=body)

    app = web.Application()
    app.router.add_post("/", page)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def test_virtual_time_starts_at_1000_and_passes_only_in_sleep() -> None:
    async def main() -> list[float]:
        times = [now()]
        for _ in range(50):
            await asyncio.sleep(0)
        times.append(now())
        await asyncio.sleep(7)
        return [*times, now()]

    assert run_virtual(main()) == pytest.approx([1000, 1000, 1007], abs=1e-4)


def test_the_virtual_start_can_be_chosen() -> None:
    loop = VirtualLoop(start=5.0)
    loop.run_until_complete(asyncio.sleep(2))
    assert loop.time() == pytest.approx(7, abs=1e-4)
    loop.close()


def test_timers_fire_in_order_and_at_their_time() -> None:
    fired: list[tuple[float, float]] = []

    async def main() -> None:
        async def sleeper(delay: float) -> None:
            await asyncio.sleep(delay)
            fired.append((delay, now() - 1000))

        await asyncio.gather(*map(sleeper, (30, 0.001, 3600, 7, 7, 0)))

    run_virtual(main())
    assert [delay for delay, _ in fired] == [0, 0.001, 7, 7, 30, 3600]
    for delay, at in fired:
        assert delay <= at < delay + 1e-4


def test_weeks_pass_in_no_time() -> None:
    """Longer than the longest wait a loop asks of a selector, which is a day."""

    async def main() -> float:
        await asyncio.sleep(14 * 86_400)
        return now()

    assert run_virtual(main()) == pytest.approx(1000 + 14 * 86_400)


def test_each_jump_goes_a_little_beyond_the_timer() -> None:
    async def main() -> float:
        await asyncio.sleep(1)
        return now()

    assert run_virtual(main()) > 1001


def test_a_token_bucket_wakes_its_waiters() -> None:
    async def main() -> float:
        limiter = AsyncLimiter(10, 60)
        for _ in range(30):
            await limiter.acquire()
        return now() - 1000

    assert run_virtual(main()) == pytest.approx(120, abs=1)


def test_the_clock_stands_still_while_nothing_is_awaited_but_another_thread() -> None:
    threads: list[threading.Thread] = []

    async def main() -> float:
        reached = asyncio.Event()
        loop = asyncio.get_running_loop()
        threads.append(threading.Thread(target=lambda: loop.call_soon_threadsafe(reached.set)))
        threads[0].start()
        await reached.wait()
        return now()

    assert run_virtual(main()) == 1000
    threads[0].join()


def test_the_clock_waits_for_to_thread_though_a_timer_is_due() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        def work() -> None:
            # Each round trip lets the loop come to rest, with only the timer left to wait for.
            for _ in range(50):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()

        async with asyncio.timeout(60):
            await asyncio.to_thread(work)
        return now()

    assert run_virtual(main()) == 1000


def test_the_clock_goes_on_after_the_last_thread() -> None:
    async def main() -> float:
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(20)))
        await asyncio.sleep(60)
        return now()

    assert run_virtual(main()) == pytest.approx(1060, abs=1e-4)


def test_a_thread_nobody_waits_for_any_more_does_not_stop_the_clock() -> None:
    release = threading.Event()

    async def main() -> float:
        task = asyncio.create_task(asyncio.to_thread(release.wait))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(60)
        release.set()
        return now()

    assert run_virtual(main()) == pytest.approx(1060, abs=1e-4)


def test_no_timeout_cuts_the_wait_for_threads_at_the_end() -> None:
    release, finished = threading.Event(), threading.Event()

    def work() -> None:
        release.wait()
        finished.set()

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        shutdown = asyncio.create_task(loop.shutdown_default_executor(timeout=0.001))
        await asyncio.sleep(0)
        threading.Thread(target=release.set).start()
        await shutdown
        await task
        return finished.is_set()

    assert run_virtual(main())


def test_http_over_loopback_takes_virtual_time_only() -> None:
    async def main() -> tuple[bytes, float]:
        timeout = aiohttp.ClientTimeout(total=3600)
        async with (
            echo_after(1800) as url,
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=b"hello") as response,
        ):
            return await response.read(), now()

    text, at = run_virtual(main())
    assert text == b"hello"
    assert at == pytest.approx(2800, abs=1e-3)


def test_a_client_timeout_expires_in_virtual_time() -> None:
    async def main() -> float:
        timeout = aiohttp.ClientTimeout(total=300)
        async with echo_after(3600) as url, aiohttp.ClientSession(timeout=timeout) as session:
            began = now()
            with pytest.raises(TimeoutError):
                await session.post(url)
            return now() - began

    # aiohttp rounds long timeouts up to a whole second.
    assert run_virtual(main()) == pytest.approx(300.5, abs=0.6)


def test_no_timeout_expires_while_bytes_are_under_way() -> None:
    async def main() -> int:
        timeout = aiohttp.ClientTimeout(total=0.001)
        received = 0
        async with echo_after(0) as url, aiohttp.ClientSession(timeout=timeout) as session:
            for _ in range(20):
                async with session.post(url, data=bytes(900_000)) as response:
                    received += len(await response.read())
        return received

    assert run_virtual(main()) == 20 * 900_000


async def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near = socket.socket()
        near.setblocking(False)
        await asyncio.get_running_loop().sock_connect(near, listener.getsockname())
        far, _ = await asyncio.get_running_loop().sock_accept(listener)
    return near, far


async def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


Pair = Callable[[], Awaitable[tuple[socket.socket, socket.socket]]]


async def full_connection(pair: Pair, size: int) -> tuple[asyncio.StreamWriter, socket.socket]:
    """Return a connection with more written to it than its far end takes in unread, and that far end."""
    near, far = await pair()
    _, writer = await asyncio.open_connection(sock=near)
    writer.write(bytes(size))
    return writer, far


full_connections = pytest.mark.parametrize(
    ("pair", "size"),
    [
        pytest.param(tcp_pair, 100_000, id="the kernel has it all, but cannot send it"),
        pytest.param(tcp_pair, 20_000_000, id="the kernel cannot take it all"),
        pytest.param(unix_pair, 20_000_000, id="not even TCP"),
    ],
)


@full_connections
def test_the_clock_stands_still_while_a_peer_may_yet_make_room(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, size: int
) -> None:
    monkeypatch.setattr(clock, "_PATIENCE", 60)
    threads: list[threading.Thread] = []
    times: list[float] = []

    async def tell_time() -> float:
        return now()

    def ask(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
        # Between two questions the loop comes to rest, with the timer and the full socket left to wait for.
        times.extend(asyncio.run_coroutine_threadsafe(tell_time(), loop).result() for _ in range(20))
        loop.call_soon_threadsafe(done.set)

    async def main() -> None:
        done = asyncio.Event()
        writer, far = await full_connection(pair, size)
        threads.append(threading.Thread(target=ask, args=(asyncio.get_running_loop(), done)))
        threads[0].start()
        async with asyncio.timeout(3600):
            await done.wait()
        far.close()
        writer.transport.abort()

    run_virtual(main())
    threads[0].join()
    assert times == [1000] * 20


@full_connections
def test_a_peer_that_never_reads_does_not_stop_the_clock(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, size: int
) -> None:
    monkeypatch.setattr(clock, "_PATIENCE", 0.01)

    async def main() -> float:
        writer, far = await full_connection(pair, size)
        await asyncio.sleep(60)
        far.close()
        writer.transport.abort()
        return now()

    assert run_virtual(main()) == pytest.approx(1060, abs=1e-3)


def test_run_virtual_returns_the_result_and_raises_the_error() -> None:
    async def good() -> int:
        return 7

    async def bad() -> None:
        raise LookupError("as is")

    assert run_virtual(good()) == 7
    with pytest.raises(LookupError, match="as is"):
        run_virtual(bad())


def test_a_fast_loop_is_as_fast_as_it_was_told() -> None:
    async def main() -> None:
        outer = time.monotonic()
        began = now()
        inner = time.monotonic()
        await asyncio.sleep(60)
        inner = time.monotonic() - inner
        passed = now() - began
        outer = time.monotonic() - outer
        assert passed >= 60
        assert inner * 1000 <= passed + 1e-6
        assert passed <= outer * 1000 + 1e-6

    run_fast(main(), speed=1000)


def test_a_fast_loop_keeps_timers_in_order() -> None:
    order: list[float] = []

    async def main() -> None:
        async def sleeper(delay: float) -> None:
            await asyncio.sleep(delay)
            order.append(delay)

        await asyncio.gather(*map(sleeper, (30, 10, 20)))

    run_fast(main(), speed=1000)
    assert order == [10, 20, 30]


def test_a_fast_loop_serves_sockets_and_threads() -> None:
    async def main() -> tuple[bytes, int]:
        async with (
            echo_after(5) as url,
            aiohttp.ClientSession() as session,
            session.post(url, data=b"hello") as response,
        ):
            return await response.read(), await asyncio.to_thread(int, "7")

    assert run_fast(main(), speed=100) == (b"hello", 7)


def test_a_fast_loop_starts_where_it_is_told() -> None:
    loop = FastLoop(1.0, start=50.0)
    assert 50 <= loop.time() < 60
    loop.close()
