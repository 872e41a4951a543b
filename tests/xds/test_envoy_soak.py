"""A real Envoy through random changes, refusals, broken streams and restarts: it runs what it should.

After each change that is waited for, Envoy's configuration dump must be the
newest published state, a refused cluster being at its last good version.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.resources.model import Resource
from hyperv.model import Endpoint
from tests.xds.altered import malformed_cluster, refused_cluster, slower_cluster
from tests.xds.rig import Relay, Rig, rig
from tests.xds.support import NODE, Variant, Vm, eventually
from wire.names import CLUSTER_TYPE, GATEWAY_LISTENER, host_cluster

SETTLE_S = 4.5  # less than Envoy waits for what a warming cluster needs; its pauses before a reconnect fit in
CONNECT_S = 10  # of a cluster that was not altered


@dataclass
class World:
    """What is published for one Envoy, and what is done to it.

    Attributes:
        hosts: Each host's sensors.
        connect_s: The connect timeouts of altered clusters: which version of it is published.
        bad: How clusters are refused whose newest version is.
        kept: By host, the versions of which Envoy must run one while it refuses the newest.
    """

    envoy: Rig
    relay: Relay
    rng: random.Random
    hosts: dict[str, dict[str, Vm]] = field(default_factory=dict)
    connect_s: dict[str, int] = field(default_factory=dict)
    bad: dict[str, Callable[[str], Resource]] = field(default_factory=dict)
    kept: dict[str, set[int]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    settle_s: float = SETTLE_S
    _made: int = 0

    def publish(self) -> None:
        """Publish it as it is now."""
        good = [slower_cluster(host, s) for host, s in self.connect_s.items() if host not in self.bad]
        self.envoy.publish(self.hosts, [*good, *(bad(host) for host, bad in self.bad.items())])

    async def step(self) -> None:
        """Do one thing."""
        kinds = [self.add, self.add, self.remove, self.add_host, self.remove_host, self.alter, self.alter]
        also = [self.spoil, self.spoil, self.heal, self.cut, self.cut, self.restart, self.crash]
        kind = self.rng.choice([*kinds, *also])
        self._made += 1
        self.done.append(kind.__name__)
        await kind()
        self.publish()

    async def add(self) -> None:
        """Put a sensor on a host."""
        address = f"127.7.{self._made // 250}.{self._made % 250 + 1}"
        self.hosts[self._host()][f"s-{self._made}"] = Vm(address, Endpoint(address=address, port=9))

    async def remove(self) -> None:
        """Take one away, if the host has any."""
        sensors = self.hosts[self._host()]
        if sensors:
            del sensors[self.rng.choice(sorted(sensors))]

    async def add_host(self) -> None:
        """Bring up a host; there are eight at most."""
        if len(self.hosts) < 8:
            self.hosts[f"h-{self._made}"] = {}

    async def remove_host(self) -> None:
        """Take a host away, but for the last one."""
        if len(self.hosts) > 1:
            host = self._host()
            for of_host in (self.hosts, self.connect_s, self.bad, self.kept):
                of_host.pop(host, None)

    async def alter(self) -> None:
        """Change a host's cluster; if it was bad, to a good one."""
        host = self._host()
        self.bad.pop(host, None)
        self.connect_s[host] = CONNECT_S + self._made
        if host in self.kept:
            self.kept[host].add(self.connect_s[host])

    async def spoil(self) -> None:
        """Have a host's cluster be refused, by itself or with its whole response."""
        if self._knows_envoy():
            self.bad[self._host()] = self.rng.choice([refused_cluster, malformed_cluster])

    async def heal(self) -> None:
        """Go back to the good versions."""
        self.bad.clear()

    async def cut(self) -> None:
        """Break the connection."""
        self.relay.lead_to(self.envoy.control.port)

    async def restart(self) -> None:
        """Replace the control plane; in SotW one that finds bad versions cannot know what was before them."""
        if self.envoy.envoy.variant == "sotw":
            self.bad.clear()
        await self.envoy.restart_control_plane()
        self.relay.lead_to(self.envoy.control.port)

    async def crash(self) -> None:
        """Have Envoy begin with nothing."""
        await self.envoy.envoy.kill()
        await self.envoy.envoy.start()
        self.kept.clear()

    async def settled(self) -> None:
        """Wait until Envoy runs what it should, and the control plane knows it."""
        wrong = ["nothing was seen"]

        async def runs() -> bool:
            wrong[:] = [*await self.differences(), *self.misjudged()]
            return not wrong

        try:
            await eventually("Envoy runs what it should", runs, self.settle_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {wrong} after {self.done}") from None
        for host in self.hosts.keys() - self.bad.keys():
            self.kept[host] = {self.connect_s.get(host, CONNECT_S)}

    async def differences(self) -> list[str]:
        """Return how Envoy differs from what it should be."""
        found = await self.envoy.running()
        extra = found.clusters.keys() - {host_cluster(host) for host in self.hosts}
        wrong = [f"{name} warms" for name in found.warming] + [f"{name} is too much" for name in extra]
        if GATEWAY_LISTENER not in found.listeners:
            wrong.append("there is no gateway")
        for host, sensors in self.hosts.items():
            cluster = found.clusters.get(host_cluster(host))
            good = (
                {self.connect_s.get(host, CONNECT_S)} if host not in self.bad else self.kept.get(host, set())
            )
            if cluster is None:
                wrong += [f"{host} is missing"] if good else []
                continue
            runs = int(cluster["connect_timeout"].removesuffix("s"))
            if good and runs not in good:
                wrong.append(f"{host} is at {runs}, not {good}")
            if found.sensors.get(host_cluster(host)) != sorted(sensors):
                wrong.append(f"{host} has {found.sensors.get(host_cluster(host))}, not {sorted(sensors)}")
        return wrong

    def misjudged(self) -> list[str]:
        """Return what the control plane has wrong."""
        control = self.envoy.control
        if not control.asked(CLUSTER_TYPE):
            return ["Envoy has not asked yet"]
        rejected = set(control.status(CLUSTER_TYPE).rejected)
        if rejected != {host_cluster(host) for host in self.bad}:
            return [f"{sorted(rejected)} are said to be refused, not {sorted(self.bad)}"]
        acked = control.cache.acked_revision(NODE, CLUSTER_TYPE)
        return (
            []
            if self.bad or acked == control.revision
            else [f"{acked} is acknowledged, not {control.revision}"]
        )

    def _knows_envoy(self) -> bool:
        """Return whether this control plane knows of any cluster that Envoy runs."""
        control = self.envoy.control
        return control.asked(CLUSTER_TYPE) and bool(control.status(CLUSTER_TYPE).acked)

    def _host(self) -> str:
        return self.rng.choice(sorted(self.hosts))


async def soak(folder: Path, variant: Variant, seed: int, steps: int, settle_s: float = SETTLE_S) -> None:
    """Go through so many steps, waiting `settle_s` at most after about half of them."""
    relay = Relay(0)
    await relay.start()
    try:
        async with rig(folder, variant, xds_port=relay.port) as envoy:
            relay.lead_to(envoy.control.port)
            world = World(envoy, relay, random.Random(seed), {f"h-{letter}": {} for letter in "abc"})
            world.settle_s = settle_s
            world.publish()
            await world.settled()
            for _ in range(steps):
                await world.step()
                if world.rng.random() < 0.5:
                    await world.settled()
                else:
                    await asyncio.sleep(0)
            await world.settled()
    finally:
        await relay.stop()


async def test_envoy_runs_what_it_should_whatever_happens(tmp_path: Path, variant: Variant) -> None:
    """Some dozens of random steps."""
    await soak(tmp_path, variant, seed=1, steps=40)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(2, 12))
async def test_envoy_runs_what_it_should_for_long(tmp_path: Path, variant: Variant, seed: int) -> None:
    """Some hundreds of random steps.

    A control plane that is replaced while a cluster warms whose host goes meanwhile
    knows nothing of that cluster, and Envoy waits for its endpoints for 5 s.
    """
    await soak(tmp_path, variant, seed, steps=150, settle_s=9)
