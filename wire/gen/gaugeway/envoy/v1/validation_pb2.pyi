from google.protobuf import any_pb2 as _any_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidationBootstrap(_message.Message):
    __slots__ = ("node", "static_resources")
    class Node(_message.Message):
        __slots__ = ("id", "cluster")
        ID_FIELD_NUMBER: _ClassVar[int]
        CLUSTER_FIELD_NUMBER: _ClassVar[int]
        id: str
        cluster: str
        def __init__(self, id: _Optional[str] = ..., cluster: _Optional[str] = ...) -> None: ...
    class StaticResources(_message.Message):
        __slots__ = ("listeners", "clusters")
        LISTENERS_FIELD_NUMBER: _ClassVar[int]
        CLUSTERS_FIELD_NUMBER: _ClassVar[int]
        listeners: _containers.RepeatedScalarFieldContainer[bytes]
        clusters: _containers.RepeatedScalarFieldContainer[bytes]
        def __init__(self, listeners: _Optional[_Iterable[bytes]] = ..., clusters: _Optional[_Iterable[bytes]] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATIC_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    node: ValidationBootstrap.Node
    static_resources: ValidationBootstrap.StaticResources
    def __init__(self, node: _Optional[_Union[ValidationBootstrap.Node, _Mapping]] = ..., static_resources: _Optional[_Union[ValidationBootstrap.StaticResources, _Mapping]] = ...) -> None: ...

class ValidationListener(_message.Message):
    __slots__ = ("name", "address", "filter_chains")
    class SocketAddress(_message.Message):
        __slots__ = ("address", "port_value")
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        PORT_VALUE_FIELD_NUMBER: _ClassVar[int]
        address: str
        port_value: int
        def __init__(self, address: _Optional[str] = ..., port_value: _Optional[int] = ...) -> None: ...
    class Address(_message.Message):
        __slots__ = ("socket_address",)
        SOCKET_ADDRESS_FIELD_NUMBER: _ClassVar[int]
        socket_address: ValidationListener.SocketAddress
        def __init__(self, socket_address: _Optional[_Union[ValidationListener.SocketAddress, _Mapping]] = ...) -> None: ...
    class Filter(_message.Message):
        __slots__ = ("name", "typed_config")
        NAME_FIELD_NUMBER: _ClassVar[int]
        TYPED_CONFIG_FIELD_NUMBER: _ClassVar[int]
        name: str
        typed_config: _any_pb2.Any
        def __init__(self, name: _Optional[str] = ..., typed_config: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...
    class FilterChain(_message.Message):
        __slots__ = ("filters",)
        FILTERS_FIELD_NUMBER: _ClassVar[int]
        filters: _containers.RepeatedCompositeFieldContainer[ValidationListener.Filter]
        def __init__(self, filters: _Optional[_Iterable[_Union[ValidationListener.Filter, _Mapping]]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FILTER_CHAINS_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: ValidationListener.Address
    filter_chains: _containers.RepeatedCompositeFieldContainer[ValidationListener.FilterChain]
    def __init__(self, name: _Optional[str] = ..., address: _Optional[_Union[ValidationListener.Address, _Mapping]] = ..., filter_chains: _Optional[_Iterable[_Union[ValidationListener.FilterChain, _Mapping]]] = ...) -> None: ...

class ValidationHttpConnectionManager(_message.Message):
    __slots__ = ("stat_prefix", "route_config", "http_filters")
    STAT_PREFIX_FIELD_NUMBER: _ClassVar[int]
    ROUTE_CONFIG_FIELD_NUMBER: _ClassVar[int]
    HTTP_FILTERS_FIELD_NUMBER: _ClassVar[int]
    stat_prefix: str
    route_config: bytes
    http_filters: _containers.RepeatedCompositeFieldContainer[ValidationListener.Filter]
    def __init__(self, stat_prefix: _Optional[str] = ..., route_config: _Optional[bytes] = ..., http_filters: _Optional[_Iterable[_Union[ValidationListener.Filter, _Mapping]]] = ...) -> None: ...

class ValidationRoutes(_message.Message):
    __slots__ = ("validate_clusters",)
    class BoolValue(_message.Message):
        __slots__ = ("value",)
        VALUE_FIELD_NUMBER: _ClassVar[int]
        value: bool
        def __init__(self, value: _Optional[bool] = ...) -> None: ...
    VALIDATE_CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    validate_clusters: ValidationRoutes.BoolValue
    def __init__(self, validate_clusters: _Optional[_Union[ValidationRoutes.BoolValue, _Mapping]] = ...) -> None: ...
