"""What runs on one machine, and what each part must know of the others.

Everything is started at once: a program waits for the addresses that it needs,
so the order is that of the facts (NATS, lab host, control plane, Envoy, worker,
sinks), while the Python roles load their code beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gaugeway.settings import Settings
from gaugeway.supervisor.fact import Fact
from gaugeway.supervisor.layout import Layout
from gaugeway.supervisor.ports import check_port
from gaugeway.supervisor.process import Program
from gaugeway.supervisor.programs import EnvoyPorts, EnvoyProgram, NatsProgram, RoleProgram

NODE_ID: Final = "node-1"
LAB_HOST_ID: Final = "lab"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one machine; 0: chosen by the system, and kept while it runs."""

    api: int = 8480
    xds: int = 18000
    envoy_admin: int = 9901
    gateway: int = 10000
    nats: int = 4222


@dataclass(frozen=True, slots=True)
class Installation:
    """One machine's Gaugeway.

    Attributes:
        layout: Where it keeps what.
        settings: What `gaugeway.toml` says.
        ports: Which ports it listens on.
        api_host: The address that the API listens on; the rest is on loopback.
    """

    layout: Layout
    settings: Settings
    ports: Ports = field(default_factory=Ports)
    api_host: str = LOOPBACK

    @property
    def warehouse_dir(self) -> Path:
        """The local warehouse's folder."""
        return self.settings.warehouse_dir(self.layout.data_dir)

    def check_ports(self) -> None:
        """Raise PortTakenError if a port that was asked for is in use."""
        for what, host, port, option in (
            ("the API", self.api_host, self.ports.api, "--api-port"),
            ("the ADS server", LOOPBACK, self.ports.xds, "--xds-port"),
            ("Envoy's admin interface", LOOPBACK, self.ports.envoy_admin, "--envoy-admin-port"),
            ("Envoy's gateway", LOOPBACK, self.ports.gateway, "--gateway-port"),
            ("NATS", LOOPBACK, self.ports.nats, "--nats-port"),
        ):
            check_port(what, host, port, option)


class Facts:
    """What is learnt while everything starts."""

    def __init__(self) -> None:
        self.nats_url = Fact[str]()
        self.lab_url = Fact[str]()
        self.api_url = Fact[str]()
        self.xds_address = Fact[str]()
        self.envoy_admin_url = Fact[str]()
        self.gateway_url = Fact[str]()
        self.worker = Fact[str]()

    def addresses(self) -> dict[str, str]:
        """Return the addresses that are known, under the names that `--ready-file` has for them."""
        names = ("api_url", "envoy_admin_url", "gateway_url", "nats_url", "lab_url", "xds_address")
        known = {name: getattr(self, name).known() for name in names}
        return {name: value for name, value in known.items() if value is not None}


def programs(installation: Installation, facts: Facts) -> list[Program]:
    """Return everything that runs, in the order of starting; ended in the opposite order."""
    layout = installation.layout
    roles = _Roles(installation, facts)
    ports = EnvoyPorts(installation.ports.envoy_admin, installation.ports.gateway)
    return [
        NatsProgram(layout, installation.ports.nats, facts.nats_url),
        RoleProgram("lab-host", "lab-host", layout, roles.lab_host, _learn(facts.lab_url, "url")),
        RoleProgram("control-plane", "control-plane", layout, roles.control_plane, roles.control_serves),
        EnvoyProgram(
            layout,
            NODE_ID,
            ports,
            xds_address=facts.xds_address,
            admin_url=facts.envoy_admin_url,
            gateway_url=facts.gateway_url,
        ),
        RoleProgram("worker", "worker", layout, roles.worker, _learn(facts.worker, "ext_proc_socket")),
        *(
            RoleProgram(f"sink-{name}", "sink", layout, roles.sink(name, target), _where(target))
            for name, target in installation.settings.targets(layout.data_dir).items()
        ),
    ]


class _Roles:
    """The configurations of the roles, each as soon as it can be known."""

    def __init__(self, installation: Installation, facts: Facts) -> None:
        self._installation = installation
        self._facts = facts

    async def lab_host(self) -> Mapping[str, Any]:
        """Return what LabHostConfig needs."""
        port = _port_of(self._facts.lab_url.known()) or 0
        return {"host_id": LAB_HOST_ID, "data_dir": str(self._installation.layout.lab), "port": port}

    async def control_plane(self) -> Mapping[str, Any]:
        """Return what ControlPlaneRoleConfig needs."""
        layout, ports, facts = self._installation.layout, self._installation.ports, self._facts
        nats_url, lab_url = await facts.nats_url.value(), await facts.lab_url.value()
        return {
            "nats_url": nats_url,
            "state_dir": str(layout.control),
            "token_file": str(layout.token_file),
            "api_host": self._installation.api_host,
            "api_port": _port_of(facts.api_url.known()) or ports.api,
            "xds_host": LOOPBACK,
            "xds_port": _port_of(facts.xds_address.known()) or ports.xds,
            "shards": self._installation.settings.shards,
            "preflight": self._installation.settings.preflight,
            "hosts": [{"id": LAB_HOST_ID, "kind": "lab", "url": lab_url}],
            "advertise": self._advertised(),
            "warehouse_dir": str(self._installation.warehouse_dir),
        }

    def _advertised(self) -> dict[str, str]:
        ports = self._installation.ports
        fixed = {"envoy_admin_url": ports.envoy_admin, "gateway_url": ports.gateway}
        known = {name: f"http://{LOOPBACK}:{port}" for name, port in fixed.items() if port}
        learnt = self._facts.addresses()
        return known | {name: learnt[name] for name in (*fixed, "nats_url", "lab_url") if name in learnt}

    def control_serves(self, info: Mapping[str, Any]) -> str:
        """Learn the addresses of the API and of the ADS server."""
        url = str(info["api_url"]).replace("//0.0.0.0:", f"//{LOOPBACK}:")
        self._facts.xds_address.learn(str(info["xds_address"]))
        self._facts.api_url.learn(url)
        return f"{url}, xDS {info['xds_address']}"

    async def worker(self) -> Mapping[str, Any]:
        """Return what WorkerConfig needs."""
        return {
            "node_id": NODE_ID,
            "xds_address": await self._facts.xds_address.value(),
            "nats_url": await self._facts.nats_url.value(),
            "gateway_url": await self._facts.gateway_url.value(),
            "ext_proc_socket": str(self._installation.layout.socket("worker")),
        }

    def sink(self, name: str, target: Mapping[str, Any]) -> Callable[[], Any]:
        """Return what waits for what SinkConfig needs."""

        async def config() -> Mapping[str, Any]:
            await self._facts.worker.value()  # it makes the streams that a sink reads
            nats_url = await self._facts.nats_url.value()
            shards = self._installation.settings.shards
            return {"name": name, "nats_url": nats_url, "shards": shards, "target": target}

        return config


def _learn(fact: Fact[str], key: str) -> Callable[[Mapping[str, Any]], str]:
    def learn(info: Mapping[str, Any]) -> str:
        fact.learn(str(info[key]))
        return str(info[key])

    return learn


def _where(target: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    names = {"warehouse": ["dir"], "bigquery": ["project", "dataset"], "powerbi": ["workspace"]}
    return lambda _: ".".join(str(target[name]) for name in names[target["kind"]])


def _port_of(address: str | None) -> int | None:
    return None if address is None else int(address.rpartition(":")[2])
