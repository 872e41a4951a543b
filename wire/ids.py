"""Identifiers: their rules, and which shard a sensor belongs to."""

from __future__ import annotations

import hashlib
import re
import secrets

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,62}")
_EPOCH = re.compile(r"[0-9a-f]{16}")
_UNIT = re.compile(r"[!-~]{1,32}")

DNS_LABEL_RULE = (
    "must be a DNS label (RFC 1123): 1 to 63 of a-z, 0-9 and '-', not beginning or ending with '-'"
)
METRIC_RULE = "must be 1 to 63 of a-z, 0-9 and '_', beginning with a letter"
UNIT_RULE = 'must be a UCUM code: 1 to 32 printable ASCII characters without spaces ("Cel", "%", "kPa")'


class InvalidIdError(ValueError):
    """An identifier breaks its rule. `field` names it, `rule` says what is allowed."""

    def __init__(self, field: str, value: str, rule: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        super().__init__(f"{field} {value!r} {rule}")


def check_dns_label(field: str, value: str) -> str:
    """Return `value` if it is a DNS label, else raise InvalidIdError for `field`."""
    if not _DNS_LABEL.fullmatch(value):
        raise InvalidIdError(field, value, DNS_LABEL_RULE)
    return value


def check_metric(value: str, field: str = "metric") -> str:
    """Return `value` if it is a metric name, else raise InvalidIdError."""
    if not _METRIC.fullmatch(value):
        raise InvalidIdError(field, value, METRIC_RULE)
    return value


def check_unit(value: str, field: str = "unit") -> str:
    """Return `value` if it has the form of a case-sensitive UCUM code, else raise InvalidIdError."""
    if not _UNIT.fullmatch(value):
        raise InvalidIdError(field, value, UNIT_RULE)
    return value


def new_epoch() -> int:
    """Return a random epoch: one life of a spool, 1 to 2**64 - 1."""
    return secrets.randbits(64) or 1


def format_epoch(epoch: int) -> str:
    """Return the text form of an epoch: 16 lower-case hexadecimal digits."""
    return f"{epoch:016x}"


def format_after(epoch: int, seq: int) -> str:
    """Return the cursor that a stream is asked with: `<epoch>:<seq>`."""
    return f"{epoch:016x}:{seq}"


def parse_after(text: str) -> tuple[int, int]:
    """Parse `<epoch>:<seq>`; raises InvalidIdError."""
    epoch, separator, seq = text.partition(":")
    if separator and _EPOCH.fullmatch(epoch) and seq.isascii() and seq.isdigit() and len(seq) <= 19:
        return int(epoch, 16), int(seq)
    raise InvalidIdError("after", text, "must be 16 lower-case hexadecimal digits, ':' and a sequence number")


def shard_of(sensor_id: str, shards: int) -> int:
    """Return the shard of a sensor: the first 8 bytes of SHA-256 of its id, modulo `shards`.

    The same on every machine and in every version: moving a sensor between
    shards would tear its order.
    """
    digest = hashlib.sha256(sensor_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % shards
