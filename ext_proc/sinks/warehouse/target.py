"""The warehouse as a sink's target: one file a commit, its name the cursor."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import structlog

from ext_proc.sinks.errors import RetryableSinkError, SinkError, TerminalSinkError
from ext_proc.sinks.model import KINDS, BatchLimits, Chunk, Delivered, Kind, Position
from ext_proc.sinks.tables import public_rows
from ext_proc.sinks.warehouse import files
from ext_proc.sinks.warehouse.config import WarehouseTarget
from ext_proc.sinks.warehouse.spans import Span, newest, rewind_of
from ext_proc.sinks.warehouse.tidy import Keep, Tidy

log = structlog.get_logger(__name__)

COMPACT_S: Final = 5.0
EXPIRE_S: Final = 600.0
COMMIT_ROWS: Final = 100_000
COMMIT_BYTES: Final = 32 << 20
LOCK_NAME: Final = ".lock"
_NEEDS_HELP: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)

T = TypeVar("T")


class WarehouseSink:
    """Writes the warehouse in one folder; the only writer there, held by a lock on a file."""

    kinds: tuple[Kind, ...] = KINDS

    def __init__(self, config: WarehouseTarget) -> None:
        self._config = config
        self._directory = config.dir
        self._tidy = Tidy(config.dir, config.compact_files)
        self._lock: int | None = None
        self._newest: dict[tuple[Kind, int], tuple[Span, str]] = {}  # with the append id of its end
        self._housekeeping: asyncio.Task[None] | None = None
        self._running: set[asyncio.Future[Any]] = set()
        self.limits = BatchLimits(rows=COMMIT_ROWS, bytes=COMMIT_BYTES, age_s=config.commit_s)

    @property
    def name(self) -> str:
        """`warehouse:` and its folder."""
        return f"warehouse:{self._directory}"

    async def start(self) -> None:
        """Take the folder, and find out how far it has come.

        Raises RetryableSinkError or TerminalSinkError.
        """
        await self._in_thread(self._open)
        if self._housekeeping is None:
            self._housekeeping = asyncio.create_task(self._keep_house(), name="warehouse")
            self._housekeeping.add_done_callback(_tell)

    async def cursor(self, kind: Kind, shard: int) -> Position | None:
        """Return the last record of the newest file."""
        found = self._newest.get((kind, shard))
        return None if found is None else Position(found[0].generation, found[0].last, found[1])

    async def deliver(self, chunks: Sequence[Chunk]) -> Delivered:
        """Write the rows; when this returns they are on disk and can be queried."""
        return await self._in_thread(lambda: self._commit(chunks))

    async def close(self) -> None:
        """Wait for what is being written, and let go of the folder."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait({self._housekeeping})
            self._housekeeping = None
        if self._running:
            await asyncio.wait(self._running)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        if self._lock is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = _take(self._directory / LOCK_NAME)
        files.remove_temporary(self._directory)
        for kind in KINDS:
            for shard, file in newest(files.files_of(self._directory, kind)).items():
                self._newest[kind, shard] = file.span, files.append_id(self._directory, file)
        self._tidy.look_at_all()

    def _commit(self, chunks: Sequence[Chunk]) -> Delivered:
        free = shutil.disk_usage(self._directory).free
        if free < self._config.min_free_bytes:
            raise RetryableSinkError(
                f"{self._directory}: {free >> 20} MiB are free, below the floor of"
                f" {self._config.min_free_bytes >> 20} MiB: nothing is written until there is room"
            )
        key = chunks[0].kind, chunks[0].shard
        before, _ = self._newest.get(key, (None, ""))
        rewind = rewind_of(before, chunks[0])
        rows = 0
        for folder, part in _by_hour(chunks):
            table = public_rows(part)
            span = Span(part[0].shard, part[0].generation, rewind, part[0].seq, part[-1].seq)
            files.write(self._directory, folder, span, table, part[-1].append_id)
            self._tidy.wrote(folder)
            rows += table.num_rows
        # Only now: after an error the whole batch comes again, under the same names.
        self._newest[key] = span, chunks[-1].append_id
        return Delivered(rows)

    async def _keep_house(self) -> None:
        """Merge and remove files now and then; what fails is tried again."""
        keep = Keep(self._config.keep_days, self._config.keep_bytes)
        expired_at = float("-inf")
        while True:
            try:
                await self._in_thread(self._tidy.compact)
                if time.monotonic() - expired_at >= EXPIRE_S:
                    await self._in_thread(lambda: self._tidy.expire(keep))
                    expired_at = time.monotonic()
            except SinkError as error:
                log.warning("warehouse_not_tidied", reason=error.reason)
            await asyncio.sleep(COMPACT_S)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        """Run `act` in a thread; what was begun is finished, also if nobody waits for it any more."""
        task = asyncio.ensure_future(asyncio.to_thread(_told_as_sink_errors, act))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _by_hour(chunks: Sequence[Chunk]) -> Iterator[tuple[str, list[Chunk]]]:
    """Cut a batch where the journal's hour changes (F1)."""
    for folder, part in itertools.groupby(
        chunks, key=lambda chunk: files.folder_of(chunk.kind, chunk.now_unix_ns)
    ):
        yield folder, list(part)


def _take(path: Path) -> int:
    """Return the descriptor of a locked file; the lock ends with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RetryableSinkError(f"{path.parent}: another process writes this warehouse") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("warehouse_not_tidied_any_more", reason=repr(error))


def _told_as_sink_errors(act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        reason = f"the warehouse cannot be written: {error}"
        if error.errno in _NEEDS_HELP:
            raise TerminalSinkError(reason) from error
        raise RetryableSinkError(reason) from error
    except pa.ArrowException as error:
        raise TerminalSinkError(f"a file of the warehouse is damaged: {error}") from error
