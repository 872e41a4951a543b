"""How resource types differ in the protocol. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire.names import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LEASE_TYPE,
    LISTENER_TYPE,
    POLICY_TYPE,
    ROUTE_TYPE,
    RULE_TYPE,
    SECRET_TYPE,
    SENSOR_TYPE,
)

# In which order types are put; what is removed goes when no later type has anything under way.
TYPE_ORDER: Final = (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
    POLICY_TYPE,
    RULE_TYPE,
    LEASE_TYPE,
    SENSOR_TYPE,
)


@dataclass(frozen=True, slots=True)
class TypeRules:
    """The rules of one type.

    Attributes:
        full_state: A SotW response holds all there is: what is not in it is gone.
        legacy_wildcard: Naming nothing at first means everything.
        affirm: The client states only what it took as a whole, so the good part of
            what it refused is sent once more. Workers state each resource that they applied.
    """

    full_state: bool = False
    legacy_wildcard: bool = True
    affirm: bool = True


_FULL_STATE: Final = TypeRules(full_state=True)
# Naming nothing means nothing here: Envoy asks for no endpoints at all when its last cluster has gone.
_BY_NAME: Final = TypeRules(legacy_wildcard=False)
_WORKERS: Final = TypeRules(affirm=False)
_OTHERS: Final = TypeRules()
_RULES: Final = {
    CLUSTER_TYPE: _FULL_STATE,
    ENDPOINT_TYPE: _BY_NAME,
    LISTENER_TYPE: _FULL_STATE,
    ROUTE_TYPE: _BY_NAME,
    SECRET_TYPE: _BY_NAME,
    POLICY_TYPE: _WORKERS,
    RULE_TYPE: _WORKERS,
    LEASE_TYPE: _WORKERS,
    SENSOR_TYPE: _WORKERS,
}
_RANKS: Final = {type_url: rank for rank, type_url in enumerate(TYPE_ORDER)}


def rules_of(type_url: str) -> TypeRules:
    """Return the rules of a type."""
    return _RULES.get(type_url, _OTHERS)


def rank(type_url: str) -> int:
    """Return where a type stands in the order; those that are not in it come last."""
    return _RANKS.get(type_url, len(TYPE_ORDER))
