"""Appending to one stream: compare-and-set on its last sequence, one append in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from ext_proc.journal.errors import FencedError, JournalError
from ext_proc.journal.writer import Again, Fenced, LastMessage, WentIn, settle
from wire.names import APPEND_ID_HEADER

EXPECTED_LAST_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
PUBLISH_TIMEOUT_S: Final = 2.0  # after which the stream itself is asked
RETRY_S: Final = 0.25


class RecordTooLargeError(JournalError):
    """A record is larger than the server takes in one message: `max_payload` is set too low for it."""


class Appender:
    """The only writer's hand on one stream.

    Args:
        js: JetStream.
        stream: The stream, of one subject.
        subject: That subject.
        head: The stream's last sequence.
        on_trouble: Told a sentence while the server does not take an append, None when it does again.
    """

    def __init__(
        self,
        js: JetStreamContext,
        stream: str,
        subject: str,
        head: int,
        on_trouble: Callable[[str | None], None],
    ) -> None:
        self._js = js
        self._subject = subject
        self._on_trouble = on_trouble
        self._troubled = False
        self.stream = stream
        self.head = head

    async def append(self, payload: bytes, append_id: bytes) -> int:
        """Append `payload` after `head`; return its sequence once it is on disk.

        Waits out a server that is away. Raises FencedError if the stream is not
        ours any more, RecordTooLargeError if it will never take the payload.
        """
        mark = append_id.hex()
        while True:
            try:
                seq = await self._publish(payload, mark)
            except nats.errors.MaxPayloadError as error:
                raise RecordTooLargeError(
                    f"{self.stream}: a record of {len(payload)} bytes is above the server's max_payload"
                ) from error
            except (nats.errors.Error, TimeoutError, OSError) as error:
                outcome = await self._settle(mark, error)
                if isinstance(outcome, Again):
                    continue
                seq = outcome.seq
            self.head = seq
            self._say(None)
            return seq

    async def _publish(self, payload: bytes, mark: str) -> int:
        headers = {EXPECTED_LAST_SEQUENCE: str(self.head), APPEND_ID_HEADER: mark}
        ack = await self._js.publish(self._subject, payload, timeout=PUBLISH_TIMEOUT_S, headers=headers)
        return int(ack.seq)

    async def _settle(self, mark: str, error: BaseException) -> WentIn | Again:
        """Ask the stream what became of the append until it answers. Raises FencedError."""
        while True:
            if not _is_refusal(error):
                self._say(f"{self.stream} takes no appends: {sentence(error)}")
                await asyncio.sleep(RETRY_S)
            try:
                last = await last_message(self._js, self.stream, self.head)
            except nats.js.errors.NotFoundError:
                last = LastMessage(0, "")  # the stream is gone
            except (nats.errors.Error, TimeoutError, OSError) as failure:
                error = failure
                continue
            outcome = settle(mark, self.head, last)
            if isinstance(outcome, Fenced):
                self._say(None)
                raise FencedError(self.stream, outcome.head, outcome.reason)
            if isinstance(outcome, Again) and _is_refusal(error):  # for a reason other than the sequence
                self._say(f"{self.stream} refuses appends: {sentence(error)}")
                await asyncio.sleep(RETRY_S)
            return outcome

    def _say(self, trouble: str | None) -> None:
        if trouble is not None or self._troubled:
            self._troubled = trouble is not None
            self._on_trouble(trouble)


def _is_refusal(error: BaseException) -> bool:
    """Say whether the server answered, so that nothing is in flight and it need not be waited for."""
    return isinstance(error, nats.js.errors.BadRequestError)


def sentence(error: BaseException) -> str:
    """Return what went wrong in words; some of the client's errors have none but their name."""
    text = str(error)
    return text.removeprefix("nats: ") if text else type(error).__name__


async def last_message(js: JetStreamContext, stream: str, known: int) -> LastMessage:
    """Return a stream's newest message; its id only if it is newer than `known`.

    Raises nats.js.errors.NotFoundError if there is no such stream.
    """
    last = (await js.stream_info(stream)).state.last_seq
    if last <= known:
        return LastMessage(last, "")
    try:
        message = await js.get_msg(stream, seq=last)
    except nats.js.errors.NotFoundError:
        return LastMessage(last, "")  # newer, and aged out already: surely not ours
    return LastMessage(last, (message.headers or {}).get(APPEND_ID_HEADER, ""))
