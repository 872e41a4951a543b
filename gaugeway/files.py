"""Files that others read while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_atomically(file: Path, text: str, mode: int = 0o644) -> None:
    """Replace `file` by `text`: a reader sees the old or the new one, never a part."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(file)


def write_json(file: Path, document: object, mode: int = 0o644) -> None:
    """Replace `file` by `document` as JSON, atomically."""
    write_atomically(file, json.dumps(document, indent=2, default=str) + "\n", mode)
