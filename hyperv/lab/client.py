"""The lab host as the control plane sees it: a hypervisor behind HTTP."""

from __future__ import annotations

import json
from typing import Any, Final

import aiohttp
from pydantic import ValidationError

from hyperv.errors import RetryableHostError, TerminalHostError
from hyperv.lab.vm import LabVmState
from hyperv.model import VmSpec, VmState

_TIMEOUT_S: Final = 20.0  # more than a host takes to start a VM


class LabClient:
    """A client of one lab host. Raises RetryableHostError and TerminalHostError."""

    def __init__(self, host_id: str, url: str) -> None:
        self.host_id = host_id
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def inventory(self) -> list[VmState]:
        """Return every VM of the host."""
        answer = await self._call("GET", "/vms")
        return [_state(self.host_id, vm) for vm in answer.get("vms", [])]

    async def ensure(self, spec: VmSpec) -> VmState:
        """Make the VM of a sensor be as `spec` says; returns its state, `starting` if it takes long."""
        answer = await self._call("PUT", f"/vms/{spec.sensor_id}", spec.model_dump(mode="json"))
        return _state(self.host_id, answer)

    async def remove(self, sensor_id: str) -> None:
        """Remove the VM of a sensor; nothing to do if there is none."""
        await self._call("DELETE", f"/vms/{sensor_id}")

    async def wait_change(self, after: int, timeout_s: float) -> int:
        """Wait until the inventory's version is another than `after`; return the version.

        After `timeout_s`, or what the host thinks long enough, it is the same.
        """
        path = f"/events?after={after}&timeout_s={timeout_s}"
        return int((await self._call("GET", path, timeout_s=timeout_s + _TIMEOUT_S)).get("version", after))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self, method: str, path: str, body: object = None, timeout_s: float = _TIMEOUT_S
    ) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=timeout
            ) as response:
                answer = _object(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or "no answer in time"
            raise RetryableHostError(self.host_id, f"{self._url}: {reason}") from error
        if response.status < 400 and (answer is not None or response.status == 204):
            return answer or {}
        said = (answer or {}).get("detail", "something else than a lab host does")
        kind = TerminalHostError if 400 <= response.status < 500 else RetryableHostError
        raise kind(self.host_id, f"{method} {path} answered {response.status}: {said}")


def _object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None if `body` is none."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _state(host_id: str, answer: object) -> VmState:
    try:
        return LabVmState.model_validate(answer)
    except ValidationError as error:
        raise RetryableHostError(host_id, f"the state of a VM cannot be read: {error}") from error
