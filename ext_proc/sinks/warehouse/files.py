"""The warehouse's files on disk: found, written, merged, removed. Everything here blocks.

Each step leaves the folder whole: a file appears under its name by a rename
after it is on disk, and is removed only when another one holds its rows.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ext_proc.sinks.model import Kind
from ext_proc.sinks.tables import TABLES
from ext_proc.sinks.warehouse.spans import DataFile, Span, covering

APPEND_ID: Final = b"gaugeway.append_id"  # in the footer: of the record `last`
TEMPORARY: Final = ".tmp"
_ROW_GROUP: Final = 128 << 10
_FOLDER: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})")
_NS: Final = 1_000_000_000


def folder_of(kind: Kind, now_unix_ns: int) -> str:
    """Return the folder of a record, by the hour of the journal's time."""
    when = datetime.fromtimestamp(now_unix_ns // _NS, UTC)
    return f"{kind}/date={when:%Y-%m-%d}/hour={when:%H}"


def hour_of(folder: str) -> datetime:
    """Return the beginning of a folder's hour."""
    _, _, partition = folder.partition("/")
    return datetime.strptime(partition, "date=%Y-%m-%d/hour=%H").replace(tzinfo=UTC)


def end_of(folder: str) -> datetime:
    """Return the end of a folder's hour."""
    return hour_of(folder) + timedelta(hours=1)


def folders(directory: Path, kind: Kind, since: datetime | None = None) -> list[str]:
    """Return the folders of a kind, oldest first; with `since` only those whose hour ends after it."""
    found = []
    for date in _names(directory / kind):
        for hour in _names(directory / kind / date):
            folder = f"{kind}/{date}/{hour}"
            if _FOLDER.fullmatch(f"{date}/{hour}") and (since is None or end_of(folder) > since):
                found.append(folder)
    return sorted(found)


def files_in(directory: Path, folder: str) -> list[DataFile]:
    """Return the files of a folder; none if it does not exist."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory / folder) as entries:
        for entry in entries:
            span = Span.parse(entry.name)
            if span is None:
                continue
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                stat = entry.stat()
                found.append(DataFile(folder, span, stat.st_size, stat.st_mtime))
    return found


def files_of(directory: Path, kind: Kind, since: datetime | None = None) -> list[DataFile]:
    """Return all files of a kind."""
    return [file for folder in folders(directory, kind, since) for file in files_in(directory, folder)]


def write(directory: Path, folder: str, span: Span, rows: pa.Table, append_id: str) -> DataFile:
    """Write rows as a file; when this returns it is on disk. Raises OSError."""
    make_folder(directory, folder)
    with _appearing(directory / folder / span.name) as temporary:
        table = rows.replace_schema_metadata({APPEND_ID: append_id.encode()})
        pq.write_table(table, temporary, compression="zstd", version="2.6")
    return _found(directory, folder, span)


def merge(directory: Path, run: Sequence[DataFile]) -> DataFile:
    """Write the rows of a run of files, in order, as one file that covers them. Raises OSError."""
    folder, span = run[0].folder, covering(run)
    kind = _kind(folder)
    schema = TABLES[kind].with_metadata({APPEND_ID: append_id(directory, run[-1]).encode()})
    with (
        _appearing(directory / folder / span.name) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", version="2.6") as writer,
    ):
        for table in _row_groups(directory, run, schema):
            writer.write_table(table, row_group_size=_ROW_GROUP)
    return _found(directory, folder, span)


def append_id(directory: Path, file: DataFile) -> str:
    """Return the append id of the last record of a file. Raises OSError."""
    metadata = pq.read_schema(directory / file.path).metadata or {}
    return str(metadata.get(APPEND_ID, b"").decode())


def remove(directory: Path, files: Sequence[DataFile]) -> None:
    """Remove files, and their folders if nothing else is in them."""
    for file in files:
        (directory / file.path).unlink(missing_ok=True)
    for folder in {file.folder for file in files}:
        with contextlib.suppress(OSError):  # not empty
            (directory / folder).rmdir()
            (directory / folder).parent.rmdir()


def remove_temporary(directory: Path) -> None:
    """Remove what a writer that died left half written. Only while nobody writes."""
    for kind in TABLES:
        for folder in folders(directory, kind):
            for name in _names(directory / folder):
                if name.startswith(".") and name.endswith(TEMPORARY):
                    (directory / folder / name).unlink(missing_ok=True)


def make_folder(directory: Path, folder: str) -> None:
    """Make a folder that outlives a power failure."""
    path = directory / folder
    if path.is_dir():
        return
    path.mkdir(parents=True, exist_ok=True)
    while path != directory.parent:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
        path = path.parent


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there appears as `path`, whole and on disk."""
    temporary = path.parent / f".{path.name}{TEMPORARY}"
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # the disk may be full because of it
        raise
    _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def _row_groups(directory: Path, run: Sequence[DataFile], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of all files in order, some _ROW_GROUP of them at a time."""
    gathered: list[pa.RecordBatch] = []
    rows = 0
    for file in run:
        with pq.ParquetFile(directory / file.path) as parquet:
            for batch in parquet.iter_batches(_ROW_GROUP):
                gathered.append(batch.replace_schema_metadata(schema.metadata))
                rows += batch.num_rows
                if rows >= _ROW_GROUP:
                    yield pa.Table.from_batches(gathered, schema=schema)
                    gathered, rows = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered, schema=schema)


def _found(directory: Path, folder: str, span: Span) -> DataFile:
    stat = (directory / folder / span.name).stat()
    return DataFile(folder, span, stat.st_size, stat.st_mtime)


def _kind(folder: str) -> Kind:
    return "readings" if folder.startswith("readings/") else "windows"


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are all that is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
