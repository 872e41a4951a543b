"""The checked-in protobuf code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def read_modules(folder: Path) -> dict[str, str]:
    """Return the text of every module and stub below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py*"))
        if path.suffix in {".py", ".pyi"}
    }


def test_generated_code_follows_the_sources(tmp_path: Path) -> None:
    """wire/gen is what `make proto` makes of proto/ today."""
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_protobuf.py", tmp_path], check=True, cwd=ROOT
    )
    assert read_modules(tmp_path) == read_modules(ROOT / "wire" / "gen")


def test_proto_holds_no_python() -> None:
    """A Python package named proto would shadow proto-plus, which the Google clients import."""
    assert not list((ROOT / "proto").rglob("*.py"))
