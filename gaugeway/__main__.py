"""The command `gaugeway`, also `python -m gaugeway`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (docs/cli.md lists them)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        # A role starts without the command line's own imports: four of them start at once.
        from gaugeway.roles import main as run  # noqa: PLC0415

        return run(given[1:])
    from gaugeway.cli.app import run_command_line  # noqa: PLC0415

    return run_command_line(given)


if __name__ == "__main__":
    sys.exit(main())
