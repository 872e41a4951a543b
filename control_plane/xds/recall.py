"""What a client has when its stream begins, and what is remembered when it ends. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-nack-semantics-summary
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from control_plane.resources.model import Resource
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.fingerprint import Fingerprint
from control_plane.xds.flight import Flight
from control_plane.xds.ledger import UNSTATED, Ledger
from control_plane.xds.past import Past


def believe(
    ledger: Ledger,
    bad: Containment,
    past: Past,
    *,
    has: Mapping[str, str],
    wants: Callable[[str], bool],
    now: int,
) -> None:
    """Take what the client states to have for true, but for what it may run without stating it."""
    for name, version in past.unsettled.items():
        if wants(name) and (version == ABSENT or has.get(name) != version):
            ledger.doubt(name, has.get(name, ABSENT))
    for name, version in has.items():
        if not wants(name) or name in ledger.sent:
            continue
        if version == ABSENT:
            ledger.doubt(name, ABSENT)  # it has something of that name
        else:
            ledger.believe(name, version, past.since_of(name, version) or now)
            bad.believe(name, version)
            under_way = past.unanswered.get(name, ())
            bad.kept.update((name, each) for each in under_way if each.version == version)
    for name in [name for name, each in bad.kept.items() if has.get(name) != each.version]:
        del bad.kept[name]


def what_it_has(
    version: str,
    past: Past,
    bad: Containment,
    wanted: Iterable[str],
    resources: Mapping[str, Resource],
) -> Mapping[str, str] | None:
    """Return what a SotW client has that states this version; None if we cannot know.

    Either a stream before left it with that, or it has exactly what it should:
    the version is a hash of it, so a new control plane knows it too.
    """
    has = past.statements.get(version)
    if has is not None:
        return has
    targets = {name: bad.target(name, resources.get(name)) for name in wanted}
    should = {name: each.version for name, each in targets.items() if each is not None}
    return should if str(Fingerprint.of(should)) == version else None


def remember(ledger: Ledger, flight: Flight, bad: Containment, accepted: str | None, *, late: bool) -> Past:
    """Return what the next stream must know.

    Args:
        ledger: What was sent and accepted.
        flight: What was not answered.
        bad: What was refused.
        accepted: The version_info of the last response accepted (SotW); empty if
            none was, None in Delta.
        late: Whether the client may yet apply what it refused.
    """
    statements: dict[str, Mapping[str, str]] = {}
    if accepted is not None:
        if accepted:
            statements[accepted] = ledger.states
        for sent in flight:
            told = {name: version_of(each) for name, each in sent.told.items()}
            has = {**ledger.states, **told}
            statements[sent.version] = {name: each for name, each in has.items() if each != ABSENT}
    return Past(
        unsettled(ledger, flight, bad, late=late),
        {name: tuple(filter(None, flight.says(name))) for name in flight.puts()},
        {**bad.shelved, **bad.rejected},
        dict(bad.kept),
        ledger.acked,
        ledger.since,
        statements,
    )


def unsettled(ledger: Ledger, flight: Flight, bad: Containment, *, late: bool) -> dict[str, str]:
    """Return what the client may run without stating it: by name, the version that it should state.

    ABSENT where even its stating that version proves nothing. Envoy applies the
    good part of a response that it refuses, and states none of it when it
    connects anew; a worker may be applying still.
    """
    names = flight.names()
    names.update(name for name, version in ledger.sent.items() if version == UNSTATED)
    names.update(bad.rejected, bad.partial, bad.suspects)
    states, found = ledger.states, dict[str, str]()
    for name in names:
        newest = ledger.sent.get(name, ABSENT)
        # A version in between may have come in a response that was refused for others: the client runs
        # it, and states the one before, which may be the newest one again by now.
        between = any(version_of(each) != newest for each in flight.says(name))
        doubt = name in bad.partial or name in bad.suspects or name in bad.restore or between
        known = states if name in bad.rejected and not late else ledger.sent
        found[name] = ABSENT if doubt else known.get(name, ABSENT)
    return found
