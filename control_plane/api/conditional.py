"""Entity tags and the conditions that name them (RFC 9110, sections 8.8.3 and 13). Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_TAG: Final = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')
_DIGEST_DIGITS: Final = 12


def entity_tag(revision: int, body: bytes) -> str:
    """Return the strong tag of a sensor: `"<revision>-<digest of what is said of it>"`.

    The revision says what was asked for; the digest makes the tag change with
    status and stream too, as a strong tag must.
    """
    return f'"{revision}-{hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS]}"'


def content_tag(body: bytes) -> str:
    """Return the strong tag of what has no revision of its own: a digest of its content."""
    return f'"{hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS]}"'


def names_tag(condition: str, tag: str) -> bool:
    """Say whether If-None-Match (`condition`) names `tag`, by weak comparison."""
    return condition.strip() == "*" or tag.strip('"') in _tags(condition)


def names_revision(condition: str, revision: int) -> bool:
    """Say whether If-Match (`condition`) names a tag of this revision, or `"<revision>"` itself.

    Only the revision is compared: that a sensor's status changed since it was
    read is no reason to refuse.
    """
    if condition.strip() == "*":
        return True
    return any(tag.partition("-")[0] == str(revision) for tag in _tags(condition, strong=True))


def _tags(condition: str, *, strong: bool = False) -> list[str]:
    """Return the opaque parts of a list of tags; weak ones are left out if `strong`."""
    tags = []
    for part in condition.split(","):
        match = _TAG.fullmatch(part)
        if match and not (strong and part.strip().startswith("W/")):
            tags.append(match[1])
    return tags
