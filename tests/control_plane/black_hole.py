"""A port that swallows whatever comes, as a machine that is switched off does."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

_FILL_S = 0.2


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Return a port of 127.0.0.1 where a connection is neither taken nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(_FILL_S)
            try:
                client.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
