"""Runs `envoy --mode validate`: a process that lives for some 50 ms, bounded in every way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy_bootstrap.binary import EnvoyMissingError, envoy_binary
from envoy_bootstrap.validation import (
    LOG_FLAGS,
    VALIDATE_FLAGS,
    EncodedResource,
    Refusal,
    bootstrap_frame,
    read_refusal,
    validation_bootstrap,
)

DEADLINE_S: Final = 10.0
_HEAD_BYTES: Final = 4096  # of what Envoy prints: where it begins to say why
_TAIL_BYTES: Final = 65_536  # and where it ends
_CHUNK_BYTES: Final = 65_536
_DRAIN_S: Final = 1.0
_QUOTED: Final = 300  # characters of output in a message
# How a program dies of its own fault. A resource that does this to Envoy is worse than one that it refuses.
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Envoy accepts all the resources."""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Envoy could not be asked, or gave no answer; says nothing about the resources."""

    reason: str


Outcome = Accepted | Refusal | NotChecked


class EnvoyValidator:
    """Asks this machine's Envoy whether it would take resources."""

    def __init__(self, binary: Callable[[], Path] = envoy_binary, deadline_s: float = DEADLINE_S) -> None:
        """`binary` finds Envoy or raises EnvoyMissingError; what runs longer than `deadline_s` is killed."""
        self._binary = binary
        self._deadline_s = deadline_s
        self._sound = False  # Envoy accepts the bootstrap when no resource is in it

    async def identity(self) -> str | None:
        """Return what verdicts depend on besides the resource: Envoy's version and all else it is given.

        None if Envoy does not say.
        """
        try:
            said = await self._run("--version")
        except (OSError, EnvoyMissingError, TimeoutError):
            return None
        if said.status != 0:
            return None
        digest = hashlib.sha256("\0".join((*VALIDATE_FLAGS, bootstrap_frame())).encode()).hexdigest()[:16]
        return f"{said.output.rpartition('version:')[2].strip()} {digest}"

    async def validate(self, resources: Sequence[EncodedResource]) -> Outcome:
        """Have Envoy judge resources of envoy_bootstrap.validation.VALIDATED_TYPES together.

        Names must differ within a type. A Refusal holds for one of them, or for
        some together; of a single one it is the verdict.
        """
        outcome = await self._ask(resources)
        if isinstance(outcome, Refusal) and not self._sound:
            alone = await self._ask(())
            if isinstance(alone, Refusal):
                return NotChecked(f"Envoy refuses the check's own bootstrap: {alone.reason}")
            self._sound = isinstance(alone, Accepted)
        return outcome

    async def _ask(self, resources: Sequence[EncodedResource]) -> Outcome:
        try:
            with tempfile.TemporaryDirectory(prefix="gaugeway-", ignore_cleanup_errors=True) as folder:
                file = Path(folder) / "bootstrap.pb"  # Envoy goes by the ending
                await asyncio.to_thread(_write, file, resources)
                config = ("--config-path", str(file), "--config-yaml", bootstrap_frame())
                ended = await self._run(*VALIDATE_FLAGS, *LOG_FLAGS, *config)
        except TimeoutError:
            return NotChecked(f"Envoy did not answer within {self._deadline_s:g} s")
        except (OSError, EnvoyMissingError) as error:
            return NotChecked(f"Envoy cannot be run: {error}")
        return _judged(ended, resources)

    async def _run(self, *arguments: str) -> _Ended:
        """Run Envoy to its end. Raises OSError, EnvoyMissingError, TimeoutError."""
        process = await asyncio.create_subprocess_exec(
            str(self._binary()),
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # killed as a group
        )
        try:
            async with asyncio.timeout(self._deadline_s):
                output = await _bounded_output(process)
                return _Ended(await process.wait(), output)
        finally:
            await _killed(process)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a run ended: its exit status, or minus its signal, and what it printed."""

    status: int
    output: str


def _judged(ended: _Ended, resources: Sequence[EncodedResource]) -> Outcome:
    if ended.status == 0:
        return Accepted()
    said = " ".join(ended.output[-_QUOTED:].split())
    if ended.status < 0:
        by = signal.Signals(-ended.status)
        if by in _CRASHES:
            return Refusal(f"Envoy dies of it ({by.name}): {said}", deadly=True)
        return NotChecked(f"Envoy was ended by {by.name}")
    return read_refusal(ended.output, resources) or NotChecked(f"Envoy ended with {ended.status}: {said}")


def _write(file: Path, resources: Sequence[EncodedResource]) -> None:
    file.write_bytes(validation_bootstrap(resources))


async def _bounded_output(process: Process) -> str:
    """Return what the process prints until it closes its output: the begin and the end of it."""
    assert process.stdout is not None
    head, tail = bytearray(), bytearray()
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        room = _HEAD_BYTES - len(head)
        head += chunk[:room]
        tail += chunk[room:] if room > 0 else chunk
        del tail[:-_TAIL_BYTES]
    return (head + tail).decode(errors="replace")


async def _killed(process: Process) -> None:
    """End the process and its children if it runs, and wait until it is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):  # only a child that left the group could keep the pipe
                # Together: the wait ends only once the pipe was read to its end.
                await asyncio.gather(process.wait(), _bounded_output(process))
