"""What a client refuses, and which resources of a refused response its error text means. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

MAX_ERROR: Final = 8_192  # characters of a client's error text
_LEFT_OUT: Final = " [...] "
_REASONED: Final = re.compile(r"(?:^|(?<=[\s,;]))([^\s,;]+):(?=\s|$)")


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
    Names hold neither white space nor `,` nor `;`.
    """
    reasoned = set(_REASONED.findall(error))
    return tuple(name for name in names if name in reasoned)


def reason(text: str, code: int) -> str:
    """Return why a client refuses, by the text and the gRPC code that it says: never empty."""
    return text or f"refused without a reason (gRPC code {code})"


def shortened(error: str) -> str:
    """Return what is kept and shown of an error text: MAX_ERROR characters at most.

    Envoy names the resource first and the reason last, with all that it holds between them.
    """
    half = (MAX_ERROR - len(_LEFT_OUT)) // 2
    return error if len(error) <= MAX_ERROR else error[:half] + _LEFT_OUT + error[-half:]
