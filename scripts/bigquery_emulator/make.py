"""Make the environment of the BigQuery emulator that tests use, below `.venvs/`.

    python scripts/bigquery_emulator/make.py

Needs the Python package index, nothing else: DuckDB's extensions come
as wheels and are installed into a home of the environment's own, so nothing
is written to the user's. Does nothing when the environment is up to date.

Two emulators are known. local-bigquery checks what BigQuery checks and is
used wherever Python 3.13 is; bqemulator runs on every Python we support.
Prints one JSON object: {"emulator", "python", "home"}.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))
from environment import SetupError, uv, uv_environment  # noqa: E402 - a script beside this folder

ENVIRONMENT = ROOT / ".venvs" / "bigquery-emulator"
EXTENSIONS = {"local-bigquery": ("ducklake", "icu", "spatial"), "bqemulator": ("spatial",)}
STRICT_PYTHON = "3.13"  # the only one that local-bigquery supports


@dataclass(frozen=True, slots=True)
class Choice:
    """Which emulator, on which interpreter."""

    emulator: str
    interpreter: Path

    @property
    def requirements(self) -> Path:
        """The locked requirements."""
        return HERE / f"{self.emulator}.txt"

    def fingerprint(self) -> str:
        """Return what an up-to-date environment was made from."""
        digest = hashlib.sha256(self.requirements.read_bytes())
        digest.update(Path(__file__).read_bytes())
        return f"{self.emulator} {digest.hexdigest()}"


def python_for_strict() -> Path | None:
    """Return a Python 3.13 of this machine, where there is one."""
    found = subprocess.run(
        [uv(), "python", "find", "--no-project", "--no-python-downloads", STRICT_PYTHON],
        capture_output=True,
        text=True,
        check=False,
        env=uv_environment(),
    )
    if found.returncode == 0:
        return Path(found.stdout.strip())
    # pyenv's shims fail for a version that is installed but not selected, and stop uv's search.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted(pyenv.glob(f"versions/{STRICT_PYTHON}.*/bin/python"))
    return installed[-1] if installed else None


def choose() -> Choice:
    """Return the strict emulator where its Python is, the other elsewhere."""
    strict = python_for_strict()
    if strict is not None:
        return Choice("local-bigquery", strict)
    return Choice("bqemulator", Path(sys.executable).resolve())


def make(choice: Choice) -> None:
    """Make the environment anew. Raises SetupError."""
    run([uv(), "venv", "--quiet", "--clear", "--no-project", "--python", choice.interpreter, ENVIRONMENT])
    python = ENVIRONMENT / "bin" / "python"
    run([uv(), "pip", "sync", "--quiet", "--require-hashes", "--python", python, choice.requirements])
    home = ENVIRONMENT / "home"
    home.mkdir()
    code = "import sys, duckdb_extensions\nfor name in sys.argv[1:]: duckdb_extensions.import_extension(name)"
    run([python, "-c", code, *EXTENSIONS[choice.emulator]], {**os.environ, "HOME": str(home)})


def run(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    """Run `command`. Raises SetupError with what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment or uv_environment()
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise SetupError(f"{' '.join(map(str, command))} failed with {done.returncode}: {said}")


def main() -> None:
    """Bring the environment up to date and say where it is."""
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    stamp = ENVIRONMENT / "made-from"
    with (ENVIRONMENT.parent / "bigquery-emulator.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        choice = choose()
        up_to_date = stamp.is_file() and stamp.read_text() == choice.fingerprint()
        if not up_to_date or not (ENVIRONMENT / "bin" / "python").is_file():  # its Python may be gone
            print(f"making the environment of {choice.emulator} ...", file=sys.stderr)  # noqa: T201 - its output
            make(choice)
            stamp.write_text(choice.fingerprint())
    place = {
        "emulator": choice.emulator,
        "python": str(ENVIRONMENT / "bin" / "python"),
        "home": str(ENVIRONMENT / "home"),
    }
    print(json.dumps(place))  # noqa: T201 - its output


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        raise SystemExit(f"the BigQuery emulator cannot be set up: {error}") from None
