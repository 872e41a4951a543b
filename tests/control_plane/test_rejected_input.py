"""The metric of input that workers could not use."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from control_plane.observe.board import FORGET_S, StatusBoard
from control_plane.observe.rejected_input import RejectedInput
from wire.status import WorkerStatus


def status(node_id: str, rejected: dict[str, int]) -> bytes:
    """Return a worker's status as JSON."""
    said = WorkerStatus(
        node_id=node_id,
        pid=1,
        now_unix_ns=1,
        state="running",
        shards=[0],
        readings_per_s=1.0,
        streams=[],
        rejected=rejected,
    )
    return said.model_dump_json().encode()


def test_counts_by_node_and_reason() -> None:
    """What each worker said last; one that has long been silent is left out."""
    board, registry, now_s = StatusBoard(), CollectorRegistry(), [100.0]
    registry.register(RejectedInput(board, lambda: now_s[0]))
    board.worker_said("node-1", status("node-1", {"not_finite": 2, "epoch is 0": 1}), 100.0)
    board.worker_said("node-1", status("node-1", {"not_finite": 3, "epoch is 0": 1}), 101.0)
    board.worker_said("node-2", status("node-2", {"future": 7}), 101.0)
    name = "gaugeway_worker_rejected_input_total"
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith(name)]
    assert lines == [
        f'{name}{{node_id="node-1",reason="epoch is 0"}} 1.0',
        f'{name}{{node_id="node-1",reason="not_finite"}} 3.0',
        f'{name}{{node_id="node-2",reason="future"}} 7.0',
    ]
    now_s[0] = 102.0 + FORGET_S
    assert registry.get_sample_value(name, {"node_id": "node-1", "reason": "not_finite"}) is None
