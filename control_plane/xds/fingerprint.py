"""One hash for many resources: what SotW's version_info says. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, Self

_BYTES: Final = 12


class Fingerprint:
    """A hash over (name, version) pairs, whatever their order, kept up to date pair by pair.

    It is the sum of the pairs' own hashes (modulo 2**96): one change costs one
    hash, however many pairs there are. Replicas with equal content agree.
    """

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._sum = 0

    @classmethod
    def of(cls, versions: Mapping[str, str]) -> Self:
        """Return the fingerprint of `{name: version}`."""
        made = cls()
        for name, version in versions.items():
            made.put(name, version)
        return made

    def put(self, name: str, version: str) -> None:
        """Have `name` at this version; without one, not at all."""
        before = self._versions.pop(name, "")
        if before:
            self._sum -= _hash(name, before)
        if version:
            self._versions[name] = version
            self._sum += _hash(name, version)

    def __str__(self) -> str:
        return f"{self._sum % (1 << 8 * _BYTES):0{2 * _BYTES}x}"


def _hash(name: str, version: str) -> int:
    digest = hashlib.sha256(f"{name}\0{version}".encode()).digest()
    return int.from_bytes(digest[:_BYTES], "big")
