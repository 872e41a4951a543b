"""What follows from an answer: what the client runs now, and what is to be told next. Pure."""

from __future__ import annotations

from control_plane.resources.model import Resource
from control_plane.xds.agenda import Agenda
from control_plane.xds.containment import ABSENT, Containment, version_of
from control_plane.xds.flight import Sent
from control_plane.xds.interest import Interest
from control_plane.xds.ledger import Ledger
from control_plane.xds.rejection import Rejection, names_refused, shortened


class Answers:
    """Takes the answers of one client about one type."""

    def __init__(
        self,
        interest: Interest,
        ledger: Ledger,
        bad: Containment,
        agenda: Agenda,
        *,
        reverts: bool,
        affirms: bool,
    ) -> None:
        """Begin with nothing.

        Args:
            interest: What is wanted.
            ledger: What the client has.
            bad: What it refused.
            agenda: What is to be told.
            reverts: Whether it surely has what it had before, once it has refused
                something else; not where a newer response may be under way (Delta).
            affirms: Whether the good part of what it refused is sent once more.
        """
        self._interest = interest
        self._ledger = ledger
        self._bad = bad
        self._agenda = agenda
        self._reverts = reverts
        self._affirms = affirms

    def accept(self, sent: Sent, now: int) -> None:
        """Take an ACK."""
        for name, resource in sent.told.items():
            self._accept(name, resource, now, partial=False)

    def refuse(self, sent: Sent, error: str, now: int) -> tuple[str, ...]:
        """Take a NACK; return what it surely means.

        Envoy refuses a response as a whole, the good with the bad, when one
        resource fails its validation, and does not say which: then each goes
        once more, on its own beside what was accepted before. (A SotW client of
        which we do not know what it runs loses the rest for that long.)
        """
        named = names_refused(error, sent.told)
        refused = named or tuple(sent.told)
        if not named and len(refused) > 1:
            for name in refused:
                self._suspect(name)
            return refused
        error = shortened(error)
        mixture = not named or (self._reverts and len(sent.told) > len(named))
        for name, resource in sent.told.items():
            if name in refused:
                self._refuse(name, Rejection(version_of(resource), error), now, mixture=mixture)
            else:
                self._accept(name, resource, now, partial=True)
        return refused

    def _accept(self, name: str, resource: Resource | None, now: int, *, partial: bool) -> None:
        if not self._interest.covers(name):
            return
        version = version_of(resource)
        lifted = self._bad.accept(name, resource, self._agenda.newest(name), partial=partial)
        self._ledger.accept(name, version, now, lifted=lifted)
        affirm = partial and self._affirms and self._ledger.sent.get(name, ABSENT) == version
        self._agenda.check(name, force=affirm)

    def _suspect(self, name: str) -> None:
        if self._interest.covers(name):
            self._bad.suspect(name)
            self._revert(name)
            self._agenda.check(name, force=True)

    def _refuse(self, name: str, rejection: Rejection, now: int, *, mixture: bool) -> None:
        if name in self._bad.suspects or self._ledger.sent.get(name, ABSENT) != rejection.version:
            return  # not known yet, or a newer one is on its way
        if self._interest.covers(name):
            self._bad.refuse(name, rejection, self._agenda.newest(name), mixture=mixture)
            self._revert(name)
            self._ledger.refuse(name, now)
            self._agenda.check(name)

    def _revert(self, name: str) -> None:
        if self._reverts:
            self._ledger.revert(name, named=name in self._interest.names)
