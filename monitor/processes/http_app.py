"""The FastAPI application: routers, errors, access rules and the request metric."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from monitor.api import health, problems
from monitor.api.alerts import alerts
from monitor.api.catalog import catalog, tracks
from monitor.api.matches import calibration, explain, identify, matches
from monitor.api.security import KnownHosts, SameOrigin, in_host_header
from monitor.api.similarity import similar, sounds
from monitor.api.streams import capacity, coverage, streams
from monitor.api.timing import RequestTimer
from monitor.api.uploads import SizeLimit
from monitor.parts import Airtrace
from monitor.web import live

STATIC = Path(live.__file__).parent / "static"
SWAGGER_UI = "/static/swagger-ui-5.35.0"
DESCRIPTION = "Which recordings were played on which streams, from when to when, and with what certainty."


def create_app(airtrace: Airtrace) -> FastAPI:
    """The API and the live page. The parts of `airtrace` must stay open while it serves."""
    settings = airtrace.settings.api
    app = FastAPI(title="Airtrace", version=version("airtrace"), description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.airtrace = airtrace
    problems.install(app)
    found = (matches, alerts, identify, explain, calibration, sounds, similar)
    nouns = (tracks, catalog, streams, capacity, coverage, *found)
    for noun in nouns:
        app.include_router(noun.router, prefix="/api/v1")
    app.include_router(health.router)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.add_middleware(SizeLimit, max_bytes=settings.max_upload_mb * 1_000_000)
    app.add_middleware(SameOrigin)
    app.add_middleware(KnownHosts, hosts=(*settings.hosts, in_host_header(settings.host)))
    app.add_middleware(RequestTimer)  # the last one is the outermost
    return app


async def _docs() -> Response:
    """Swagger UI from our own files. FastAPI's page loads it from a CDN, which a closed network cannot reach."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Airtrace API",
        swagger_js_url=f"{SWAGGER_UI}/swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER_UI}/swagger-ui.css",
        swagger_favicon_url=f"{SWAGGER_UI}/favicon-32x32.png",
    )


async def _metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
