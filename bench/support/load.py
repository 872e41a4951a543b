"""The agents of many sensors in one process: `python -m bench.support.load`.

It listens on one port; which sensor is meant, the local address says, from
FIRST_ADDRESS on. Each connection is a stream of a sensor's frames
(bench.support.frames), begun after the sequence number that was asked for.
Sensors take turns evenly. A frame is made when it is sent, as an agent does
that flushes: the event time of its last reading is the time of its flush. A
sensor whose socket takes no more has its frames later, not twice; a stream that
is opened again is served what it lacks, at once and with new times.

Lines of JSON: on stdin `[sensors, series]`, then `[method, argument]`; on
stdout the port, then answers. It ends when stdin does.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import secrets
import select
import socket
import sys
import time
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import numpy as np

from bench.support.frames import FrameTemplate, heartbeat
from wire.ids import parse_after
from wire.names import FRAMES_CONTENT_TYPE

FIRST_ADDRESS: Final = int(ipaddress.IPv4Address("127.1.0.0"))
HEARTBEAT_S: Final = 2.0
TICK_S: Final = 0.005
_BACKLOG: Final = 4096
_HEAD_BYTES: Final = 65_536
_HEAD: Final = (
    f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: {FRAMES_CONTENT_TYPE}\r\n\r\n".encode()
)


def address_of(sensor: int) -> str:
    """Return where a sensor is served."""
    return str(ipaddress.IPv4Address(FIRST_ADDRESS + sensor))


class Load:
    """Everything: `step` until it is False."""

    def __init__(self, sensors: int, series: list[tuple[str, str]]) -> None:
        self._sensors = sensors
        self._series = series
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(sys.stdin, select.EPOLLIN)
        self._heads: dict[int, tuple[socket.socket, bytes]] = {}
        self._sensor_of: dict[int, int] = {}
        self._streams: list[socket.socket | None] = [None] * sensors
        self._rest: dict[int, bytes] = {}  # by sensor: what the socket did not take
        self._epoch = np.array([secrets.randbits(62) + 1 for _ in range(sensors)], np.int64)
        self._open = np.zeros(sensors, bool)
        self._next_seq = np.ones(sensors, np.int64)
        self._head = np.zeros(sensors, np.int64)  # the newest number that was ever sent
        self._last_ns = np.zeros(sensors, np.int64)
        self._template: FrameTemplate | None = None
        self._producing = False
        self._per_s = sensors / HEARTBEAT_S  # turns
        self._turns, self._began_s = 0, time.monotonic()
        self._skipped = self._opened = 0
        self._input = b""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def step(self) -> bool:
        """Do what is due until the next turn; False when stdin has ended."""
        for descriptor, event in self._epoll.poll(TICK_S):
            if descriptor == self._listener.fileno():
                self._accept()
            elif descriptor == sys.stdin.fileno():
                if not self._read_input():
                    return False
            elif descriptor in self._heads and event & select.EPOLLIN:
                self._read_head(descriptor)
            else:
                self._close(descriptor)
        for sensor in list(self._rest):
            self._send(sensor, self._rest.pop(sensor))
        self._take_turns()
        return True

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, peer = self._listener.accept()
                if not peer[0].startswith("127."):
                    connection.close()
                    continue
                connection.setblocking(False)
                self._heads[connection.fileno()] = connection, b""
                self._epoll.register(connection, select.EPOLLIN | select.EPOLLRDHUP)

    def _read_head(self, descriptor: int) -> None:
        connection, head = self._heads[descriptor]
        data = connection.recv(_HEAD_BYTES)
        if not data:
            self._close(descriptor)
            return
        head += data
        self._heads[descriptor] = connection, head
        if b"\r\n\r\n" not in head:
            return
        del self._heads[descriptor]
        self._epoll.modify(connection, select.EPOLLRDHUP)
        sensor = int(ipaddress.IPv4Address(connection.getsockname()[0])) - FIRST_ADDRESS
        target = head.split(b" ", 2)[1].decode()
        after = parse_qs(urlsplit(target).query).get("after", [""])[0]
        self._begin(sensor, connection, parse_after(after)[1] + 1 if after else 1)

    def _begin(self, sensor: int, connection: socket.socket, next_seq: int) -> None:
        former = self._streams[sensor]
        if former is not None:
            self._close(former.fileno())
        self._sensor_of[connection.fileno()] = sensor
        self._streams[sensor] = connection
        self._next_seq[sensor], self._last_ns[sensor] = next_seq, time.time_ns()
        self._open[sensor] = True
        self._opened += 1
        beat = heartbeat(int(self._epoch[sensor]), next_seq - 1, time.time_ns())
        self._send(sensor, _HEAD + beat + self._missing(sensor))

    def _missing(self, sensor: int) -> bytes:
        """Return the frames that a stream lacks which is opened again."""
        first, template = int(self._next_seq[sensor]), self._template
        frames = -(-(int(self._head[sensor]) + 1 - first) // template.per_frame) if template else 0
        if template is None or frames <= 0:
            return b""
        first_seq = first + np.arange(frames) * template.per_frame
        now_ns = time.time_ns()
        self._next_seq[sensor] = first_seq[-1] + template.per_frame
        self._head[sensor] = self._next_seq[sensor] - 1
        last_ns = np.full(frames, now_ns - 1_000_000)
        return template.fill(np.repeat(self._epoch[sensor], frames), first_seq, last_ns, now_ns, 0)

    def _close(self, descriptor: int) -> None:
        sensor = self._sensor_of.pop(descriptor, None)
        connection, _ = self._heads.pop(descriptor, (None, b""))
        if sensor is not None:
            connection, self._streams[sensor] = self._streams[sensor], None
            self._open[sensor] = False
            self._rest.pop(sensor, None)
        if connection is not None:
            self._epoll.unregister(connection)
            connection.close()

    def _take_turns(self) -> None:
        due = int((time.monotonic() - self._began_s) * self._per_s)
        first = max(self._turns, due - self._sensors)  # nobody has two frames at once
        turns, self._turns = np.arange(first, due) % self._sensors, due
        ready = self._open[turns]
        if self._rest:
            ready &= ~np.isin(turns, list(self._rest))
        sensors = turns[ready]
        if not len(sensors):
            return
        now_ns = time.time_ns()
        if self._template is None or not self._producing:
            for sensor in sensors.tolist():
                head_seq = int(self._next_seq[sensor]) - 1
                self._send(sensor, heartbeat(int(self._epoch[sensor]), head_seq, now_ns))
            return
        template = self._template
        frames = memoryview(
            template.fill(
                self._epoch[sensors], self._next_seq[sensors], self._last_ns[sensors], now_ns, first
            )
        )
        self._next_seq[sensors] += template.per_frame
        self._head[sensors] = self._next_seq[sensors] - 1
        self._last_ns[sensors] = now_ns
        for place, sensor in enumerate(sensors.tolist()):
            self._send(sensor, frames[place * template.size : (place + 1) * template.size])

    def _send(self, sensor: int, data: bytes | memoryview) -> None:
        connection = self._streams[sensor]
        if connection is None:
            return
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # reset; the poll says so, too
            return
        if sent < len(data):
            self._rest[sensor] = bytes(data[sent:])

    def _read_input(self) -> bool:
        data = os.read(sys.stdin.fileno(), _HEAD_BYTES)
        self._input += data
        while b"\n" in self._input:
            line, self._input = self._input.split(b"\n", 1)
            method, argument = json.loads(line)
            print(json.dumps(getattr(self, method)(argument)), flush=True)
        return bool(data)

    def opened(self, _: object) -> dict[str, int]:
        """Return how many streams are open, and how many ever were opened."""
        return {"open": int(self._open.sum()), "opened": self._opened}

    def produce(self, argument: dict[str, Any]) -> None:
        """Send frames of `per_frame` readings, `frames_per_s` in all, from now on."""
        self._template = FrameTemplate(self._series, argument["per_frame"])
        self._producing = True
        self._per_s = argument["frames_per_s"]
        self._turns, self._began_s = 0, time.monotonic()
        self._last_ns[:] = time.time_ns()

    def rest(self, _: object) -> dict[str, Any]:
        """Send heartbeats only, and what is missing; return epoch and newest number of each sensor."""
        self._producing = False
        self._per_s = self._sensors / HEARTBEAT_S
        self._turns, self._began_s = 0, time.monotonic()
        return {"epoch": self._epoch.tolist(), "sent": self._head.tolist()}


def _first_line() -> bytes:
    """Read a line of stdin and nothing after it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(sys.stdin.fileno(), 1)):
        line += byte
    return line


def serve() -> None:
    """Serve until stdin ends."""
    sensors, series = json.loads(_first_line())
    load = Load(sensors, [(metric, unit) for metric, unit in series])
    print(json.dumps(load.port), flush=True)
    while load.step():
        pass


if __name__ == "__main__":
    serve()
