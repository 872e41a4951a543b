"""Logs as JSON lines on stderr, from our own code and from libraries."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, Final

import structlog

_LEVEL_VARIABLE = "GAUGEWAY_LOG_LEVEL"
_LINE_CHARACTERS: Final = 500
_ALWAYS: Final = frozenset({"event", "time", "level", "process", "exception"})


def configure_logging(process: str) -> None:
    """Write every log record to stderr as one JSON object with `time`, `level`, `event` and `process`.

    The least level is `info`, or what the environment variable GAUGEWAY_LOG_LEVEL names.
    """
    level = logging.getLevelNamesMapping().get(os.environ.get(_LEVEL_VARIABLE, "info").upper(), logging.INFO)

    def name_process(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_process,
        # Without local variables: tokens and secrets are among them.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def in_words(line: str) -> str:
    """Return a line of a log for people: one of ours without quotes and tracebacks, any other as it is.

    The beginning of it, if it is long.
    """
    record = _record(line)
    if record is not None:
        values = [f"{name}={value}" for name, value in record.items() if name not in _ALWAYS]
        line = ": ".join([" ".join([str(record["event"]), *values]), *_reasons(record)])
    return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]} ..."


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "event" in record else None


def _reasons(record: dict[str, Any]) -> list[str]:
    """Return the type and text of the exception that a record is about, if it is."""
    for error in record.get("exception") or []:
        return [str(error.get("exc_type")), str(error.get("exc_value"))]
    return []
