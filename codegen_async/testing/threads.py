"""Serve on a thread: for tests without a loop, for tests whose loop is busy, for other processes.

    with ServerThread(CodegenServer) as server:
        subprocess.run(command, env=os.environ | server.environment)

What the block yields has the names of the server itself, and may be used on any thread: whatever is asked of it, of its
parts (`server.world`, `server.faults`) or of the collections it holds is done on the server's thread, between two
requests and never in the midst of one.
"""

import asyncio
import threading
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    MutableMapping,
    MutableSequence,
    MutableSet,
    ValuesView,
)
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

from codegen_async.testing.server import SimulatedServer

__all__ = ["ServerThread"]

S = TypeVar("S", bound=SimulatedServer)
T = TypeVar("T")

_PATIENCE = 60.0  # seconds; what a server does at one go takes far less
_PARTS = ("world", "faults", "account")
_COLLECTIONS = (MutableMapping, MutableSequence, MutableSet)
_VIEWS = (KeysView, ItemsView, ValuesView)


class ServerThread(Generic[S]):
    """Serve on a thread of its own, in real time, while the `with` block lasts; yields a stand-in for the server.

    Args:
        make: makes the server; called on that thread.
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._thread = threading.Thread(target=self._run, name="simulated-server", daemon=True)
        self._started: SimpleQueue[BaseException | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._server: S

    def __enter__(self) -> S:
        self._thread.start()
        failure = self._started.get()
        if failure is not None:
            self._thread.join()
            raise failure
        return cast("S", _StandIn(self._server, self))

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_PATIENCE)

    def do(self, work: Callable[[], T]) -> T:
        """Do something on the server's thread and return what it returns; where it ends, raise what it raises.

        Nothing is served meanwhile, so what takes several looks or steps is done undisturbed.
        """
        if self.is_here() or not self._thread.is_alive():
            return work()
        done: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

        def carry_out() -> None:
            try:
                done.put((work(), None))
            except BaseException as error:  # noqa: BLE001 - it belongs to who asked
                done.put((None, error))

        self._loop.call_soon_threadsafe(carry_out)
        try:
            result, error = done.get(timeout=_PATIENCE)
        except Empty:
            raise TimeoutError("the thread of the simulated server does not answer") from None
        if error is not None:
            raise error
        return cast("T", result)

    def is_here(self) -> bool:
        """Return whether this is the server's thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the start is told
            self._started.put(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        async with self._make() as self._server:
            self._started.put(None)
            await self._end.wait()


class _StandIn:
    """Stand for an object of the server's thread: what is asked of it is done there. There, it stands for nothing."""

    def __init__(self, target: Any, thread: "ServerThread[Any]") -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_thread", thread)

    def __getattr__(self, name: str) -> Any:
        return self._ask(lambda target: getattr(target, name), part=name in _PARTS)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask(lambda target: setattr(target, name, value))

    def __getitem__(self, key: object) -> Any:
        return self._ask(lambda target: target[key])

    def __setitem__(self, key: object, value: object) -> None:
        self._ask(lambda target: target.__setitem__(key, value))

    def __delitem__(self, key: object) -> None:
        self._ask(lambda target: target.__delitem__(key))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ask(tuple))

    def __len__(self) -> int:
        return int(self._ask(len))

    def __bool__(self) -> bool:
        return bool(self._ask(bool))

    def __contains__(self, item: object) -> bool:
        return bool(self._ask(lambda target: item in target))

    def __eq__(self, other: object) -> bool:
        return bool(self._ask(lambda target: target == other))

    def __hash__(self) -> int:
        return int(self._ask(hash))

    def __repr__(self) -> str:
        return str(self._ask(repr))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What it stands for, to `isinstance`."""
        return cast("Any", type(self._target))

    def _ask(self, look: Callable[[Any], Any], *, part: bool = False) -> Any:
        if self._thread.is_here():
            return look(self._target)
        answer = self._thread.do(lambda: _settled(look(self._target)))
        if part or isinstance(answer, _COLLECTIONS):
            return _StandIn(answer, self._thread)
        if callable(answer) and not isinstance(answer, type):
            return self._method(answer)
        return answer

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            return self._ask(lambda _: method(*args, **options))

        return call


def _settled(answer: Any) -> Any:
    """Return what stays as it is: a view changes with what it shows."""
    return tuple(cast("Iterable[Any]", answer)) if isinstance(answer, _VIEWS) else answer
