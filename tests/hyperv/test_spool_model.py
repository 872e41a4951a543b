"""The spool against a model, with crashes at any byte, damage at any byte, and eviction."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hyperv.guest.segments import Captured, decode_batch, first_seqs, segment_name
from hyperv.guest.spool import Spool
from wire.gen.gaugeway.readings.v1 import readings_pb2

LIMIT_BYTES = 65_536
SEGMENT_BYTES = 4096
COUNTS = st.one_of(st.integers(1, 5), st.integers(60, 200))


def reading(number: int) -> Captured:
    """Return the reading that is captured as `number`."""
    return Captured(f"metric_{number % 3}", "Cel", number * 1000, number / 7, quality=number % 5 == 0)


class SpoolMachine(RuleBasedStateMachine):
    """What was committed is read back as it was, unless it was evicted or its segment is damaged.

    The model: reading `seq` of the epoch is `reading(seq)`; `committed` is the
    head that was promised; `damaged` holds numbers that may be missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self.spool = Spool(self.folder, LIMIT_BYTES)
        self.epoch = self.spool.epoch
        self.committed = 0
        self.damaged: set[int] = set()
        self.readers = [self.spool.reader(0)]
        self.taken = [0]

    def teardown(self) -> None:
        """Remove the spool."""
        self.spool.close()
        shutil.rmtree(self.folder)

    @rule(count=COUNTS)
    def commit(self, count: int) -> None:
        """Commit readings."""
        self.spool.commit([reading(self.committed + 1 + place) for place in range(count)])
        self.committed += count

    @rule(count=COUNTS, kept=st.floats(0, 1), zeros=st.integers(0, 40))
    def crash_in_a_commit(self, count: int, kept: float, zeros: int) -> None:
        """The process dies in a commit: some of the block is on disk, then perhaps zeros."""
        before = self._last_segment()
        size = before.stat().st_size if before else 0
        self.spool.commit([reading(self.committed + 1 + place) for place in range(count)])
        after = self._last_segment()
        assert after is not None
        start = size if after == before else 0
        whole = after.read_bytes()
        left = whole[: start + int((len(whole) - start) * kept)]
        if len(left) < len(whole):
            left += b"\x00" * zeros
        after.write_bytes(left)
        if left.startswith(whole):  # all of it went in: the promise was about to be made
            self.committed += count
        self._reopen()

    @rule()
    def restart(self) -> None:
        """The process ends and another opens the spool."""
        self._reopen()

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """A byte of an earlier segment changes on the medium."""
        firsts = first_seqs(self.folder, self.epoch)
        if len(firsts) < 2:
            return
        place = data.draw(st.integers(0, len(firsts) - 2))
        path = self.folder / segment_name(self.epoch, firsts[place])
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        self.damaged |= set(range(firsts[place], firsts[place + 1]))

    @rule(share=st.floats(0, 1))
    def follow(self, share: float) -> None:
        """Someone begins to follow after any number."""
        after = int(share * self.committed)
        self.readers.append(self.spool.reader(after))
        self.taken.append(after)

    @rule(frames=st.integers(1, 4))
    def read(self, frames: int) -> None:
        """Every follower reads some frames."""
        for place, reader in enumerate(self.readers):
            for _ in range(frames):
                frame = reader.read()
                if frame is None:
                    assert self.taken[place] == self.committed
                    break
                self.taken[place] = self._check(frame, self.taken[place])

    @invariant()
    def the_head_is_what_was_promised(self) -> None:
        """Nothing more and nothing less is served, and the ring is bounded."""
        assert (self.spool.head, self.spool.captured) == (self.committed, self.committed)
        assert self.spool.epoch == self.epoch
        paths = [self.folder / segment_name(self.epoch, first) for first in self._firsts()]
        assert sum(path.stat().st_size for path in paths[1:]) <= LIMIT_BYTES

    @invariant()
    def a_follower_from_the_beginning_gets_it_all(self) -> None:
        """First what was evicted as a gap, then every reading, but for damaged segments."""
        reader, taken = self.spool.reader(0), 0
        while (frame := reader.read()) is not None:
            taken = self._check(frame, taken)
        assert taken == self.committed

    def _check(self, frame: readings_pb2.Frame, taken: int) -> int:
        """Check a frame after `taken`; return its last number."""
        if frame.HasField("gap"):
            gap = frame.gap
            assert (gap.epoch, gap.first_seq) == (self.epoch, taken + 1)
            lost = set(range(gap.first_seq, gap.last_seq + 1))
            if gap.reason == readings_pb2.Gap.EVICTED:
                assert gap.last_seq == self._firsts()[0] - 1
            else:
                assert lost <= self.damaged
            return gap.last_seq
        batch = frame.readings
        assert (batch.epoch, batch.first_seq) == (self.epoch, taken + 1)
        last = batch.first_seq + batch.count - 1
        assert decode_batch(batch) == [reading(seq) for seq in range(taken + 1, last + 1)]
        return last

    def _reopen(self) -> None:
        self.spool.close()
        self.spool = Spool(self.folder, LIMIT_BYTES)
        self.readers = [self.spool.reader(after) for after in self.taken]

    def _firsts(self) -> list[int]:
        return first_seqs(self.folder, self.epoch)

    def _last_segment(self) -> Path | None:
        firsts = self._firsts()
        return self.folder / segment_name(self.epoch, firsts[-1]) if firsts else None


SpoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSpool = SpoolMachine.TestCase
