"""Which of many resources is the bad one: a search that halves what failed. Pure.

Envoy judges any number of resources in one run, but says no to all of them for
one bad one. With nothing to go by, that one is found among n in about
1.5 log2(n) runs; Envoy's reason mostly points at it, and then it takes three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.resources.model import Resource

Group = tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A group that is to be judged.

    Attributes:
        group: The resources.
        decides: The next step's group is the rest of one that failed: it holds
            what is bad if there is nothing bad in this one.
    """

    group: Group
    decides: bool = False


class Trial:
    """The search in one group. Ask `group` what Envoy is to judge, then say what it said.

    A resource is condemned only by a run of its own, so two that merely do not
    go together both pass.
    """

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._steps = [_Step(tuple(resources))] if resources else []

    @property
    def group(self) -> Group | None:
        """What is to be judged next, together; None: all is settled."""
        return self._steps[-1].group if self._steps else None

    def accepted(self) -> Group:
        """Note that the group is good; return what is settled by that."""
        step = self._steps.pop()
        if step.decides and len(self._steps[-1].group) > 1:
            self._split(self._steps.pop().group, ())
        return step.group

    def refused(self, suspects: Sequence[int] = ()) -> Resource | None:
        """Note that the group holds something bad; return it if it is thereby known.

        `suspects` are indices of resources to look at first.
        """
        group = self._steps.pop().group
        if len(group) == 1:
            return group[0]
        self._split(group, suspects)
        return None

    def abandoned(self) -> Group:
        """Give up; return what is not settled."""
        rest = tuple(resource for step in self._steps for resource in step.group)
        self._steps.clear()
        return rest

    def _split(self, group: Group, suspects: Sequence[int]) -> None:
        chosen = set(suspects) & set(range(len(group)))
        if not chosen or len(chosen) == len(group):
            chosen = set(range(len(group) // 2))
        first = tuple(resource for index, resource in enumerate(group) if index in chosen)
        second = tuple(resource for index, resource in enumerate(group) if index not in chosen)
        self._steps += [_Step(second), _Step(first, decides=True)]
