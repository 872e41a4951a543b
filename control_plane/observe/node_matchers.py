"""Which nodes a client status request means. Pure.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto
Regular expressions are RE2's, whose time grows with the text only: whoever asks
may ask anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from wire.gen.gaugeway.envoy.v1 import client_status_pb2 as pb

MAX_MATCHERS: Final = 256
MAX_VALUES: Final = 1_024  # of all matchers together: each is held against every node
MAX_REGEX: Final = 1_024
MAX_DEPTH: Final = 16

_MISSING: Final = object()
_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": lambda text, pattern: text == pattern,
    "prefix": lambda text, pattern: text.startswith(pattern),
    "suffix": lambda text, pattern: text.endswith(pattern),
    "contains": lambda text, pattern: pattern in text,
}


class MatcherError(ValueError):
    """A matcher that cannot be followed; the text names it and the rule."""


def check_matchers(matchers: Collection[pb.NodeMatcher]) -> None:
    """Raise MatcherError if one of the matchers cannot be followed, whatever it would be held against."""
    if len(matchers) > MAX_MATCHERS:
        raise MatcherError(f"node_matchers must be at most {MAX_MATCHERS}, not {len(matchers)}")
    for matcher in matchers:
        if matcher.HasField("node_id"):
            _check_text(matcher.node_id, "node_id")
    values = (
        value
        for matcher in matchers
        for inner in matcher.node_metadatas
        for value in _values(inner.value, "node_metadatas", 0)
    )
    for count, value in enumerate(values, start=1):
        if count > MAX_VALUES:
            raise MatcherError(f"node_metadatas must have at most {MAX_VALUES} values in all")
        if value.WhichOneof("match_pattern") == "string_match":
            _check_text(value.string_match, "node_metadatas")


def matches(matchers: Collection[pb.NodeMatcher], node_id: str, metadata: Mapping[str, Any]) -> bool:
    """Return whether one of checked matchers means the node; none at all means every node."""
    return not matchers or any(_node_matches(matcher, node_id, metadata) for matcher in matchers)


# --- checked ----------------------------------------------------------------------------------
def _check_text(matcher: pb.StringMatcher, where: str) -> None:
    kind = matcher.WhichOneof("match_pattern")
    if kind is None or kind == "custom":
        raise MatcherError(f"{where} must have one of {', '.join(_TESTS)}, safe_regex")
    if kind != "safe_regex":
        return
    if len(matcher.safe_regex.regex) > MAX_REGEX:
        raise MatcherError(f"{where}.safe_regex must be at most {MAX_REGEX} characters")
    try:
        _full_match(matcher.safe_regex.regex, "")
    except ValueError as error:
        raise MatcherError(f"{where}.safe_regex is no regular expression of RE2: {error}") from error


def _values(matcher: pb.ValueMatcher, where: str, depth: int) -> Iterator[pb.ValueMatcher]:
    """Yield a matcher of values and all that are in it."""
    kind = matcher.WhichOneof("match_pattern")
    if kind is None:
        raise MatcherError(f"{where} must have a value with a pattern")
    if depth > MAX_DEPTH:
        raise MatcherError(f"{where} must not be deeper than {MAX_DEPTH}")
    yield matcher
    if kind == "list_match":
        yield from _values(matcher.list_match.one_of, where, depth + 1)
    elif kind == "or_match":
        for option in matcher.or_match.value_matchers:
            yield from _values(option, where, depth + 1)


# --- held against a node ------------------------------------------------------------------------
def _node_matches(matcher: pb.NodeMatcher, node_id: str, metadata: Mapping[str, Any]) -> bool:
    if matcher.HasField("node_id") and not _text_matches(matcher.node_id, node_id):
        return False
    return all(_value_matches(each.value, _at(metadata, each.path)) for each in matcher.node_metadatas)


def _at(metadata: Mapping[str, Any], path: Collection[pb.PathSegment]) -> Any:
    """Return what is at a path of keys; _MISSING if nothing is."""
    value: Any = metadata
    for segment in path:
        if not isinstance(value, Mapping) or segment.key not in value:
            return _MISSING
        value = value[segment.key]
    return value


def _value_matches(matcher: pb.ValueMatcher, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "null_match":
            found = value is None
        case "double_match":
            found = _number_matches(matcher.double_match, value)
        case "string_match":
            found = isinstance(value, str) and _text_matches(matcher.string_match, value)
        case "bool_match":
            found = value is matcher.bool_match
        case "present_match":
            found = (value is not _MISSING) == matcher.present_match
        case "list_match":
            one_of = matcher.list_match.one_of
            found = isinstance(value, list) and any(_value_matches(one_of, each) for each in value)
        case _:
            found = any(_value_matches(each, value) for each in matcher.or_match.value_matchers)
    return found


def _number_matches(matcher: pb.DoubleMatcher, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if matcher.WhichOneof("match_pattern") == "range":
        return matcher.range.start <= value < matcher.range.end
    return bool(value == matcher.exact)


def _text_matches(matcher: pb.StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    assert kind is not None, "matchers are checked first"
    if kind == "safe_regex":
        return _full_match(matcher.safe_regex.regex, text)
    pattern = str(getattr(matcher, kind))
    if matcher.ignore_case:  # of no effect on regular expressions
        pattern, text = pattern.lower(), text.lower()
    return _TESTS[kind](text, pattern)


def _full_match(regex: str, text: str) -> bool:
    """Return whether the whole text is as the expression says. Raises ValueError if it is none."""
    # Half a second and 40 MB, and few ever ask by expression.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    return bool(pc.match_substring_regex(pa.scalar(text), pattern=rf"\A(?:{regex})\z").as_py())
