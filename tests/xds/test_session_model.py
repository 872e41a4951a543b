"""The pure core against models of Envoy's clients, in random interleavings."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from tests.xds.model_conversation import NAMES, Conversation
from tests.xds.model_envoy import DeltaEnvoy, Envoy, SotwEnvoy, Versions


@dataclass(frozen=True)
class Publish:
    """A change of the snapshot."""

    clusters: Versions
    endpoints: list[str]
    listeners: Versions


PUBLISHES = st.builds(
    Publish,
    clusters=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", "bad1", "bad2"]), max_size=3),
    endpoints=st.lists(st.sampled_from(["1", "2", "3", "bad1"]), min_size=3, max_size=3),
    listeners=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", "bad1"]), max_size=3),
)
DELIVERIES = st.sampled_from(["server reads", "client reads"])
RARE = st.sampled_from(
    ["reconnect", "cut", "restart", "another server", "late ACK", "late NACK", "ask again", "server reads"]
)
STEPS = st.one_of(PUBLISHES, DELIVERIES, DELIVERIES, DELIVERIES, RARE)
Step = Publish | str


# What came in a response that was refused for others runs without being stated; the version before it is
# stated, and is what was sent last.
STATED_BUT_NOT_RUN: list[Step] = [
    Publish({"a": "1"}, ["1", "1", "1"], {}),
    "server reads",
    Publish({"a": "2", "b": "bad1"}, ["1", "1", "1"], {}),
    "client reads",
    Publish({}, ["1", "1", "1"], {}),
    "client reads",
    Publish({"a": "1"}, ["1", "1", "1"], {}),
    "reconnect",
]

# A refusal that names nothing: whether the client runs any of it is not known yet when the stream is cut.
REFUSED_AND_CUT: list[Step] = [
    Publish({"a": "1", "b": "bad1"}, ["1", "1", "1"], {}),
    "server reads",
    "server reads",
    "client reads",
    "server reads",
    Publish({}, ["1", "1", "1"], {}),
    "server reads",
    "reconnect",
]

# What the stream was cut over, and its client states none the less, goes bad before it is back.
WARMED_AND_WENT_BAD: list[Step] = [
    "server reads",
    Publish({"a": "1"}, ["1", "1", "1"], {}),
    "client reads",
    Publish({"a": "bad1", "b": "1"}, ["1", "1", "1"], {}),
    "reconnect",
]


def do(conversation: Conversation, step: Step) -> None:
    """Take one step."""
    if isinstance(step, Publish):
        conversation.publish(step.clusters, step.endpoints, step.listeners)
        return
    if conversation.away and step not in {"restart", "another server"}:
        conversation.reconnect()
    {
        "server reads": conversation.server_reads,
        "client reads": conversation.client_reads,
        "reconnect": conversation.reconnect,
        "cut": conversation.cut,
        "restart": lambda: conversation.reconnect(restarted=True),
        "another server": lambda: conversation.reconnect(fresh=True),
        "late ACK": lambda: conversation.late_answer(None),
        "late NACK": lambda: conversation.late_answer("a: refused, b: refused"),
        "ask again": conversation.ask_again,
    }[step]()


@pytest.mark.parametrize("client", [DeltaEnvoy, SotwEnvoy], ids=["delta", "sotw"])
@settings(max_examples=1000, deadline=None)
@example(steps=WARMED_AND_WENT_BAD, nacks="names")
@example(steps=REFUSED_AND_CUT, nacks="nothing")
@example(steps=STATED_BUT_NOT_RUN, nacks="names")
@given(steps=st.lists(STEPS, max_size=40), nacks=st.sampled_from(["names", "nothing", "whole"]))
def test_the_client_ends_with_the_newest_state(client: type[Envoy], steps: list[Step], nacks: str) -> None:
    """Whatever the order: nothing is said twice, and in the end the client runs what it does not refuse."""
    note(f"{nacks}: {steps}")
    conversation = Conversation(client(nacks))
    for step in steps:
        do(conversation, step)
        conversation.what_is_known_is_true()
    conversation.come_to_rest()
