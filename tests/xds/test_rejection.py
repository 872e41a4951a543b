"""What a refusal means, however it is worded and however long it is."""

from __future__ import annotations

import time

import pytest

from control_plane.xds.rejection import MAX_ERROR, names_refused, reason, shortened

LONG = 1_000_000


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        ("Error adding/updating cluster(s) b: no, c: not either", ("b", "c")),
        ("a: no; c: no", ("a", "c")),
        ("a:\nno", ("a",)),
        ("c:", ("c",)),
        ("xdstp://x/c: no", ()),
        ("it has to do with a, b and c", ()),
        ("", ()),
    ],
)
def test_names_are_those_that_a_reason_follows(error: str, refused: tuple[str, ...]) -> None:
    """As Envoy and workers word it; a name that merely occurs is not meant."""
    assert names_refused(error, ("a", "b", "c")) == refused


def test_names_may_hold_colons() -> None:
    """Listeners and secrets are often called after an address or a URL."""
    assert names_refused("Error: spiffe://x: no, [::1]:80: no", ("spiffe://x", "[::1]:80")) == (
        "spiffe://x",
        "[::1]:80",
    )


def test_a_long_refusal_of_many_names_is_read_in_one_go() -> None:
    """Reading it must not take the number of names times its length: everybody else waits for that long."""
    names = [f"s-{number}" for number in range(10_000)]
    began = time.process_time()
    assert names_refused("x: y " * (LONG // 5) + " s-7: no", names) == ("s-7",)
    assert time.process_time() - began < 2


def test_what_is_kept_of_a_refusal_has_its_beginning_and_its_end() -> None:
    """Envoy says which resource first, then all that it holds, then why."""
    kept = shortened("name: b " + "x" * LONG + " ConnectTimeout: too short")
    assert kept.startswith("name: b xxx")
    assert kept.endswith("xxx ConnectTimeout: too short")
    assert len(kept) <= MAX_ERROR
    assert shortened("no") == "no"


def test_a_refusal_without_a_text_says_its_code() -> None:
    """Nobody should have to look at an empty reason."""
    assert reason("", 3) == "refused without a reason (gRPC code 3)"
    assert reason("no", 3) == "no"
