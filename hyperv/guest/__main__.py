"""`python -m hyperv.guest serve|dump`: run an agent, or print what a spool holds."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from wire.ids import format_epoch


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hyperv.guest", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    serve = commands.add_parser("serve", help="capture, spool and serve; ends when stdin does")
    serve.add_argument("--spool", type=Path, required=True)
    serve.add_argument("--listen", required=True, metavar="ADDR:PORT")
    serve.add_argument("--spec", type=Path, required=True, help="a VmSpec as JSON")
    serve.add_argument("--report-fd", type=int, default=1, help="where endpoints are reported, JSON lines")
    dump = commands.add_parser("dump", help="print every reading that a spool holds, JSON lines")
    dump.add_argument("--spool", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "dump":
        return dump_spool(arguments.spool)
    asyncio.run(serve_agent(arguments))
    return 0


async def serve_agent(arguments: argparse.Namespace) -> None:
    """Run the agent until stdin ends or SIGTERM comes."""
    from hyperv.guest.agent import run  # noqa: PLC0415 - `dump` does not need the server
    from hyperv.guest.spec import read_spec  # noqa: PLC0415

    spec = read_spec(arguments.spec.read_text())
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, commands.feed_eof)
    address, _, port = arguments.listen.rpartition(":")

    def report(line: str) -> None:
        os.write(arguments.report_fd, line.encode() + b"\n")

    await run(spec, arguments.spool, (address, int(port)), commands, report)


def dump_spool(folder: Path) -> int:
    """Print the readings of the current epoch, oldest first; 1 if there is no spool."""
    from hyperv.guest.segments import decode_batch  # noqa: PLC0415
    from hyperv.guest.spool import read_batches, read_meta  # noqa: PLC0415

    meta = read_meta(folder)
    if meta is None:
        print(f"no spool in {folder}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    for batch in read_batches(folder, meta):
        for seq, reading in enumerate(decode_batch(batch), start=batch.first_seq):
            row = {"epoch": format_epoch(meta.epoch), "seq": seq}
            for name in ("metric", "unit", "time_unix_ns", "value", "quality"):
                row[name] = getattr(reading, name)
            print(json.dumps(row))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
