"""Errors as RFC 9457 problem+json documents, in the same form on every path."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ingest.errors import SourceError
from monitor.errors import AirtraceError, DependencyError, with_cause

log = structlog.get_logger(__name__)

INTERNAL = 500


def install(app: FastAPI) -> None:
    """Makes every error of the app a problem."""

    @app.exception_handler(AirtraceError)
    async def known(request: Request, error: AirtraceError) -> JSONResponse:
        if error.status == INTERNAL:
            return _bug(request, error)
        if isinstance(error, DependencyError):
            log.warning("api.dependency_unavailable", path=request.url.path, error=with_cause(error))
        return problem(**_facts(error))

    @app.exception_handler(SourceError)
    async def source(request: Request, error: SourceError) -> JSONResponse:
        return problem(422, "The stream cannot be used", str(error), reason=error.reason)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        details = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return problem(422, "The request is not valid", details)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}", error.headers)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return _bug(request, error)


def _bug(request: Request, error: Exception) -> JSONResponse:
    log.error("api.bug", method=request.method, path=request.url.path, exc_info=error)
    return problem(INTERNAL, "Something went wrong", "The log has the details.")


def problem_line(error: Exception) -> str:
    """The problem as a line of JSON, for a streamed answer that has already started."""
    if not isinstance(error, AirtraceError) or error.status == INTERNAL:
        log.error("api.bug", exc_info=error)
        error = AirtraceError("The log has the details.")
    return bytes(problem(**_facts(error)).body).decode()


def _facts(error: AirtraceError) -> dict[str, Any]:
    return {"status": error.status, "title": error.title, "detail": str(error), "reason": error.reason}


def problem(status: int, title: str, detail: str, headers: Any = None, **more: Any) -> JSONResponse:
    """A response with a problem document. `more`: further members; None leaves one out."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body.update({name: value for name, value in more.items() if value is not None})
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")
