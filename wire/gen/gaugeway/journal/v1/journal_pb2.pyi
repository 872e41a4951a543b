from wire.gen.gaugeway.config.v1 import config_pb2 as _config_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadingsRecord(_message.Message):
    __slots__ = ("schema", "kind", "shard", "generation", "now_unix_ns", "append_id", "writer", "lease_generation", "count", "rows", "notes", "policy", "rules")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ReadingsRecord.Kind]
        OPEN: _ClassVar[ReadingsRecord.Kind]
        READINGS: _ClassVar[ReadingsRecord.Kind]
        TICK: _ClassVar[ReadingsRecord.Kind]
        POLICY: _ClassVar[ReadingsRecord.Kind]
        RULES: _ClassVar[ReadingsRecord.Kind]
    KIND_UNSPECIFIED: ReadingsRecord.Kind
    OPEN: ReadingsRecord.Kind
    READINGS: ReadingsRecord.Kind
    TICK: ReadingsRecord.Kind
    POLICY: ReadingsRecord.Kind
    RULES: ReadingsRecord.Kind
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NOW_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    APPEND_ID_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    LEASE_GENERATION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    schema: int
    kind: ReadingsRecord.Kind
    shard: int
    generation: int
    now_unix_ns: int
    append_id: bytes
    writer: str
    lease_generation: int
    count: int
    rows: bytes
    notes: _containers.RepeatedCompositeFieldContainer[StreamNote]
    policy: _config_pb2.WindowPolicy
    rules: _config_pb2.RuleSet
    def __init__(self, schema: _Optional[int] = ..., kind: _Optional[_Union[ReadingsRecord.Kind, str]] = ..., shard: _Optional[int] = ..., generation: _Optional[int] = ..., now_unix_ns: _Optional[int] = ..., append_id: _Optional[bytes] = ..., writer: _Optional[str] = ..., lease_generation: _Optional[int] = ..., count: _Optional[int] = ..., rows: _Optional[bytes] = ..., notes: _Optional[_Iterable[_Union[StreamNote, _Mapping]]] = ..., policy: _Optional[_Union[_config_pb2.WindowPolicy, _Mapping]] = ..., rules: _Optional[_Union[_config_pb2.RuleSet, _Mapping]] = ...) -> None: ...

class StreamNote(_message.Message):
    __slots__ = ("sensor_id", "epoch", "duplicates", "hole", "undecodable", "not_numeric", "interruption")
    SENSOR_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    HOLE_FIELD_NUMBER: _ClassVar[int]
    UNDECODABLE_FIELD_NUMBER: _ClassVar[int]
    NOT_NUMERIC_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTION_FIELD_NUMBER: _ClassVar[int]
    sensor_id: str
    epoch: int
    duplicates: Duplicates
    hole: Hole
    undecodable: Undecodable
    not_numeric: NotNumeric
    interruption: Interruption
    def __init__(self, sensor_id: _Optional[str] = ..., epoch: _Optional[int] = ..., duplicates: _Optional[_Union[Duplicates, _Mapping]] = ..., hole: _Optional[_Union[Hole, _Mapping]] = ..., undecodable: _Optional[_Union[Undecodable, _Mapping]] = ..., not_numeric: _Optional[_Union[NotNumeric, _Mapping]] = ..., interruption: _Optional[_Union[Interruption, _Mapping]] = ...) -> None: ...

class Duplicates(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class Hole(_message.Message):
    __slots__ = ("first_seq", "last_seq", "reason")
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    first_seq: int
    last_seq: int
    reason: str
    def __init__(self, first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Undecodable(_message.Message):
    __slots__ = ("frames", "bytes", "reason", "offset", "head_hex")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    HEAD_HEX_FIELD_NUMBER: _ClassVar[int]
    frames: int
    bytes: int
    reason: str
    offset: int
    head_hex: str
    def __init__(self, frames: _Optional[int] = ..., bytes: _Optional[int] = ..., reason: _Optional[str] = ..., offset: _Optional[int] = ..., head_hex: _Optional[str] = ...) -> None: ...

class NotNumeric(_message.Message):
    __slots__ = ("records", "reason")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    records: int
    reason: str
    def __init__(self, records: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Interruption(_message.Message):
    __slots__ = ("streams",)
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    streams: int
    def __init__(self, streams: _Optional[int] = ...) -> None: ...

class WindowsRecord(_message.Message):
    __slots__ = ("schema", "shard", "generation", "now_unix_ns", "append_id", "writer", "through", "count", "rows", "skip", "more")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NOW_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    APPEND_ID_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    schema: int
    shard: int
    generation: int
    now_unix_ns: int
    append_id: bytes
    writer: str
    through: int
    count: int
    rows: bytes
    skip: int
    more: bool
    def __init__(self, schema: _Optional[int] = ..., shard: _Optional[int] = ..., generation: _Optional[int] = ..., now_unix_ns: _Optional[int] = ..., append_id: _Optional[bytes] = ..., writer: _Optional[str] = ..., through: _Optional[int] = ..., count: _Optional[int] = ..., rows: _Optional[bytes] = ..., skip: _Optional[int] = ..., more: _Optional[bool] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("schema", "shard", "generation", "through", "now_unix_ns", "policy", "tables", "rules")
    class TablesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    THROUGH_FIELD_NUMBER: _ClassVar[int]
    NOW_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    schema: int
    shard: int
    generation: int
    through: int
    now_unix_ns: int
    policy: _config_pb2.WindowPolicy
    tables: _containers.ScalarMap[str, bytes]
    rules: _config_pb2.RuleSet
    def __init__(self, schema: _Optional[int] = ..., shard: _Optional[int] = ..., generation: _Optional[int] = ..., through: _Optional[int] = ..., now_unix_ns: _Optional[int] = ..., policy: _Optional[_Union[_config_pb2.WindowPolicy, _Mapping]] = ..., tables: _Optional[_Mapping[str, bytes]] = ..., rules: _Optional[_Union[_config_pb2.RuleSet, _Mapping]] = ...) -> None: ...
