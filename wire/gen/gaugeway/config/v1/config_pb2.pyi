from google.protobuf.internal import containers as _containers
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
