"""What simulated runs have to say: results and log rows, always the same for the same key."""

import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ["PullRequest", "Report", "ending_row", "prompt_row", "report", "ticks", "work_row"]

_TEXT = """
the a test branch parser request handler schema now fails passes module because of returns reads writes
cache retry queue and with without before after every second page token limit
"""
_WORDS = _TEXT.split()
_TOOLS = ("ripgrep_search", "file_write", "edit_file", "bash")

# Message types of log rows, with their weights.
_ACTIVE = {
    "ACTION": 70,
    "PLAN_EVALUATION": 15,
    "INITIAL_PR_GENERATION": 4,
    "DETECT_PR_ERRORS": 3,
    "FIX_PR_ERRORS": 3,
    "PR_CREATION_FAILED": 1,
    "USER_GITHUB_ISSUE_COMMENT": 1,
    "AGENT_RUN_LINK": 1,
}
_EVALUATION = {"PR_EVALUATION": 1, "COMMIT_EVALUATION": 1}
_WORK = {"ACTIVE": _ACTIVE, "RUNNING": _ACTIVE, "EVALUATION": _EVALUATION}


class PullRequest(NamedTuple):
    """A pull request that a run has opened."""

    id: int
    title: str
    branch: str


class Report(NamedTuple):
    """What a run leaves behind."""

    result: str | None
    summary: str
    pull_requests: tuple[PullRequest, ...]


@lru_cache(maxsize=20_000)
def report(key: str, status: str) -> Report:
    """Write the report of a run that ended with `status`: about 2 KB of Markdown, if it was a success."""
    rng = random.Random(key)
    if status != "COMPLETE":
        return Report(None, f"The run ended with {status}: {_sentence(rng)}", ())
    paragraphs = "\n\n".join(" ".join(_sentence(rng) for _ in range(8)) for _ in range(5))
    pulls = tuple(_pull_request(rng) for _ in range(rng.choice((0, 1, 1, 2))))
    return Report(f"## ✅ Done\n\n{paragraphs}", _sentence(rng), pulls)


def prompt_row(prompt: str) -> dict[str, Any]:
    """Return the log row of what the user said."""
    return {"message_type": "USER_MESSAGE", "tool_name": "user_input", "observation": prompt}


def ending_row(status: str, result: Report) -> dict[str, Any]:
    """Return the log row with which a run ends."""
    if status == "COMPLETE":
        return {"message_type": "FINAL_ANSWER", "observation": result.result}
    return {"message_type": "ERROR", "observation": {"status": status, "error": result.summary}}


def ticks(key: str, start: float, interval: float) -> Iterator[tuple[float, random.Random]]:
    """Yield the times at which a run has something to log, each with the randomness for what it is."""
    rng = random.Random(key)
    time = start
    while True:
        time += rng.expovariate(1 / interval)
        yield time, random.Random(rng.getrandbits(32))


def work_row(status: str | None, rng: random.Random) -> dict[str, Any] | None:
    """Return a log row of a run at work; None if a run with this status writes none."""
    weights = _WORK.get(status or "")
    if weights is None:
        return None
    (kind,) = rng.choices(list(weights), list(weights.values()))
    if kind == "ACTION":
        return {"message_type": kind, "thought": _sentence(rng), **_tool_call(rng)}
    if kind == "PLAN_EVALUATION":
        return {"message_type": kind, "thought": _sentence(rng)}
    return {"message_type": kind, "observation": _sentence(rng)}


def _tool_call(rng: random.Random) -> dict[str, Any]:
    return {
        "tool_name": rng.choice(_TOOLS),
        "tool_input": {"query": rng.choice(_WORDS), "path": f"src/{rng.choice(_WORDS)}.py"},
        "tool_output": {"status": "success", "output": _sentence(rng)},
    }


def _pull_request(rng: random.Random) -> PullRequest:
    number = rng.randint(1, 9999)
    return PullRequest(number, _sentence(rng), f"codegen/{rng.choice(_WORDS)}-{number}")


def _sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=8)).capitalize() + "."
