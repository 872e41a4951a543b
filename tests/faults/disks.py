"""A small file system of a test's own, which can be filled to the last block and emptied again."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DISK_BYTES = 2 << 30  # sparse: what nobody writes takes no room
_BALLAST = "ballast"
_FOR_EXTENTS = 1024  # blocks that the file system may want for itself
_BLOCK = bytes(4096)


class SmallDisk:
    """A file system mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Take all that is left; most of it without writing anything."""
        with (self.folder / _BALLAST).open("wb", buffering=0) as ballast:
            status = os.statvfs(self.folder)
            size = (status.f_bavail - _FOR_EXTENTS) * status.f_frsize
            os.posix_fallocate(ballast.fileno(), 0, size)
            ballast.seek(size)
            with contextlib.suppress(OSError):
                while ballast.write(_BLOCK):
                    pass

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.folder / _BALLAST).unlink()


@contextmanager
def small_disk(image: Path, folder: Path) -> Iterator[SmallDisk]:
    """Return a new file system at `folder`; skips the test where mounting is not allowed."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a small disk needs root and mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True, capture_output=True)
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)
        image.unlink()
