"""The programs of one machine: how each is started, and how it is known to serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envoy_bootstrap.admin import AdminClient, AdminError
from envoy_bootstrap.binary import EnvoyMissingError, envoy_command
from envoy_bootstrap.bootstrap import BootstrapConfig, build_bootstrap
from gaugeway.files import write_atomically
from gaugeway.nats_server import BinaryMissingError, nats_server_binary, nats_server_config
from gaugeway.supervisor.errors import ProgramMissingError
from gaugeway.supervisor.fact import Fact
from gaugeway.supervisor.layout import Layout
from wire.names import GATEWAY_LISTENER

_POLL_S: Final = 0.01
_PRIVATE: Final = 0o600

RoleConfig = Callable[[], Awaitable[Mapping[str, Any]]]
"""Waits for what a role must be told, then returns its configuration."""


class RoleProgram:
    """A role of our own. It loads its code at once, and is told its configuration when that is known."""

    def __init__(
        self,
        name: str,
        role: str,
        layout: Layout,
        config: RoleConfig,
        learn: Callable[[Mapping[str, Any]], str],
    ) -> None:
        """`learn` gets what the role says when it serves, and returns where it serves, for people."""
        self.name = name
        self._role = role
        self._config = config
        self._learn = learn
        self._ready = layout.ready(f"{name}.json")
        self._file = layout.config(f"{name}.json")

    async def command(self) -> Sequence[str]:
        """Return the command; nothing need be known."""
        self._ready.unlink(missing_ok=True)
        arguments = ["run", self._role, "--config", "-", "--ready-file", str(self._ready)]
        return [sys.executable, "-m", "gaugeway", *arguments]

    async def standard_input(self) -> bytes:
        """Return the configuration, and leave it in a file for people who want to see it."""
        text = json.dumps(await self._config(), indent=2, default=str)
        write_atomically(self._file, text + "\n", _PRIVATE)
        return text.encode()

    async def served(self, pid: int) -> str:
        """Wait for the role's ready file."""
        return self._learn(json.loads(await _content(self._ready, lambda text: _is_of(text, pid))))


class NatsProgram:
    """The NATS server."""

    name = "nats"

    def __init__(self, layout: Layout, port: int, url: Fact[str]) -> None:
        """`port` 0 lets the server choose; `url` is learnt, and its port kept from then on."""
        self._layout = layout
        self._port = port
        self._url = url

    async def command(self) -> Sequence[str]:
        """Write the configuration and return the command. Raises ProgramMissingError."""
        folder = self._layout.run / "nats"
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("*.ports"):
            stale.unlink()
        known = self._url.known()
        port = self._port if known is None else int(known.rpartition(":")[2])
        text = nats_server_config(port=port or -1, data_dir=self._layout.nats, ports_dir=folder)
        file = self._layout.config("nats.conf")
        write_atomically(file, text)
        try:
            return [str(nats_server_binary()), "-c", str(file)]
        except BinaryMissingError as error:
            raise ProgramMissingError(str(error)) from error

    async def standard_input(self) -> bytes:
        """Return nothing: it has a file."""
        return b""

    async def served(self, pid: int) -> str:
        """Wait for the file of its ports."""
        file = self._layout.run / "nats" / f"nats-server_{pid}.ports"
        ports = json.loads(await _content(file, _is_json))
        url = f"nats://127.0.0.1:{ports['nats'][0].rpartition(':')[2]}"
        self._url.learn(url)
        return url


@dataclass(frozen=True, slots=True)
class EnvoyPorts:
    """The ports of one Envoy; 0: chosen by the system."""

    admin: int
    gateway: int


class EnvoyProgram:
    """Envoy: serves once the control plane has given it the gateway's listener."""

    name = "envoy"

    def __init__(
        self,
        layout: Layout,
        node_id: str,
        ports: EnvoyPorts,
        *,
        xds_address: Fact[str],
        admin_url: Fact[str],
        gateway_url: Fact[str],
    ) -> None:
        """`admin_url` and `gateway_url` are learnt, and their ports kept from then on."""
        self._layout = layout
        self._node_id = node_id
        self._ports = ports
        self._xds_address = xds_address
        self._admin_url = admin_url
        self._gateway_url = gateway_url
        self._admin_file = layout.ready("envoy-admin")

    async def command(self) -> Sequence[str]:
        """Wait for the ADS server's address, write the bootstrap, return the command.

        Raises ProgramMissingError.
        """
        try:
            envoy_command(Path("-"))  # says at once if there is no Envoy
            host, _, port = (await self._xds_address.value()).rpartition(":")
            bootstrap = BootstrapConfig(
                node_id=self._node_id,
                xds_host=host,
                xds_port=int(port),
                ext_proc_socket=str(self._layout.socket("worker")),
                admin_port=_port(self._admin_url, self._ports.admin),
                gateway_port=_port(self._gateway_url, self._ports.gateway),
            )
            file = self._layout.config("envoy.json")
            write_atomically(file, build_bootstrap(bootstrap))
            self._admin_file.unlink(missing_ok=True)
            return envoy_command(file, admin_address_path=self._admin_file, log_level="warning")
        except EnvoyMissingError as error:
            raise ProgramMissingError(str(error)) from error

    async def standard_input(self) -> bytes:
        """Return nothing: it has a file."""
        return b""

    async def served(self, pid: int) -> str:  # noqa: ARG002 - the file was removed before the start
        """Wait until the gateway listens."""
        admin_url = f"http://{await _content(self._admin_file, bool)}"
        async with AdminClient(admin_url) as admin:
            while True:
                with contextlib.suppress(AdminError):
                    address = (await admin.listeners()).get(GATEWAY_LISTENER)
                    if address is not None:
                        break
                await asyncio.sleep(_POLL_S)
        self._admin_url.learn(admin_url)
        self._gateway_url.learn(f"http://{address}")
        return f"http://{address}, admin {admin_url}"


def _port(url: Fact[str], asked: int) -> int:
    known = url.known()
    return asked if known is None else int(known.rpartition(":")[2])


async def _content(file: Path, complete: Callable[[str], bool]) -> str:
    """Wait until `file` is there and `complete`; return its text."""
    while (text := _read(file)) is None or not complete(text):  # noqa: ASYNC110 - another program writes it
        await asyncio.sleep(_POLL_S)
    return text


def _read(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_of(text: str, pid: int) -> bool:
    return bool(json.loads(text)["pid"] == pid)
