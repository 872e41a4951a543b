"""What the reconcilers count, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class ReconcileMetrics:
    """Counters of one control plane, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.step_seconds = Histogram(
            "gaugeway_reconcile_step_seconds",
            "From a picture of the fleet to its plan and the snapshots that follow.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=registry,
        )
        self.snapshot_seconds = Histogram(
            "gaugeway_reconcile_snapshot_seconds",
            "Building and publishing what changed for all nodes of a role, in one step.",
            ["role"],
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=registry,
        )
        self.snapshots = Counter(
            "gaugeway_reconcile_snapshots", "Snapshots built and published.", ["role"], registry=registry
        )
        self.refused_snapshots = Counter(
            "gaugeway_reconcile_refused_snapshots",
            "Snapshots that broke a rule: the last good one stayed.",
            ["role"],
            registry=registry,
        )
        self.host_errors = Counter(
            "gaugeway_reconcile_host_errors",
            "Times that a host's inventory could not be read.",
            ["host"],
            registry=registry,
        )
        self.operation_errors = Counter(
            "gaugeway_reconcile_operation_errors",
            "Operations on VMs that failed.",
            ["host", "operation"],
            registry=registry,
        )
        self.write_errors = Counter(
            "gaugeway_reconcile_write_errors",
            "Writes of the reconciler that the store did not take.",
            registry=registry,
        )
