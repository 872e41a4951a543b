"""`python -m tests.faults.farm BEGUN PORT READY`: many VMs in one process.

VM number n serves at `address(n)` what `readings(n, ...)` says, so that a farm that is
killed and started again has lost nothing, as an agent with a spool on disk. Killing the
process breaks all of its streams off in one instant.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.e2e.oracle import Reading
from tests.session.frames import batch, body
from wire.ids import format_epoch, parse_after
from wire.names import FRAMES_CONTENT_TYPE

STEP_NS = 500_000_000
FLUSH_S = 1.0
MOST_A_FRAME = 1000
SERIES = (("temperature", "Cel"),)
_HEAD = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: {FRAMES_CONTENT_TYPE}\r\n\r\n"
_FIRST_NET = 64
_A_NET = 250


def sensor(number: int) -> str:
    """Return the id of a VM's sensor."""
    return f"press-{number}"


def address(number: int) -> str:
    """Return a VM's own address."""
    return f"127.{_FIRST_NET}.{number // _A_NET}.{number % _A_NET + 1}"


def epoch(number: int) -> int:
    """Return the epoch of a VM's spool."""
    return 1_000_000 + number


def value(number: int, seq: int) -> float:
    """Return a reading's value."""
    return float((seq * 37 + number) % 1009)


def readings(number: int, begun_unix_ns: int, until_unix_ns: int) -> list[Reading]:
    """Return all that a VM captures before `until_unix_ns`."""
    count = max(0, -((begun_unix_ns - until_unix_ns) // STEP_NS) - 1)
    metric, unit = SERIES[0]
    return [
        Reading(
            sensor(number),
            format_epoch(epoch(number)),
            seq,
            metric,
            unit,
            begun_unix_ns + seq * STEP_NS,
            value(number, seq),
        )
        for seq in range(1, count + 1)
    ]


class Farm:
    """As many VMs as are asked for; they began to capture at `begun_unix_ns`."""

    def __init__(self, begun_unix_ns: int) -> None:
        self._begun = begun_unix_ns

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one stream until its follower goes."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(_HEAD[-4:].encode())
            target = head.split(b" ", 2)[1].decode()
            after = parse_qs(urlsplit(target).query).get("after", [""])[0]
            second, third = writer.get_extra_info("sockname")[0].split(".")[2:]
            number = int(second) * _A_NET + int(third) - 1
            known, seq = parse_after(after) if after else (0, 0)
            writer.write(_HEAD.encode())
            await self._stream(number, seq if known == epoch(number) else 0, writer)
        writer.close()

    async def _stream(self, number: int, seq: int, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (time.time_ns() - self._begun) // STEP_NS
            count = min(head - seq, MOST_A_FRAME)
            if count > 0:
                seqs = range(seq + 1, seq + count + 1)
                frame = batch(
                    epoch(number),
                    seq + 1,
                    count,
                    series=SERIES,
                    times=[self._begun + each * STEP_NS for each in seqs],
                    values=[value(number, each) for each in seqs],
                )
                data = body(frame)
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                seq += count
            await writer.drain()
            await asyncio.sleep(FLUSH_S)


async def main(begun_unix_ns: int, port: int, ready: Callable[[int], object]) -> None:
    """Serve until killed; `ready` is told the port."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = await asyncio.start_server(Farm(begun_unix_ns).serve, "0.0.0.0", port, backlog=4096)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    begun, wanted_port, file = sys.argv[1:]
    asyncio.run(main(int(begun), int(wanted_port), lambda port: Path(file).write_text(str(port))))
