"""What is tried in an environment that has the command line."""

import json

from benchmarks._environments import Environment


def outcomes_of_a_demo(place: Environment) -> int:
    """Run the demo, where each warning is an error, and return of how many prompts it printed the outcome."""
    printed = place.run("python", "-W", "error", "-m", "codegen_async", "demo", "--jsonl")
    return len({json.loads(line)["key"] for line in printed.splitlines()})
