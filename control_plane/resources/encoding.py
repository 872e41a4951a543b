"""Small parts that several of Envoy's resources are made of."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy_data_plane.google.protobuf import Any

# How long a warming resource waits for what it needs. It was sent with it, so this
# only passes when the control plane goes away in between.
_INITIAL_FETCH_S: Final = 5.0


def seconds(count: float) -> timedelta:
    """Return a duration, as the library takes it."""
    return timedelta(seconds=count)


FOREVER: Final = seconds(0)  # Envoy's way to say: no timeout


def packed(message: betterproto2.Message) -> Any:
    """Return a message as an Any, the form that Envoy's extension points take."""
    return Any.pack(message)


def over_ads() -> ConfigSource:
    """Return the source of what comes over the same ADS stream."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=seconds(_INITIAL_FETCH_S),
    )
