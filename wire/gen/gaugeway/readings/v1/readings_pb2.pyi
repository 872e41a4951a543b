from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("readings", "gap", "heartbeat")
    READINGS_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    readings: ReadingBatch
    gap: Gap
    heartbeat: Heartbeat
    def __init__(self, readings: _Optional[_Union[ReadingBatch, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("metric", "unit")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    metric: str
    unit: str
    def __init__(self, metric: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class ReadingBatch(_message.Message):
    __slots__ = ("epoch", "first_seq", "count", "series", "series_index", "time_unix_ns", "value", "quality")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    SERIES_INDEX_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_seq: int
    count: int
    series: _containers.RepeatedCompositeFieldContainer[Series]
    series_index: _containers.RepeatedScalarFieldContainer[int]
    time_unix_ns: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[float]
    quality: bytes
    def __init__(self, epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., count: _Optional[int] = ..., series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ..., series_index: _Optional[_Iterable[int]] = ..., time_unix_ns: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[float]] = ..., quality: _Optional[bytes] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("epoch", "first_seq", "last_seq", "reason")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Gap.Reason]
        EVICTED: _ClassVar[Gap.Reason]
        CORRUPT: _ClassVar[Gap.Reason]
    REASON_UNSPECIFIED: Gap.Reason
    EVICTED: Gap.Reason
    CORRUPT: Gap.Reason
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_seq: int
    last_seq: int
    reason: Gap.Reason
    def __init__(self, epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., reason: _Optional[_Union[Gap.Reason, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("epoch", "head_seq", "time_unix_ns")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    head_seq: int
    time_unix_ns: int
    def __init__(self, epoch: _Optional[int] = ..., head_seq: _Optional[int] = ..., time_unix_ns: _Optional[int] = ...) -> None: ...
