"""Logs as JSON lines on stderr, from our own code and from libraries."""

from __future__ import annotations

import logging
import os
import sys

import structlog

_LEVEL_VARIABLE = "GAUGEWAY_LOG_LEVEL"


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
