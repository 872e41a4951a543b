"""A worker's resources: the rules that it follows."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from control_plane.resources.model import Resource, new_resource
from control_plane.rule_model import (
    ClockSkewCondition,
    FlatlineCondition,
    MissingCondition,
    RateCondition,
    Rule,
    ThresholdCondition,
)
from wire.gen.gaugeway.config.v1 import config_pb2
from wire.names import RULE_TYPE

_CACHED_RULES: Final = 1 << 12
_DIRECTIONS: Final = {
    "rise": config_pb2.Rate.RISE,
    "fall": config_pb2.Rate.FALL,
    "either": config_pb2.Rate.EITHER,
}


@lru_cache(_CACHED_RULES)
def rule_resource(rule: Rule) -> Resource:
    """Return the resource of one rule."""
    return new_resource(RULE_TYPE, rule.spec.id, rule_message(rule).SerializeToString(deterministic=True))


def rule_message(rule: Rule) -> config_pb2.Rule:
    """Return a rule as workers read it."""
    spec = rule.spec
    message = config_pb2.Rule(id=spec.id, revision=rule.revision)
    message.selection.sensors.extend(spec.selection.sensors)
    message.selection.sites.extend(spec.selection.sites)
    message.selection.metrics.extend(spec.selection.metrics)
    match spec.condition:
        case ThresholdCondition() as limit:
            above = limit.side == "above"
            message.threshold.side = config_pb2.Threshold.ABOVE if above else config_pb2.Threshold.BELOW
            message.threshold.level, message.threshold.for_ms = limit.level, limit.for_ms
            message.threshold.clear = limit.level if limit.clear is None else limit.clear
        case RateCondition() as rate:
            message.rate.direction = _DIRECTIONS[rate.direction]
            message.rate.per_s, message.rate.span_ms = rate.per_s, rate.span_ms
            message.rate.clear = rate.per_s if rate.clear is None else rate.clear
        case FlatlineCondition() as flat:
            message.flatline.epsilon, message.flatline.for_ms = flat.epsilon, flat.for_ms
        case MissingCondition() as missing:
            message.missing.for_ms = missing.for_ms
        case ClockSkewCondition() as skew:
            message.clock_skew.behind_ms, message.clock_skew.for_ms = skew.behind_ms, skew.for_ms
            message.clock_skew.SetInParent()
    return message
