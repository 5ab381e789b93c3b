"""Hosts in virtual time: each with a clock of its own, frozen and killed at any step of what runs there.

A host is a context: what is started in it belongs to it, and the loop tells its time by its clock. Everything goes on
in steps of the loop, so a host that stops, stops at an await.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, ParamSpec, TypeVarTuple, Unpack

from codegen_async.testing.clock import VirtualLoop

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

_HOST: ContextVar["Host | None"] = ContextVar("host", default=None)


class Host:
    """A process on a machine of its own.

    Args:
        drift: by how much its clock is faster.
        ahead: seconds that it shows more in the beginning.
    """

    def __init__(self, drift: float = 0.0, ahead: float = 0.0) -> None:
        self._speed = 1.0 + drift
        self._ahead = ahead
        self.is_stalled = False
        """Whether its network is slow: what it sends takes as long as it may."""
        self._is_frozen = self._is_dead = False
        self._frozen: list[_Step] = []

    def clock(self, at: float) -> float:
        """Return what its clock shows at a true time."""
        return at * self._speed + self._ahead

    def true(self, shown: float) -> float:
        """Return when it shows that."""
        return (shown - self._ahead) / self._speed

    def start(self, main: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Run something there."""
        context = copy_context()
        context.run(_HOST.set, self)
        return asyncio.get_running_loop().create_task(main, context=context)

    def freeze(self) -> bool:
        """Stop it, as SIGSTOP does; return whether it ran."""
        ran = not (self._is_frozen or self._is_dead)
        self._is_frozen = True
        return ran

    def thaw(self) -> None:
        """Let it go on; what it has missed comes all at once."""
        if self._is_dead:
            return
        self._is_frozen = False
        frozen, self._frozen = self._frozen, []
        for step in frozen:
            the_loop().go_on(step)

    def kill(self) -> None:
        """Stop it for good; nothing is cleaned up."""
        self._is_dead = True

    def release(self) -> None:
        """Let what is left of it end, when all is over: Python does not forget a task in the middle."""
        self._is_dead = False
        self.thaw()

    def do(self, step: "_Step") -> None:
        """Do one step, now or later or never."""
        if self._is_dead or self._is_frozen:
            self._frozen.append(step)
        elif step.handle is None or not step.handle.cancelled():
            step.callback(*step.args)


class _Step:
    """What a host is to do in a context, unless its handle is cancelled before."""

    def __init__(self, callback: Callable[..., object], args: tuple[object, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.handle: asyncio.Handle | None = None


class HostsLoop(VirtualLoop):
    """Run hosts."""

    def time(self) -> float:
        """Return the time of the host that runs, or the true one."""
        host = _HOST.get()
        return super().time() if host is None else host.clock(super().time())

    def true_time(self) -> float:
        """Return the true time."""
        return super().time()

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Let a host do a step."""
        context = copy_context() if context is None else context
        host = context.get(_HOST)
        if host is None:
            return super().call_soon(callback, *args, context=context)
        step = _Step(callback, args, context)
        step.handle = super().call_soon(host.do, step, context=context)
        return step.handle

    def go_on(self, step: _Step) -> None:
        """Do a step that a host was too frozen to do."""
        host = step.context[_HOST]
        assert host is not None
        super().call_soon(host.do, step, context=step.context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Let a host do a step when its clock shows that time."""
        context = copy_context() if context is None else context
        host = context.get(_HOST)
        if host is None:
            return super().call_at(when, callback, *args, context=context)
        step = _Step(callback, args, context)
        step.handle = timer = super().call_at(host.true(when), host.do, step, context=context)
        return timer


_OUTSIDE = Context()


def later(seconds: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> asyncio.TimerHandle:
    """Let something happen after so many true seconds, on no host: on the network, or in a server."""
    loop = the_loop()
    return loop.call_at(loop.true_time() + seconds, callback, *args, context=_OUTSIDE)


def the_loop() -> HostsLoop:
    """Return the loop that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HostsLoop)
    return loop


def on_hosts(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a plain test of a coroutine, on a loop of hosts, bounded in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(10_000.0):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=HostsLoop) as runner:
            runner.run(bounded())

    return run
