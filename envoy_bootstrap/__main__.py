"""Print an Envoy's bootstrap: `python -m envoy_bootstrap --config FILE`.

FILE is JSON with the fields of BootstrapConfig; `-` reads stdin. Exit code 2: it is no good.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap


def main(arguments: Sequence[str]) -> int:
    """Print the bootstrap; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m envoy_bootstrap", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE", help="JSON; - reads stdin")
    file = parser.parse_args(arguments).config
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        bootstrap = build_bootstrap(BootstrapConfig.model_validate_json(text))
    except (OSError, ValidationError) as error:
        sys.stderr.write(f"{file}: {error}\n")
        return 2
    sys.stdout.write(bootstrap)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
