"""Streamed answers: a JSON line per step, sent as soon as the step is done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from monitor.api.problems import problem_line

NDJSON = "application/x-ndjson"


def lines(steps: AsyncGenerator[BaseModel | dict[str, Any], None]) -> StreamingResponse:
    """Streams the steps. An error becomes the last line, as a problem: the status code has been sent already."""
    return StreamingResponse(_written(steps), media_type=NDJSON)


async def _written(steps: AsyncGenerator[BaseModel | dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(steps) as running:
            async for step in running:
                yield (step.model_dump_json().encode() if isinstance(step, BaseModel) else orjson.dumps(step)) + b"\n"
    except Exception as error:
        yield problem_line(error).encode() + b"\n"
