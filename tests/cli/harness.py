"""Run the command line as users do: as a process, on pipes or on a terminal, against a server in this process."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Generic, NamedTuple, TypeVar

from codegen_async.testing import CodegenServer, ServerThread
from codegen_async.testing.server import SimulatedServer
from tests.support.canary import CANARY

T = TypeVar("T")
K = TypeVar("K")
S = TypeVar("S", bound=SimulatedServer)

PATIENCE = 60.0  # seconds until a process that hangs is killed; none should take two

_CLI = (sys.executable, "-m", "codegen_async.cli")
# The passwd file has no entry for the user.
_NO_USER = "import pwd\n\ndef nobody(uid):\n    raise KeyError(uid)\n\npwd.getpwuid = nobody\n"
_ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    """What a process left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def jsonl(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Running(Generic[S]):
    """A simulated server on a thread of its own."""

    def __init__(self, server: S, thread: ServerThread[S]) -> None:
        self.server = server
        self._thread = thread

    def do(self, call: Callable[[S], T]) -> T:
        """Call something with the server, on its thread."""
        return self._thread.do(lambda: call(self.server))


@contextmanager
def running(make: Callable[[], S], kind: Callable[[S, ServerThread[S]], K]) -> Generator[K]:
    """Serve while the block lasts."""
    thread = ServerThread(make)
    with thread as server:
        yield kind(server, thread)


class Served(Running[CodegenServer]):
    """A simulated Codegen API, whose token must never show."""

    def create(self, prompt: str = "A task", *stages: tuple[float, str]) -> int:
        """Create a run that lives by these stages, complete at once by default."""
        return self.do(lambda server: server.world.create(prompt, script=stages or [(0.0, "COMPLETE")]).id)

    def until_asked(self, endpoint: str) -> threading.Event:
        """Return an event that is set when the next request has arrived at an endpoint."""
        arrived = threading.Event()
        take = self.server.faults.take

        def watch(name: str) -> Any:
            if name == endpoint:
                arrived.set()
            return take(name)

        self.do(lambda server: setattr(server.faults, "take", watch))
        return arrived

    def end_all(self) -> None:
        """Let all runs end now."""

        def end(server: CodegenServer) -> None:
            for run_id in server.world.runs:
                server.world.end(run_id)

        self.do(end)

    def script(self, *statuses: str) -> None:
        """Let runs that are created from now on have this status at once, and no other."""
        self.do(lambda server: setattr(server.world, "script", [(0.0, status) for status in statuses]))


class CommandLine:
    """Start the command line with an environment and a home of its own.

    Args:
        home: a directory to work in; it is also where the user's config file is looked for.
        env: variables besides those that every process needs.
    """

    def __init__(self, home: Path, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "PYTHONPATH": str(_ROOT),
            "PYTHONWARNINGS": "error",
            **(env or {}),
        }

    def run(self, *words: object, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Result:
        """Run a command with pipes, and return what it left."""
        return self.spawn(self.words(*words), stdin=stdin, env=env)

    def spawn(
        self,
        words: Sequence[str],
        *,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Result:
        """Run any program as `run` does."""
        done = subprocess.run(  # noqa: S603 - written down in the test
            words,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.env | dict(env or {}),
            cwd=self.home,
            timeout=patience,
            check=False,
        )
        return _checked(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *words: object, stdout: int | IO[bytes] = subprocess.PIPE) -> Generator["Started"]:
        """Start a command; it is killed if it is still there when the block is left."""
        with self.started_by(*self.words(*words), stdout=stdout) as started:
            yield started

    @contextmanager
    def started_by(self, *words: str, stdout: int | IO[bytes] = subprocess.PIPE) -> Generator["Started"]:
        """Start any program as `started` does."""
        process = subprocess.Popen(  # noqa: S603 - written down in the test
            words,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.home,
            bufsize=0,  # whoever reads a line takes no more: what is behind it is there for `end`
        )
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        with process:
            try:
                yield Started(process)
            finally:
                process.kill()
                watchdog.cancel()

    def on_terminal(
        self, *words: object, width: int = 100, env: Mapping[str, str] | None = None, stdout_too: bool = True
    ) -> Result:
        """Run a command on a terminal; `err` is what was shown there, `out` what went elsewhere."""
        with self.on_a_terminal(*words, width=width, env=env, stdout_too=stdout_too) as terminal:
            data = terminal.read_all()
        return _checked(terminal.code, data, terminal.shown.encode())

    @contextmanager
    def on_a_terminal(
        self, *words: object, width: int = 100, env: Mapping[str, str] | None = None, stdout_too: bool = True
    ) -> Generator["Terminal"]:
        """Start a command on a terminal, and wait for its end when the block is left."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        process = subprocess.Popen(  # noqa: S603 - our own program
            self.words(*words),
            stdin=theirs,
            stdout=theirs if stdout_too else subprocess.PIPE,
            stderr=theirs,
            env=self.env | {"TERM": "xterm-256color"} | dict(env or {}),
            cwd=self.home,
            process_group=0,  # as shells do; what is in no such group of its own may not be stopped
        )
        os.close(theirs)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        terminal = Terminal(process, ours)
        try:
            with process:
                yield terminal
                terminal.read_all()
        finally:
            process.kill()
            watchdog.cancel()
            os.close(ours)

    def without_a_home(self) -> None:
        """Let processes find no home for their user, as in a container that runs as a number."""
        (self.home / "no_user").mkdir()
        (self.home / "no_user" / "sitecustomize.py").write_text(_NO_USER)
        self.env["PYTHONPATH"] = f"{self.home / 'no_user'}:{self.env['PYTHONPATH']}"
        del self.env["XDG_CONFIG_HOME"], self.env["HOME"]

    def words(self, *words: object) -> list[str]:
        """Return what has to be executed for a command."""
        return [*_CLI, *map(str, words)]


class Started:
    """A command that goes on."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._said = b""

    def until(self, text: str) -> str:
        """Return the line of the standard error that has this text, when it comes."""
        assert self.process.stderr is not None
        while line := self.process.stderr.readline():
            self._said += line
            if text in line.decode():
                return line.decode()
        raise AssertionError(f"{text!r} never came, but:\n{self._said.decode()}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self) -> Result:
        """Return what it left, the whole of its standard error included."""
        out, err = self.process.communicate()
        return _checked(self.process.returncode, out or b"", self._said + err)


class Terminal:
    """A command on a terminal, and what was shown there."""

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self._process = process
        self._terminal = terminal
        self._shown = b""

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="replace")

    @property
    def code(self) -> int:
        return self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def is_stopped(self) -> bool:
        """Wait until the command has stopped or ended; return which."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def until(self, text: str) -> None:
        """Wait until something more is shown that has this text."""
        begin = len(self._shown)
        while text.encode() not in self._shown[begin:]:
            assert self._read(), f"{text!r} never came, but:\n{self.shown}"

    def read_all(self) -> bytes:
        """Return what went elsewhere, when the command has ended."""
        while self._read():
            pass
        return b"" if self._process.stdout is None else self._process.stdout.read()

    def _read(self) -> bool:
        try:
            more = os.read(self._terminal, 65_536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self._shown += more
        return bool(more)


@contextmanager
def nobody_reads() -> Generator[IO[bytes]]:
    """Yield the end of a pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:  # noqa: PTH123 - no path
        yield pipe


def _checked(code: int, out: bytes, err: bytes) -> Result:
    """Return a result, after looking at what no command may ever show."""
    result = Result(code, out.decode(), err.decode())
    assert CANARY not in result.out + result.err
    assert "Exception ignored" not in result.err
    return result


def write_prompts(home: Path, number: int) -> Path:
    """Write a file of prompts with the keys k0, k1, ..."""
    path = home / "prompts.jsonl"
    path.write_text("".join(json.dumps({"key": f"k{n}", "prompt": f"Task {n}"}) + "\n" for n in range(number)))
    return path
