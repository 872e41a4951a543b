"""Bring what tests need beside the locked dependencies: a browser, and the BigQuery emulator.

    python scripts/prepare_tests.py

The browser is the system's Chromium, else Debian's package where the user is
root, else Playwright's own download. Does nothing that is done already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EMULATOR = Path(__file__).resolve().parent / "bigquery_emulator" / "make.py"


def main() -> int:
    """Bring both; returns the exit code."""
    prepare_browser()
    return subprocess.run([sys.executable, EMULATOR], stdout=subprocess.DEVNULL, check=False).returncode


def prepare_browser() -> None:
    """Make sure that there is a browser; says so if none can be had."""
    if any(map(shutil.which, CHROMIUM)):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing Debian's chromium, for the tests of the web page ...")
        if _run("apt-get", "update", "-qq") and _run(
            "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"
        ):
            return
    say("bringing Playwright's chromium, for the tests of the web page ...")
    if not _run(sys.executable, "-m", "playwright", "install", "chromium"):
        say("there is no browser: the tests of the web page will say so")


def _run(*command: str) -> bool:
    done = subprocess.run(
        command,
        check=False,
        stdout=sys.stderr,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    return done.returncode == 0


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr)  # noqa: T201 - its output


if __name__ == "__main__":
    sys.exit(main())
