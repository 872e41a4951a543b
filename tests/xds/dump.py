"""What a real Envoy says it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dump:
    """Envoy's configuration dump."""

    configs: list[dict[str, Any]]

    @property
    def clusters(self) -> dict[str, dict[str, Any]]:
        """The active clusters that came over xDS, by name."""
        return {each["cluster"]["name"]: each["cluster"] for each in self._of("dynamic_active_clusters")}

    @property
    def warming(self) -> list[str]:
        """The names of clusters that warm."""
        return [each["cluster"]["name"] for each in self._of("dynamic_warming_clusters")]

    @property
    def listeners(self) -> dict[str, dict[str, Any]]:
        """The active listeners that came over xDS, by name."""
        found = self._of("dynamic_listeners")
        return {each["name"]: each["active_state"]["listener"] for each in found if "active_state" in each}

    @property
    def sensors(self) -> dict[str, list[str]]:
        """The sensors that have an endpoint, by cluster, sorted."""
        found = (each["endpoint_config"] for each in self._of("dynamic_endpoint_configs"))
        return {each["cluster_name"]: sorted(_sensors(each)) for each in found}

    def _of(self, field: str) -> list[dict[str, Any]]:
        return [each for config in self.configs for each in config.get(field, [])]


def _sensors(assignment: dict[str, Any]) -> list[str]:
    endpoints = (each for place in assignment.get("endpoints", []) for each in place.get("lb_endpoints", []))
    return [each["metadata"]["filter_metadata"]["envoy.lb"]["sensor"] for each in endpoints]
