"""Ports of this machine that are nobody else's."""

import socket
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def own_port() -> Generator[int]:
    """Yield a port on which nobody listens, and that is given to nobody else while the block lasts.

    A server that takes over addresses, as nearly all do, can listen on it, end, and listen on it again.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
