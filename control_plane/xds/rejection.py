"""What a client refuses, and which resources of a refused response its error text means. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that the client refused; ABSENT if it refused the removal. `error` is its own text."""

    version: str
    error: str


def names_refused(error: str, names: Collection[str]) -> tuple[str, ...]:
    """Return those of `names` that `error` gives a reason for; none if it does not say.

    Envoy applies the good resources of a response that it refuses, and says
    "Error adding/updating cluster(s) <name>: <reason>, <name>: <reason>"
    (listeners alike). Workers say "<name>: <reason>; <name>: <reason>".
    """
    return tuple(name for name in names if name in error and _gives_reason(error, name))


def _gives_reason(error: str, name: str) -> bool:
    return re.search(rf"(?:^|[\s,;]){re.escape(name)}:(?:\s|$)", error) is not None
