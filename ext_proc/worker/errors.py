"""Why the worker could not do what the control plane asked."""

from __future__ import annotations


class NotAppliedError(Exception):
    """A resource was understood but could not be applied; the text is a sentence for the NACK."""
