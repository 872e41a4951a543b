from wire.gen.gaugeway.readings.v1 import readings_pb2 as _readings_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FrameView(_message.Message):
    __slots__ = ("readings", "gap", "heartbeat")
    READINGS_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    readings: ReadingBatchView
    gap: _readings_pb2.Gap
    heartbeat: _readings_pb2.Heartbeat
    def __init__(self, readings: _Optional[_Union[ReadingBatchView, _Mapping]] = ..., gap: _Optional[_Union[_readings_pb2.Gap, _Mapping]] = ..., heartbeat: _Optional[_Union[_readings_pb2.Heartbeat, _Mapping]] = ...) -> None: ...

class ReadingBatchView(_message.Message):
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
    series: _containers.RepeatedScalarFieldContainer[bytes]
    series_index: bytes
    time_unix_ns: bytes
    value: bytes
    quality: bytes
    def __init__(self, epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., count: _Optional[int] = ..., series: _Optional[_Iterable[bytes]] = ..., series_index: _Optional[bytes] = ..., time_unix_ns: _Optional[bytes] = ..., value: _Optional[bytes] = ..., quality: _Optional[bytes] = ...) -> None: ...
