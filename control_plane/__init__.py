"""xDS control plane, desired state, reconcilers and the public API."""
