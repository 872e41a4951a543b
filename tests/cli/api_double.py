"""An API that answers what a test says, to see what commands ask and how they take it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class ApiDouble:
    """Answers by method and path; the last of a list of answers stays."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, method: str, path: str) -> Answer:
        """Return the next answer."""
        left = self.answers.get(f"{method} {path}")
        if not left:
            return 404, {"type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "gone"}
        return left.pop(0) if len(left) > 1 else left[0]


@contextlib.contextmanager
def api_double() -> Iterator[ApiDouble]:
    """Serve a double on a port of its own."""
    double = ApiDouble()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            double.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            status, document = double.answer(self.command, self.path.partition("?")[0])
            data = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
