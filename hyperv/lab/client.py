"""The lab host as the control plane sees it: a hypervisor behind HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp

from hyperv.errors import RetryableHostError, TerminalHostError
from hyperv.lab.vm import LabVmState
from hyperv.model import VmSpec, VmState

_TIMEOUT_S = 20.0


class LabClient:
    """A client of one lab host. Raises RetryableHostError and TerminalHostError."""

    def __init__(self, host_id: str, url: str) -> None:
        self.host_id = host_id
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def inventory(self) -> list[VmState]:
        """Return every VM of the host."""
        answer = await self._call("GET", "/vms")
        return [LabVmState.model_validate(vm) for vm in answer["vms"]]

    async def ensure(self, spec: VmSpec) -> VmState:
        """Make the VM of a sensor be as `spec` says; returns its state, `starting` if it takes long."""
        return LabVmState.model_validate(
            await self._call("PUT", f"/vms/{spec.sensor_id}", spec.model_dump(mode="json"))
        )

    async def remove(self, sensor_id: str) -> None:
        """Remove the VM of a sensor; nothing to do if there is none."""
        await self._call("DELETE", f"/vms/{sensor_id}")

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """Wait until the inventory's version is past `after`, at most `timeout_s`; return the version."""
        answer = await self._call("GET", f"/events?after={after}&timeout_s={timeout_s}")
        return int(answer["version"])

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            async with self._session.request(method, self._url + path, json=body) as response:
                if response.status >= 500:
                    raise RetryableHostError(self.host_id, f"{method} {path} answered {response.status}")
                answer: dict[str, Any] = (
                    {} if response.status == 204 else await response.json(content_type=None)
                )
                if response.status >= 400:
                    raise TerminalHostError(self.host_id, str(answer.get("detail", response.status)))
                return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryableHostError(self.host_id, f"{self._url} does not answer: {error!r}") from error
