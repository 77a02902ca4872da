"""What routes depend on: the running application, and query parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime

from monitor.parts import Airtrace


def _airtrace(request: Request) -> Airtrace:
    airtrace: Airtrace = request.app.state.airtrace
    return airtrace


App = Annotated[Airtrace, Depends(_airtrace)]
Limit = Annotated[int, Query(ge=1, le=10_000, description="Maximum number of rows.")]
# The range of PostgreSQL's bigint.
Id = Annotated[int, Query(ge=1, le=2**63 - 1)]

StreamName = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$", description="Only this stream.")]
Since = Annotated[AwareDatetime | None, Query(description="Only what ended after this instant, with a time zone.")]
