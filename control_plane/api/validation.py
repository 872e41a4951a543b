"""What pydantic found wrong, as fields and rules in our words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from control_plane.api.problems import FieldError

MAX_ERRORS: Final = 20

_RULES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "too_short": "must have at least {min_length} of them, not {actual_length}",
    "too_long": "must have at most {max_length} of them, not {actual_length}",
    "union_tag_not_found": "must have a {discriminator}",
    "union_tag_invalid": "must have as {discriminator} one of {expected_tags}; not {tag!r}",
}
_DEFAULT_FIELD: Final = "body"


def is_broken_json(error: ValidationError) -> bool:
    """Say whether the text was no JSON at all."""
    return any(problem["type"] == "json_invalid" for problem in error.errors(include_url=False))


def field_errors(
    error: ValidationError, fields: Collection[str] = (), tags: Collection[str] = ()
) -> list[FieldError]:
    """Return the fields and the rules that they break, at most MAX_ERRORS.

    Args:
        error: What pydantic raised.
        fields: Names of the model's fields. A rule over several of them has no location;
            it is about the one that its sentence begins with.
        tags: Names of union members, which pydantic puts into locations.
    """
    found = []
    for problem in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
        template = _RULES.get(problem["type"])
        rule = (
            template.format(**problem["ctx"]) if template and "ctx" in problem else template or problem["msg"]
        )
        field, rule = field_name(problem["loc"], tags), _in_our_words(rule)
        first, _, rest = rule.partition(" ")
        if not problem["loc"] and first.rstrip(":").partition(".")[0] in fields:
            field, rule = first.rstrip(":"), rest
        found.append(FieldError(field=field, rule=rule))
    return found


def field_name(location: Sequence[int | str], tags: Collection[str] = ()) -> str:
    """Return a location as people write it: `metrics[0].name`; `body` if it is the whole."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part not in tags:
            name += f".{part}" if name else part
    return name or _DEFAULT_FIELD


def _in_our_words(rule: str) -> str:
    """Return pydantic's sentence as one that can follow the name of a field."""
    for theirs, ours in (("Input should be", "must be"), ("Input should", "must"), ("Value error, ", "")):
        if rule.startswith(theirs):
            return ours + rule[len(theirs) :]
    return rule[:1].lower() + rule[1:]
