"""Run a file of prompts to its end, however often this is killed and started again; try what fails up to three times.

    python batch_with_retry.py prompts.jsonl

The journal is `prompts.jsonl.db`, the results are in `prompts.jsonl.csv`. Ctrl-C creates no more runs and waits for
those that go on; a second one leaves at once, and the next start takes them up. It ends with code 1 if a prompt came to
no good end, or to none.
"""

import asyncio
import signal
import sys
from typing import Any

from codegen_async import Batch, BatchPausedError, CodegenClient


async def main(path: str) -> int:
    """Return the exit code."""
    failed = 0
    async with CodegenClient() as client, Batch(client, f"{path}.db") as batch:
        added = await batch.add_file(path, whole=True)
        print(f"{len(added.new)} new prompts, {added.known} known")
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop, batch)
        try:
            async for outcome in batch.run(max_active=50, max_attempts=3, max_failures=10):
                failed += not outcome.succeeded
                end = "succeeded" if outcome.succeeded else outcome.error or "did not succeed"
                print(f"{outcome.key}: {end}, attempts: {outcome.attempts}")
        except BatchPausedError as error:  # ten failures in a row, or the plan's runs are used up
            print(error, file=sys.stderr)
            failed += 1
        await batch.export(f"{path}.csv")
        print({state.value: count for state, count in (await batch.status()).items() if count})
    return 1 if failed else 0


def stop(batch: Batch[Any, Any]) -> None:
    """Create no more, and let the next Ctrl-C end the program."""
    batch.stop()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
