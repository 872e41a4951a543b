"""The operator's token: made once, written for the operator only, kept as a hash.

A token is 256 random bits, so nobody finds it by trying, and a plain SHA-256
of it gives nothing away: salts and slow hashes protect passwords, which people
choose. Looking the hash up also takes the same time whatever was sent.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

_TOKEN_BYTES: Final = 32
_MODE: Final = 0o600


def new_token() -> str:
    """Return a token: 43 characters that need no quoting anywhere."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """Return what is kept of a token: SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_token(file: Path, token: str) -> None:
    """Write a token for its owner only; a reader sees the old file or the whole new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w") as out:
        out.write(token + "\n")
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)


def read_token(file: Path) -> str | None:
    """Return the token in a file, None if there is none."""
    try:
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None
