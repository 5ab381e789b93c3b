"""Make each argument into a run, print what becomes of it, and end with code 1 unless all went well.

    python script.py 'Fix the flaky test' 'Update the changelog'

Ctrl-C ends the script and none of the runs; it prints where to look at those that go on.
"""

import asyncio
import sys

from codegen_async import CodegenClient
from codegen_async.events import Event, PhaseChanged


async def main(prompts: list[str]) -> int:
    """Return the exit code."""
    places: dict[object, str | None] = {}

    def note(event: Event) -> None:
        if isinstance(event, PhaseChanged):
            places[event.run.id] = None if event.run.phase.is_terminal else event.run.web_url

    failed = 0
    try:
        async with CodegenClient(observe=note) as client:
            async for result in client.map(prompts, max_active=20, timeout=6 * 3600):
                failed += not result.ok
                print(f"{result.prompt}: {result.error or result.unwrap().phase}")
                for pull in (result.run and result.run.github_pull_requests) or ():
                    print(f"  {pull.url}")
    except asyncio.CancelledError:
        print("these go on:", *filter(None, places.values()), sep="\n  ", file=sys.stderr)
        raise
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
