"""Log lines: one JSON object each, on standard output, in the order time, level, logger, event, then the rest.

Every value that came from outside is escaped: a header can neither break a line nor forge one, nor work the terminal
that shows it. JSON sees to quotes and to line breaks; what else does not print (8-bit control characters, marks that
turn the direction of writing, halves of characters) is escaped on top of it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import Processor

from gateway.transport.sip_trace import LOGGER as SIP_TRACE


def configure_logs(level: str, stream: TextIO | None = None, *, sip_trace: bool = False) -> None:
    """Write log lines of `level` and above to `stream` (standard output by default), from structlog and logging.

    `sip_trace` adds every SIP message, whatever the level.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.processors.format_exc_info],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _ordered,
                structlog.processors.JSONRenderer(serializer=_printable_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(SIP_TRACE).setLevel(logging.DEBUG if sip_trace else logging.INFO)
    # Libraries narrate; what they do matters here only when it goes wrong.
    # The clients of web services would tell each URL, with what is secret and what a caller said.
    for name in ("websockets", "asyncio", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Its errors quote what servers write; what they mean for calls is told by `gateway.calls.tools`.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)


def _printable_json(event: object, default: Callable[[object], object]) -> str:
    """One line of JSON in which everything prints; what does not is a ``\\u`` escape, the same to whoever parses it."""
    line = json.dumps(event, default=default, ensure_ascii=False)
    return line if line.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in line)


def _escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _ordered(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    first = ("time", "level", "logger", "event")
    return {name: event[name] for name in first if name in event} | {
        name: value for name, value in event.items() if name not in first
    }
