"""A bucket's mirror against a model of the bucket."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.store.mirror import Entry, Mirror

KEYS = ("a", "b", "c")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ours", "theirs", "ours_late", "deliver", "reload", "our_delete", "their_delete"]),
        st.sampled_from(KEYS),
    ),
    max_size=60,
)


class Model:
    """The true bucket, a watch that lags behind it, and acknowledgements that come late."""

    def __init__(self) -> None:
        self.mirror = Mirror()
        self.log: list[tuple[str, bytes | None]] = []  # revision - 1: key, value
        self.delivered = 0
        self.load_until: int | None = None
        self.acks: list[tuple[str, bytes | None, int]] = []
        self.begin_load()

    def last(self, upto: int) -> dict[str, tuple[bytes | None, int]]:
        """Return the bucket's content as of a revision."""
        return {key: (value, at + 1) for at, (key, value) in enumerate(self.log[:upto])}

    def write(self, key: str, value: bytes | None) -> int:
        """Change the bucket; return the revision."""
        self.log.append((key, value))
        return len(self.log)

    def begin_load(self) -> None:
        """A watch begins: the newest of each key comes first."""
        self.mirror.begin_load()
        self.load_until = len(self.log)
        for key, (value, revision) in sorted(self.last(self.load_until).items(), key=lambda each: each[1][1]):
            self.mirror.heard(key, value, revision)

    def deliver(self) -> None:
        """The watch says the next thing: that it has said all, or one change."""
        if self.load_until is not None:
            self.delivered, self.load_until = self.load_until, None
            self.mirror.end_load()
        elif self.delivered < len(self.log):
            key, value = self.log[self.delivered]
            self.delivered += 1
            self.mirror.heard(key, value, self.delivered)

    def settle(self) -> None:
        """Everything that is under way comes."""
        for ack in self.acks:
            self.mirror.wrote(*ack)
        while self.load_until is not None or self.delivered < len(self.log):
            self.deliver()

    def truth(self) -> dict[str, Entry]:
        """Return what is in the bucket."""
        everything = self.last(len(self.log)).items()
        return {key: Entry(value, revision) for key, (value, revision) in everything if value is not None}


@settings(max_examples=500, deadline=None)
@given(events=EVENTS)
def test_a_mirror_becomes_the_bucket(events: list[tuple[str, str]]) -> None:
    """Whatever the order of writes, deliveries, late acknowledgements and new loads."""
    model = Model()
    for number, (event, key) in enumerate(events):
        value = str(number).encode()
        match event:
            case "ours":
                model.mirror.wrote(key, value, model.write(key, value))
                entry = model.mirror.get(key)
                assert entry is not None
                assert entry.value == value
            case "ours_late":
                model.acks.append((key, value, model.write(key, value)))
            case "our_delete":
                known = model.mirror.get(key)
                current = model.last(len(model.log)).get(key, (None, 0))
                if known is not None and known.revision == current[1]:  # as compare-and-set demands
                    model.write(key, None)
                    model.mirror.wrote(key, None, known.revision + 1)
                    assert model.mirror.get(key) is None
            case "theirs":
                model.write(key, value)
            case "their_delete":
                model.write(key, None)
            case "reload":
                model.begin_load()
            case _:
                model.deliver()
    model.settle()
    assert dict(model.mirror.items()) == model.truth()


def test_changes_are_named_once() -> None:
    """Our own write and the watch's word of it are one change; an older word is none."""
    mirror = Mirror()
    mirror.begin_load()
    assert mirror.heard("a", b"1", 1) == set()
    assert mirror.end_load() == {"a"}
    assert mirror.wrote("a", b"2", 3) == {"a"}
    assert mirror.heard("a", b"2", 3) == set()
    assert mirror.heard("b", b"1", 2) == {"b"}
    assert mirror.heard("a", None, 4) == {"a"}


def test_a_load_takes_away_what_is_not_in_it() -> None:
    """Deletions that were missed are found, and so is a bucket that was rolled back."""
    mirror = Mirror()
    mirror.begin_load()
    for key, revision in (("a", 5), ("b", 6)):
        mirror.heard(key, b"1", revision)
    mirror.end_load()
    mirror.begin_load()
    mirror.heard("a", b"0", 2)
    assert mirror.end_load() == {"a", "b"}
    assert dict(mirror.items()) == {"a": Entry(b"0", 2)}
