"""What workers and sinks say over NATS core: statuses, live windows, audit counters."""
