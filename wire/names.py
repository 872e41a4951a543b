"""Names that more than one house uses: subjects, buckets, headers, resource types, clusters."""

from __future__ import annotations

# --- the stream from a guest agent, through Envoy ---------------------------------------------
STREAM_PATH = "/v1/stream"  # GET {STREAM_PATH}?after=<epoch>:<seq>
FRAMES_CONTENT_TYPE = "application/vnd.gaugeway.frames.v1+protobuf"
SENML_CONTENT_TYPE = "application/senml+json"  # RFC 8428: packs, each a whole JSON array
SENSML_CONTENT_TYPE = "application/sensml+json"  # the same as a stream that never ends
SENSOR_HEADER = "x-gaugeway-sensor"  # follower -> Envoy: which sensor (subset key)
CLUSTER_HEADER = "x-gaugeway-cluster"  # follower -> Envoy: the cluster of the sensor's host
LEASE_HEADER = "x-gaugeway-lease"  # follower -> Envoy -> session: the follower's own stream token
LB_NAMESPACE = "envoy.lb"  # of the metadata that Envoy chooses an endpoint by
SUBSET_METADATA_KEY = "sensor"  # key in the `envoy.lb` endpoint and request metadata
SENSOR_DOMAIN = "sensor.gaugeway.internal"  # endpoint hostname: <sensor id>.<SENSOR_DOMAIN>

# --- xDS ------------------------------------------------------------------------------------
_PREFIX = "type.googleapis.com/"
CLUSTER_TYPE = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT_TYPE = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER_TYPE = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_TYPE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET_TYPE = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
SENSOR_TYPE = _PREFIX + "gaugeway.config.v1.SensorAssignment"
LEASE_TYPE = _PREFIX + "gaugeway.config.v1.ShardLease"
POLICY_TYPE = _PREFIX + "gaugeway.config.v1.WindowPolicy"
RULE_TYPE = _PREFIX + "gaugeway.config.v1.Rule"

ENVOY_ROLE = "gaugeway-envoy"  # Node.cluster of an Envoy
WORKER_ROLE = "gaugeway-worker"  # Node.cluster of a worker
GATEWAY_PORT_METADATA = "gateway_port"  # Node.metadata of an Envoy: the listener's port, 0 = any
GATEWAY_LISTENER = "gateway"
GATEWAY_ROUTES = "gateway"
EXT_PROC_CLUSTER = "worker"  # static cluster in the bootstrap: the worker beside this Envoy
XDS_CLUSTER = "control_plane"  # static cluster in the bootstrap: the ADS server
DEFAULT_POLICY = "default"


def host_cluster(host_id: str) -> str:
    """Return the Envoy cluster of a hypervisor host's VMs."""
    return f"host.{host_id}"


# --- JetStream ------------------------------------------------------------------------------
def readings_stream(shard: int) -> str:
    """Return the stream of a shard's readings."""
    return f"gw-readings-{shard}"


def windows_stream(shard: int) -> str:
    """Return the stream of a shard's windows."""
    return f"gw-windows-{shard}"


def events_stream(shard: int) -> str:
    """Return the stream of a shard's events."""
    return f"gw-events-{shard}"


def readings_subject(shard: int) -> str:
    """Return the only subject of a shard's readings stream."""
    return f"gw.readings.{shard}"


def windows_subject(shard: int) -> str:
    """Return the only subject of a shard's windows stream."""
    return f"gw.windows.{shard}"


def events_subject(shard: int) -> str:
    """Return the only subject of a shard's events stream."""
    return f"gw.events.{shard}"


CHECKPOINT_STREAM = "gw-checkpoints"  # the newest few messages of each of its subjects, below


def checkpoint_subject(shard: int) -> str:
    """Return the subject of a shard's checkpoints."""
    return f"gw.checkpoints.{shard}"


def checkpoint_parts_subject(shard: int) -> str:
    """Return the subject of all but the last parts of a shard's large checkpoints."""
    return f"gw.checkpoints.{shard}-parts"


DEAD_LETTERS_STREAM = "gw-deadletters"  # subjects gw.deadletters.<sink>: rows that a sink could not deliver


def dead_letters_subject(sink: str) -> str:
    """Return the subject of a sink's dead letters (JSON: ext_proc.sinks.dead_letters)."""
    return f"gw.deadletters.{sink}"


SENSORS_BUCKET = "gw_sensors"  # key: sensor id
HOSTS_BUCKET = "gw_hosts"  # key: host id
RULES_BUCKET = "gw_rules"  # key: rule id
CURSORS_BUCKET = "gw_cursors"  # key: <sink>.<readings|windows>.<shard>
SETTINGS_BUCKET = "gw_settings"  # key: shards, policy, generation.<shard>, lease.<shard>, endpoint.<sensor>

APPEND_ID_HEADER = "Gw-Append-Id"  # hex of the record's append_id, to settle an ambiguous append


# --- NATS core: not durable -----------------------------------------------------------------
LIVE_WATCH_SUBJECT = "gw.watch"  # whoever looks at live windows: a sensor id, or EVERY_SENSOR
EVERY_SENSOR = "*"
LIVE_WATCH_S = 2.0  # as often is it said; who has not been heard for three times as long has gone


def live_subject(sensor_id: str) -> str:
    """Return the subject of a sensor's live windows (wire.status.LiveWindows as JSON)."""
    return f"gw.live.{sensor_id}"


def worker_status_subject(node_id: str) -> str:
    """Return the subject of a worker's status (wire.status.WorkerStatus as JSON), once a second."""
    return f"gw.status.worker.{node_id}"


def sink_status_subject(sink: str) -> str:
    """Return the subject of a sink's status (wire.status.SinkStatus as JSON), once a second."""
    return f"gw.status.sink.{sink}"


def audit_subject(shard: int) -> str:
    """Return the request subject answered by the shard's worker with wire.status.ShardAudit."""
    return f"gw.audit.{shard}"
