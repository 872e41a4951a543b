"""Why a shard cannot be written to."""

from __future__ import annotations


class JournalError(Exception):
    """Base of the journal's errors."""


class FencedError(JournalError):
    """Another writer appended, or the stream is shorter than it was: this writer's shard is over.

    `head` is the stream's last sequence as far as it is known.
    """

    def __init__(self, stream: str, head: int, reason: str) -> None:
        self.stream = stream
        self.head = head
        self.reason = reason
        super().__init__(f"{stream}: {reason}")


class LeaseSupersededError(JournalError):
    """A newer lease than ours has already written to the shard."""

    def __init__(self, shard: int, ours: int, found: int) -> None:
        self.shard = shard
        self.ours = ours
        self.found = found
        super().__init__(
            f"shard {shard}: lease generation {found} has written to the journal; ours, {ours}, is older"
        )


class ShardClosedError(JournalError):
    """A delivery for a shard that is not open here any more. Nothing of it was taken."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        super().__init__(f"shard {shard} is not open in this worker")
