from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Metric(_message.Message):
    __slots__ = ("name", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    unit: str
    def __init__(self, name: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class SensorAssignment(_message.Message):
    __slots__ = ("sensor_id", "site", "shard", "cluster", "endpoint_version", "metrics")
    SENSOR_ID_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_VERSION_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    sensor_id: str
    site: str
    shard: int
    cluster: str
    endpoint_version: str
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, sensor_id: _Optional[str] = ..., site: _Optional[str] = ..., shard: _Optional[int] = ..., cluster: _Optional[str] = ..., endpoint_version: _Optional[str] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...

class ShardLease(_message.Message):
    __slots__ = ("shard", "lease_generation")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    LEASE_GENERATION_FIELD_NUMBER: _ClassVar[int]
    shard: int
    lease_generation: int
    def __init__(self, shard: _Optional[int] = ..., lease_generation: _Optional[int] = ...) -> None: ...

class WindowSize(_message.Message):
    __slots__ = ("size_ms", "journalled")
    SIZE_MS_FIELD_NUMBER: _ClassVar[int]
    JOURNALLED_FIELD_NUMBER: _ClassVar[int]
    size_ms: int
    journalled: bool
    def __init__(self, size_ms: _Optional[int] = ..., journalled: _Optional[bool] = ...) -> None: ...

class WindowPolicy(_message.Message):
    __slots__ = ("sizes", "horizon_ms", "idle_close_ms", "max_future_skew_ms", "max_past_ms")
    SIZES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_CLOSE_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_FUTURE_SKEW_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAST_MS_FIELD_NUMBER: _ClassVar[int]
    sizes: _containers.RepeatedCompositeFieldContainer[WindowSize]
    horizon_ms: int
    idle_close_ms: int
    max_future_skew_ms: int
    max_past_ms: int
    def __init__(self, sizes: _Optional[_Iterable[_Union[WindowSize, _Mapping]]] = ..., horizon_ms: _Optional[int] = ..., idle_close_ms: _Optional[int] = ..., max_future_skew_ms: _Optional[int] = ..., max_past_ms: _Optional[int] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("sensors", "sites", "metrics")
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    sensors: _containers.RepeatedScalarFieldContainer[str]
    sites: _containers.RepeatedScalarFieldContainer[str]
    metrics: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sensors: _Optional[_Iterable[str]] = ..., sites: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Iterable[str]] = ...) -> None: ...

class Threshold(_message.Message):
    __slots__ = ("side", "level", "clear", "for_ms")
    class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SIDE_UNSPECIFIED: _ClassVar[Threshold.Side]
        ABOVE: _ClassVar[Threshold.Side]
        BELOW: _ClassVar[Threshold.Side]
    SIDE_UNSPECIFIED: Threshold.Side
    ABOVE: Threshold.Side
    BELOW: Threshold.Side
    SIDE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    side: Threshold.Side
    level: float
    clear: float
    for_ms: int
    def __init__(self, side: _Optional[_Union[Threshold.Side, str]] = ..., level: _Optional[float] = ..., clear: _Optional[float] = ..., for_ms: _Optional[int] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ("direction", "per_s", "clear", "span_ms")
    class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DIRECTION_UNSPECIFIED: _ClassVar[Rate.Direction]
        RISE: _ClassVar[Rate.Direction]
        FALL: _ClassVar[Rate.Direction]
        EITHER: _ClassVar[Rate.Direction]
    DIRECTION_UNSPECIFIED: Rate.Direction
    RISE: Rate.Direction
    FALL: Rate.Direction
    EITHER: Rate.Direction
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PER_S_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    SPAN_MS_FIELD_NUMBER: _ClassVar[int]
    direction: Rate.Direction
    per_s: float
    clear: float
    span_ms: int
    def __init__(self, direction: _Optional[_Union[Rate.Direction, str]] = ..., per_s: _Optional[float] = ..., clear: _Optional[float] = ..., span_ms: _Optional[int] = ...) -> None: ...

class Flatline(_message.Message):
    __slots__ = ("epsilon", "for_ms")
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    for_ms: int
    def __init__(self, epsilon: _Optional[float] = ..., for_ms: _Optional[int] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("for_ms",)
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    for_ms: int
    def __init__(self, for_ms: _Optional[int] = ...) -> None: ...

class ClockSkew(_message.Message):
    __slots__ = ("behind_ms", "for_ms")
    BEHIND_MS_FIELD_NUMBER: _ClassVar[int]
    FOR_MS_FIELD_NUMBER: _ClassVar[int]
    behind_ms: int
    for_ms: int
    def __init__(self, behind_ms: _Optional[int] = ..., for_ms: _Optional[int] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("id", "revision", "selection", "threshold", "rate", "flatline", "missing", "clock_skew")
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    FLATLINE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_FIELD_NUMBER: _ClassVar[int]
    id: str
    revision: int
    selection: Selection
    threshold: Threshold
    rate: Rate
    flatline: Flatline
    missing: Missing
    clock_skew: ClockSkew
    def __init__(self, id: _Optional[str] = ..., revision: _Optional[int] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., threshold: _Optional[_Union[Threshold, _Mapping]] = ..., rate: _Optional[_Union[Rate, _Mapping]] = ..., flatline: _Optional[_Union[Flatline, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ..., clock_skew: _Optional[_Union[ClockSkew, _Mapping]] = ...) -> None: ...

class RuleSet(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ...) -> None: ...
