"""The web page: static files of control_plane/console, served from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from aiohttp import web

from control_plane.api.conditional import names_tag
from control_plane.api.problems import NOT_FOUND, ProblemError
from control_plane.api.routes import Parameter, Reply, Route

TAG: Final = "page"

# Everything comes from this server, and nothing stands inline.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_INDEX: Final = "index.html"
_MEDIA_TYPES: Final = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    tag: str


def _load() -> Mapping[str, _File]:
    """Return the files of the console by name."""
    found = {}
    for entry in files("control_plane.console").iterdir():
        media_type = _MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found[entry.name] = _File(content, media_type, tag)
    return found


_FILES: Final = _load()  # at import: handlers read no disk


class Pages:
    """Handlers of the page and its files."""

    def routes(self) -> tuple[Route, ...]:
        """Return the routes that these handlers serve."""
        name = Parameter(
            "name", "A file of the page.", {"type": "string", "enum": sorted({*_FILES} - {_INDEX})}
        )
        media_types = sorted({file.media_type for file in _FILES.values()} - {"text/html"})
        return (
            Route(
                "GET",
                "/",
                self.index,
                "showPage",
                "The web page",
                TAG,
                (Reply(200, "HTML.", media_type="text/html"), Reply(304, "It is as If-None-Match names it.")),
                open=True,
            ),
            Route(
                "GET",
                "/assets/{name}",
                self.asset,
                "showAsset",
                "A file of the web page",
                TAG,
                (
                    *(Reply(200, "The file.", media_type=media_type) for media_type in media_types),
                    Reply(304, "It is as If-None-Match names it."),
                ),
                problems=(NOT_FOUND,),
                parameters=(name,),
                open=True,
            ),
        )

    async def index(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        return _file_answer(request, _INDEX)

    async def asset(self, request: web.Request) -> web.Response:
        """Answer with one of its files."""
        return _file_answer(request, request.match_info["name"])


def _file_answer(request: web.Request, name: str) -> web.Response:
    file = _FILES.get(name)
    if file is None:
        raise ProblemError(NOT_FOUND, f"there is no file {name}")
    headers = {
        "ETag": file.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",
    }
    if names_tag(request.headers.get("If-None-Match", ""), file.tag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, content_type=file.media_type, charset="utf-8", headers=headers)
