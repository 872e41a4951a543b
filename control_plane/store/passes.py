"""Resources that passed the pre-flight check, on disk: a control plane that was restarted need not ask again.

A file that is lost or broken only costs the check.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

MAX_KEPT: Final = 4096
_FORMAT: Final = 1

Key = tuple[str, str, str]  # type URL, name, version


def load_passes(file: Path) -> tuple[str, list[Key]]:
    """Return which Envoy judged (EnvoyValidator.identity), and what passed."""
    try:
        content = json.loads(file.read_text())
        if content["format"] == _FORMAT:
            passed = [(str(kind), str(name), str(version)) for kind, name, version in content["passed"]]
            return str(content["identity"]), passed
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("preflight_passes_unreadable", file=str(file), reason=f"{type(error).__name__}: {error}")
    return "", []


def save_passes(file: Path, identity: str, passed: Iterable[Key]) -> None:
    """Replace the file by the last MAX_KEPT of `passed`, atomically. Raises OSError."""
    content = {"format": _FORMAT, "identity": identity, "passed": list(passed)[-MAX_KEPT:]}
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(file)
