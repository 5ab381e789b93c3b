"""Run cells in a kernel of Jupyter, and print what each shows as JSON: its errors, and what it ends with as HTML.

It reads a list of cells, as JSON; one that begins with `# interrupt` is interrupted when it first prints.
"""

import json
import sys
from typing import Any

from jupyter_client.manager import KernelManager

PATIENCE = 120.0


def show(manager: Any, kernel: Any, cell: str) -> dict[str, str]:
    """Run a cell and return what it shows, by the kind of message."""
    request, shown = kernel.execute(cell), dict[str, str]()
    is_interrupted = cell.startswith("# interrupt")
    while True:
        message = kernel.get_iopub_msg(timeout=PATIENCE)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != request:
            continue
        if kind == "stream" and is_interrupted:
            is_interrupted = False  # once: what is printed may come in pieces, and the next cell is not meant
            manager.interrupt_kernel()
        if kind == "status" and content["execution_state"] == "idle":
            return shown
        shown[kind] = content.get("ename") or content.get("data", {}).get("text/html", "")


if __name__ == "__main__":
    manager = KernelManager()
    manager.start_kernel()
    try:
        kernel = manager.client()
        kernel.start_channels()
        kernel.wait_for_ready(timeout=PATIENCE)
        json.dump([show(manager, kernel, cell) for cell in json.load(sys.stdin)], sys.stdout)
    finally:
        manager.shutdown_kernel(now=True)
