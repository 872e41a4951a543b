"""Schemathesis against a running API: does it keep its own OpenAPI document?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 240

# What the document says of an operation is all that is checked, except:
_NOT_CHECKED: Final = {
    # Some rules span fields, or depend on what there is: a replay has one metric, a metric is one of the
    # sensor's, a precondition may fail. No schema says that.
    "positive_data_acceptance",
    # A sensor that is being removed is still shown, by design.
    "use_after_free",
}
_ENDLESS: Final = "^/v1/live"  # event streams do not end: tests of their own


def check_against_document(
    api_url: str, token: str, folder: Path, *, examples: int = 40, seed: int | None = 1
) -> None:
    """Send generated requests, good and bad; fail with Schemathesis' report.

    Args:
        api_url: Of the API's root.
        token: The bearer token.
        folder: Where Schemathesis may leave files.
        examples: How many for each operation in the fuzzing phase, at most.
        seed: The same requests each time; None: others each time.
    """
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{api_url}/v1/openapi.json"]
    command += ["--header", f"Authorization: Bearer {token}", "--exclude-path-regex", _ENDLESS]
    command += ["--checks", "all", "--exclude-checks", ",".join(sorted(_NOT_CHECKED))]
    command += ["--max-examples", str(examples), "--warnings", "off", "--no-color"]
    if seed is not None:
        command += ["--seed", str(seed)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
