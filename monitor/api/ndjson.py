"""Answers that take long: a JSON line a step, as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from monitor.api.problems import line_of

NDJSON = "application/x-ndjson"


def lines(steps: AsyncGenerator[BaseModel | dict[str, Any], None]) -> StreamingResponse:
    """The steps; what goes wrong under way is the last line, as the status line is long gone."""
    return StreamingResponse(_written(steps), media_type=NDJSON)


async def _written(steps: AsyncGenerator[BaseModel | dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(steps) as going:
            async for step in going:
                yield (step.model_dump_json().encode() if isinstance(step, BaseModel) else orjson.dumps(step)) + b"\n"
    except Exception as error:
        yield line_of(error).encode() + b"\n"
