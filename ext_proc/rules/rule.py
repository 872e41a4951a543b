"""A rule as workers are sent it: checked, and which series it is about."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from wire.gen.gaugeway.config.v1 import config_pb2

MAX_MS: Final = 31 * 86_400_000
MAX_PATTERNS: Final = 256
_PATTERN: Final = re.compile(r"[a-z0-9_*?-]{1,63}")


class RuleError(ValueError):
    """A rule cannot be followed. `field` breaks `rule`."""

    def __init__(self, field: str, rule: str) -> None:
        self.field = field
        self.rule = rule
        super().__init__(f"{field} {rule}")


def check_rule(rule: config_pb2.Rule) -> None:
    """Raise RuleError, naming the field, if a rule means nothing."""
    for name in ("sensors", "sites", "metrics"):
        _check_patterns(f"selection.{name}", getattr(rule.selection, name))
    if not rule.revision:
        raise RuleError("revision", "must be above 0")
    match rule.WhichOneof("condition"):
        case "threshold":
            _check_threshold(rule.threshold)
        case "rate":
            _check_rate(rule.rate)
        case "flatline":
            _require(_is_level(rule.flatline.epsilon) and rule.flatline.epsilon >= 0, "flatline.epsilon")
            _check_ms("flatline.for_ms", rule.flatline.for_ms, least=1)
        case "missing":
            _check_ms("missing.for_ms", rule.missing.for_ms, least=1)
        case "clock_skew":
            _check_ms("clock_skew.behind_ms", rule.clock_skew.behind_ms)
            _check_ms("clock_skew.for_ms", rule.clock_skew.for_ms)
            if rule.selection.metrics:
                raise RuleError("selection.metrics", "must be empty: a clock is a sensor's, not a metric's")
        case _:
            raise RuleError("condition", "must be one that this version knows")


def _check_threshold(threshold: config_pb2.Threshold) -> None:
    _require(_is_level(threshold.level), "threshold.level")
    _require(_is_level(threshold.clear), "threshold.clear")
    _check_ms("threshold.for_ms", threshold.for_ms)
    if threshold.side == config_pb2.Threshold.ABOVE:
        if threshold.clear > threshold.level:
            raise RuleError("threshold.clear", "must not be above level")
    elif threshold.side == config_pb2.Threshold.BELOW:
        if threshold.clear < threshold.level:
            raise RuleError("threshold.clear", "must not be below level")
    else:
        raise RuleError("threshold.side", "must be ABOVE or BELOW")


def _check_rate(rate: config_pb2.Rate) -> None:
    _require(_is_level(rate.per_s) and rate.per_s > 0, "rate.per_s")
    _require(_is_level(rate.clear), "rate.clear")
    if rate.clear > rate.per_s:
        raise RuleError("rate.clear", "must not be above per_s")
    if rate.direction not in {config_pb2.Rate.RISE, config_pb2.Rate.FALL, config_pb2.Rate.EITHER}:
        raise RuleError("rate.direction", "must be RISE, FALL or EITHER")
    _check_ms("rate.span_ms", rate.span_ms, least=1)


def _check_patterns(field: str, patterns: Iterable[str]) -> None:
    patterns = list(patterns)
    if len(patterns) > MAX_PATTERNS:
        raise RuleError(field, f"must have at most {MAX_PATTERNS} patterns")
    if not all(map(_PATTERN.fullmatch, patterns)):
        raise RuleError(field, "must be names or patterns: 1 to 63 of a-z, 0-9, '-', '_', '*' and '?'")


def _check_ms(field: str, value: int, least: int = 0) -> None:
    if not least <= value <= MAX_MS:
        raise RuleError(field, f"must be {least} to {MAX_MS} (31 days)")


def _is_level(value: float) -> bool:
    return math.isfinite(value)


def _require(holds: bool, field: str) -> None:
    if not holds:
        raise RuleError(field, "must be a finite number in its range")


class Selection:
    """Which sensors, sites and metrics a rule is about: an empty list matches all."""

    def __init__(self, selection: config_pb2.Selection) -> None:
        self._sensor = _matcher(selection.sensors)
        self._site = _matcher(selection.sites)
        self._metric = _matcher(selection.metrics)
        self.by_site = bool(selection.sites)

    def takes(self, sensor: str, site: str, metric: str | None) -> bool:
        """Say whether a series is meant; `metric` None: the sensor as a whole."""
        return (
            (self._sensor is None or self._sensor.fullmatch(sensor) is not None)
            and (self._site is None or self._site.fullmatch(site) is not None)
            and (metric is None or self._metric is None or self._metric.fullmatch(metric) is not None)
        )


def _matcher(patterns: Iterable[str]) -> re.Pattern[str] | None:
    texts = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return re.compile("|".join(texts)) if texts else None
