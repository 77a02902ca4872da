"""The live page at `/`, and at `/live` the part of it that changes, which the page fetches every two seconds.

Names come from files and from people, so templates escape everything, and no script or style is inline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ingest import timeline
from ingest.wire import GapReason
from monitor.api.alerts import schemas as alert_schemas
from monitor.api.dependencies import App
from monitor.api.matches import schemas as match_schemas
from monitor.api.similarity import schemas as sound_schemas
from monitor.api.similarity.intervals import sounds_of
from monitor.api.streams import schemas as stream_schemas
from monitor.api.streams.running import running
from monitor.core.segments import SAMPLE_RATE_HZ

router = APIRouter(include_in_schema=False)

MAX_OPEN = 200  # matches on air at once; nobody could look at more
MAX_RECENT = 30  # about two hours of one music station
MAX_ALERTS = 20  # as many as one can act on; the API lists all
MAX_SIMILAR = 20
MAX_SOUND_AGE_S = 60  # a passage of ten seconds, and the time PANNs may need to analyze it

# The page loads only what Airtrace serves, runs nothing inline, and cannot be framed.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # the back button must not show an old state as if it were now
}

KINDS = {
    "music": "music",
    "speech": "speech",
    "music_under_speech": "music under speech",
    "silence": "silence",
    "other": "neither music nor speech",
}
STATES = {
    "listening": "Listening",
    "behind": "Behind",
    "gap": "Gap",
    "waiting": "Waiting",
    "not_running": "Not running",
}
REASONS: dict[str, str] = {
    GapReason.CONNECTING: "connecting",
    GapReason.STALLED: "stalled, no audio arrives",
    GapReason.ENDED: "the stream has ended",
    GapReason.NOT_AUDIO: "its URL does not deliver audio",
    GapReason.DECODE_ERROR: "its audio cannot be decoded",
    GapReason.DROPPED: "audio dropped under load",
    GapReason.LOST: "audio lost because matching fell too far behind",
    GapReason.STOPPED: "Airtrace was not running",
}


@dataclass(frozen=True, slots=True)
class OnAir:
    """A stream, the matches on air there, and what it sounds like if PANNs analyzes it."""

    stream: stream_schemas.Stream
    matches: list[match_schemas.Match]
    sounds: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the page shows."""

    now: datetime
    on_air: list[OnAir]
    recent: list[match_schemas.Match]
    alerts: list[alert_schemas.Alert]
    more_alerts: bool
    similar: list[sound_schemas.SimilarMatch]
    tracks: int
    detector: str
    model: str
    warning: str | None  # that matching is full or behind
    is_behind: bool

    @property
    def listening(self) -> int:
        """The number of streams that are matched as they arrive."""
        return sum(on_air.stream.state == "listening" for on_air in self.on_air)

    @property
    def behind(self) -> int:
        """The number of streams that are matched late."""
        return sum(on_air.stream.state == "behind" for on_air in self.on_air)

    @property
    def playing(self) -> int:
        """The number of matches on air on the streams shown."""
        return sum(len(on_air.matches) for on_air in self.on_air)


@router.get("/")
async def page(request: Request, airtrace: App) -> Response:
    """The whole page."""
    return _rendered(request, "page.html", await _view(airtrace))


@router.get("/live")
async def live(request: Request, airtrace: App) -> Response:
    """The part of the page that changes."""
    return _rendered(request, "live.html", await _view(airtrace))


async def _view(airtrace: App) -> View:
    storage, info, now = airtrace.storage, airtrace.matcher.detector.info, stream_schemas.utc_now()
    runs = await running(airtrace)
    streams = [stream_schemas.Stream.of(stream, now, runs) for stream in await storage.streams.list()]
    summary = stream_schemas.summary(streams)
    playing = await storage.matches.list(None, "open", None, MAX_OPEN)
    recent = await storage.matches.list(None, None, None, MAX_RECENT)
    alerts = await storage.alerts.list("open", MAX_ALERTS + 1)
    similar = await storage.sounds.list_similar(None, "pending", MAX_SIMILAR)
    fresh = timeline.to_clock(now) - MAX_SOUND_AGE_S * SAMPLE_RATE_HZ
    sounds = await storage.sounds.latest([stream.id for stream in streams], fresh)
    recent_sounds = await sounds_of(storage.sounds, recent)
    tracks_shown = {match.track_id for match in (*playing, *recent)} | {alert.track_id for alert in alerts}
    families = await storage.families.members_of(tracks_shown)
    tracks = await storage.tracks.count()
    open_ = [match_schemas.Match.of(match, families) for match in playing]
    return View(
        now=now,
        on_air=[
            OnAir(stream, [match for match in open_ if match.stream.id == stream.id], sounds.get(stream.id))
            for stream in streams
        ],
        recent=[
            match_schemas.Match.of(match, families, sound) for match, sound in zip(recent, recent_sounds, strict=True)
        ],
        alerts=[alert_schemas.Alert.of(alert, families) for alert in alerts[:MAX_ALERTS]],
        more_alerts=len(alerts) > MAX_ALERTS,
        similar=[sound_schemas.SimilarMatch.of(each) for each in similar],
        tracks=tracks,
        detector=info.name,
        model=f"{info.version}/{info.checksum}",
        warning=runs.warning(summary),
        is_behind=summary.behind > 0 or runs.is_behind,
    )


def _rendered(request: Request, template: str, view: View) -> Response:
    return _templates.TemplateResponse(request, template, {"view": view}, headers=HEADERS)


def _iso(instant: datetime) -> str:
    """UTC to the second, for machines."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(instant: datetime) -> str:
    """UTC to the second, for people whose browsers run no scripts."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _clock(seconds: float) -> str:
    """m:ss, or h:mm:ss starting at one hour."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _reason(reason: str | None) -> str:
    """A gap's reason in words. An unknown one, of a newer version, is shown as it is."""
    if reason is None:
        return "reason unknown"
    return REASONS.get(reason, reason.replace("_", " "))


def _environment() -> Environment:
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(iso=_iso, utc=_utc, clock=_clock, reason=_reason)
    environment.globals.update(states=STATES, kinds=KINDS, version=version("airtrace"))
    return environment


_templates = Jinja2Templates(env=_environment())
