"""Bring the project's environment up to date: uv into `.tools/`, the locked dependencies into `.venv/`.

    python3 scripts/environment.py
    python3 scripts/environment.py --uv build      runs uv, brought and set up likewise

Standard library only: it runs before anything is installed. Does nothing, and
needs no network, while `.venv/` is what uv.lock and pyproject.toml say. What
it says goes to stderr.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_VERSION = "0.13.9"
UV = f"uv=={UV_VERSION}"
PIP_INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
TOOLS = ROOT / ".tools"
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "made-from"


class SetupError(RuntimeError):
    """The environment cannot be made; the text says why and what to do."""


def main() -> int:
    """Do it; returns the exit code."""
    try:
        if sys.argv[1:2] == ["--uv"]:
            return subprocess.run([uv(), *sys.argv[2:]], check=False, env=uv_environment()).returncode
        if not is_current():
            synchronise(uv())
            STAMP.write_text(fingerprint())
    except SetupError as error:
        say(f"the environment cannot be set up: {error}")
        return 1
    return 0


def fingerprint() -> str:
    """Return what an environment that is up to date was made from."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml", "scripts/environment.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_current() -> bool:
    """Say whether the environment was made from the files as they are, and its Python still runs."""
    python = ENVIRONMENT / "bin" / "python"
    if not STAMP.is_file() or STAMP.read_text() != fingerprint():
        return False
    # An environment that was moved or whose Python went away is made anew.
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def synchronise(uv_path: Path) -> None:
    """Make the environment what the lock file says."""
    say("bringing the locked dependencies into .venv ...")
    interpreter = [] if (ENVIRONMENT / "bin" / "python").exists() else ["--python", sys.executable]
    run([uv_path, "sync", "--frozen", "--quiet", *interpreter], uv_environment())


def uv_environment() -> dict[str, str]:
    """Return the environment for uv: its cache, its certificates, copies where links cannot be."""
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("UV_CACHE_DIR") or home / "uv")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        usable = os.access(cache, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        cache = TOOLS / "uv-cache"
        cache.mkdir(parents=True, exist_ok=True)
        environment["UV_CACHE_DIR"] = str(cache)
    if ssl.create_default_context().get_ca_certs():
        environment.setdefault("UV_SYSTEM_CERTS", "1")  # as pip does: a company's own authority is there
    if cache.stat().st_dev != ROOT.stat().st_dev:
        environment.setdefault("UV_LINK_MODE", "copy")
    return environment


def uv() -> Path:
    """Return uv, brought into `.tools/` if it is not there. Raises SetupError."""
    folder = TOOLS / f"uv-{UV_VERSION}"
    binary = folder / "bin" / "uv"
    if binary.is_file():
        return binary
    say(f"bringing uv {UV_VERSION} into .tools ...")
    shutil.rmtree(folder, ignore_errors=True)
    if _has("ensurepip"):
        _into_venv(folder)
    elif _has("pip"):
        run([sys.executable, *PIP_INSTALL, "--target", folder, UV])
    elif found := shutil.which("uv"):
        return Path(found)
    elif os.geteuid() == 0 and shutil.which("apt-get"):
        say("this Python has neither venv nor pip: installing Debian's python3-venv ...")
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "python3-venv"])
        _into_venv(folder)
    else:
        raise SetupError(
            f"{sys.executable} has neither venv nor pip: install them (Debian, Ubuntu: apt-get install "
            "python3-venv), or install uv"
        )
    return binary


def _into_venv(folder: Path) -> None:
    run([sys.executable, "-m", "venv", folder])
    run([folder / "bin" / "python", *PIP_INSTALL, UV])


def run(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    """Run a command, its output to stderr. Raises SetupError."""
    done = subprocess.run(command, stdout=sys.stderr, check=False, env=environment, cwd=ROOT)
    if done.returncode != 0:
        raise SetupError(f"`{' '.join(map(str, command))}` failed with exit code {done.returncode}")


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr)  # noqa: T201 - its output


if __name__ == "__main__":
    sys.exit(main())
