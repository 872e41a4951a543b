"""Envoy's and the workers' resources: built from the desired state, encoded once, versioned by content."""
