"""The live page shows what the store holds, escapes every name, loads only what is there, and runs nothing inline.

A stand-in for the storage returns records: its SQL is tested with PostgreSQL elsewhere.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from ingest import timeline
from ingest.wire import GapReason
from monitor.api import problems
from monitor.api.streams import schemas as stream_schemas
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.matching.load.reporter import process_name
from monitor.settings import Settings
from monitor.storage import records
from monitor.storage.tables.sounds import Similar, StreamInterval
from monitor.web import live

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'
STATIC = Path(live.__file__).parent / "static"
INFO = DetectorInfo("fingerprint", "logmel-1", "ab12cd34", 128)


@dataclass
class Kept:
    """Gives what a test puts in, by the rules of the store."""

    kept_streams: Sequence[records.StreamStatus] = ()
    kept_matches: Sequence[records.Match] = ()
    kept_alerts: Sequence[records.Alert] = ()
    n_tracks: int = 0
    kin: Mapping[int, Sequence[records.FamilyMember]] = field(default_factory=dict)
    failure: Exception | None = field(default=None)
    kept_similars: Sequence[Similar] = ()
    kept_kinds: Mapping[int, str] = field(default_factory=dict)
    kept_sounds: Mapping[int, Mapping[str, int]] = field(default_factory=dict)  # by where a match begins
    loads: Sequence[records.WorkerLoad] = (records.WorkerLoad(records.WorkerState.OK),)  # of the running workers

    def tables(self) -> SimpleNamespace:
        """Stands for a Storage."""
        return SimpleNamespace(
            streams=SimpleNamespace(list=self.list_streams),
            matches=SimpleNamespace(list=self.list_matches),
            alerts=SimpleNamespace(list=self.list_alerts),
            tracks=self,
            families=self,
            sounds=self,
            workers=SimpleNamespace(running=self.list_workers),
        )

    async def list_streams(self) -> Sequence[records.StreamStatus]:
        if self.failure:
            raise self.failure
        return self.kept_streams

    async def list_workers(self) -> Sequence[records.WorkerStatus]:
        return [records.WorkerStatus(uuid.uuid4(), process_name(), _now(), load) for load in self.loads]

    async def list_matches(
        self, stream: str | None = None, state: str | None = None, since: int | None = None, limit: int = 100
    ) -> Sequence[records.Match]:
        return [match for match in self.kept_matches if state in (None, match.state)][:limit]

    async def list_alerts(self, state: str | None = None, limit: int = 100) -> Sequence[records.Alert]:
        return [alert for alert in self.kept_alerts if state in (None, alert.state)][:limit]

    async def list_similar(
        self, stream: str | None = None, review: str | None = None, limit: int = 100
    ) -> Sequence[Similar]:
        return [each for each in self.kept_similars if review in (None, each.review)][:limit]

    async def latest(self, streams: Collection[int], since: int) -> Mapping[int, str]:
        return {stream: kind for stream, kind in self.kept_kinds.items() if stream in streams}

    async def within(self, intervals: Sequence[StreamInterval]) -> list[Mapping[str, int]]:
        return [self.kept_sounds.get(each.starts, {}) for each in intervals]

    async def members_of(self, tracks: Collection[int]) -> Mapping[int, Sequence[records.FamilyMember]]:
        return {track: family for track, family in self.kin.items() if track in tracks}

    async def count(self) -> int:
        return self.n_tracks


class Seen(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inline = ""
        self._inside = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.inline += data.strip()
        else:
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _client(kept: Kept) -> httpx2.AsyncClient:
    app = FastAPI()
    problems.install(app)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.state.airtrace = SimpleNamespace(
        settings=Settings(),
        storage=kept.tables(),
        matcher=SimpleNamespace(detector=SimpleNamespace(info=INFO)),
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


async def _html(kept: Kept, path: str = "/") -> str:
    async with _client(kept) as client:
        response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.text


async def _seen(kept: Kept, path: str = "/") -> Seen:
    return Seen(await _html(kept, path))


def _now() -> datetime:
    return stream_schemas.utc_now().replace(microsecond=0)


def _stream(name: str = "radio-one", **changes: object) -> records.StreamStatus:
    values: dict[str, object] = {
        "id": 1,
        "name": name,
        "url": "https://radio.example/live.mp3",
        "added_at": _now(),
        "position": timeline.to_clock(_now() - timedelta(seconds=2)),
        "state": "covered",
        "reason": None,
    }
    return records.StreamStatus(**(values | changes))  # type: ignore[arg-type]


def _match(title: str = "Nocturne", state: str = "open", **changes: object) -> records.Match:
    values: dict[str, object] = {
        "id": uuid.uuid4(),
        "stream_id": 1,
        "stream_name": "radio-one",
        "track": {"id": 7, "title": title, "artist": "The Owls", "source": "nocturne.flac"},
        "detector": INFO.name,
        "version": INFO.version,
        "state": state,
        "starts": timeline.to_clock(datetime.fromisoformat("2026-03-01T12:00:00Z")),
        "ends": timeline.to_clock(datetime.fromisoformat("2026-03-01T12:01:25Z")),
        "track_start_s": 12.5,
        "track_end_s": 97.5,
        "score": 0.9312,
        "llr": 312.5,
        "bridged_s": 0.0,
        "is_ambiguous": False,
    }
    return records.Match(**(values | changes))  # type: ignore[arg-type]


def _alert(match: records.Match, identity: int = 1, state: str = "open") -> records.Alert:
    return records.Alert(
        identity, match.id, "warning", state, match.track, match.stream_name, _now(), match.starts, match.ends
    )


def _full(name: str = "radio-one", title: str = "Nocturne") -> Kept:
    match = _match(stream_name=name, track={"id": 7, "title": title, "artist": title, "source": title})
    return Kept([_stream(name)], [match], [_alert(match)], 6, {7: [records.FamilyMember(8, title, title, title)]})


async def test_what_is_on_air_shows_track_since_position_and_score() -> None:
    html = await _html(Kept([_stream()], [_match()], n_tracks=6))
    card = Seen(html[html.index("<article") : html.index("</article>")])
    assert (
        "radio-one Listening https://radio.example/live.mp3 Nocturne The Owls"
        " Since 2026-03-01 12:00:00 UTC Position 1:37 Score 0.93 Heard until" in card.text
    )
    assert card.all("time")[0] == {"datetime": "2026-03-01T12:00:00Z"}


async def test_a_match_and_its_alert_name_the_family_of_their_track() -> None:
    match = _match()
    family = [records.FamilyMember(number, f"Version {number}", None, "v.flac") for number in range(1, 3)]
    seen = await _seen(Kept([_stream()], [match], [_alert(match)], 6, {7: family}))
    assert seen.text.count("The Owls alternatives: Version 1 , Version 2") == 3  # on air, alert, recent match
    assert "more" not in seen.text
    seen = await _seen(Kept([_stream()], [match], n_tracks=6, kin={8: family}))
    assert "alternatives:" not in seen.text


def _similar(title: str = "Nocturne", review: str = "pending") -> Similar:
    match = _match(title)
    reviewed_at = None if review == "pending" else _now()
    values = (match.track, "cnn14-32k", match.starts, match.ends, 0.9312, review, None, _now(), reviewed_at)
    return Similar(uuid.uuid4(), 1, "radio-one", *values)


async def test_similar_matches_stand_apart_until_somebody_has_listened() -> None:
    similars = [_similar("Cover"), _similar("Heard", "confirmed")]
    html = await _html(Kept([_stream()], [_match()], n_tracks=6, kept_similars=similars))
    section = Seen(
        html[html.index('<section aria-labelledby="similar"') : html.index('<section aria-labelledby="recent"')]
    )
    assert "Not confirmed plays: someone has to listen to them." in section.text
    assert "1:25 info radio-one Cover The Owls 0.93" in section.text
    assert "Heard" not in section.text
    assert "Cover" not in html.replace(html[html.index('labelledby="similar"') : html.index('labelledby="recent"')], "")


async def test_where_nothing_is_similar_or_labeled_the_page_does_not_speak_of_it() -> None:
    seen = await _seen(_full())
    assert "to review" not in seen.text
    assert "Sounds like" not in seen.text


async def test_a_stream_and_a_match_say_what_they_sound_like() -> None:
    match = _match(state="closed")
    sounds = {match.starts: {"music_under_speech": 640_000, "speech": 320_000}}
    kept = Kept([_stream()], [match], n_tracks=6, kept_kinds={1: "speech"}, kept_sounds=sounds)
    seen = await _seen(kept)
    assert "Sounds like speech." in seen.text
    assert "Nocturne The Owls music under speech" in seen.text


async def test_of_a_long_family_the_first_are_named_and_the_rest_counted() -> None:
    family = [records.FamilyMember(number, f"Version {number}", None, "v.flac") for number in range(1, 8)]
    seen = await _seen(Kept([_stream()], [_match()], n_tracks=6, kin={7: family}))
    assert "alternatives: Version 1 , Version 2 , Version 3 and 4 more" in seen.text


async def test_a_match_is_on_air_only_on_its_own_stream() -> None:
    html = await _html(Kept([_stream(), _stream("radio-two", id=2)], [_match()], n_tracks=6))
    cards = html.split("<article")[1:]
    assert "Nocturne" in cards[0]
    assert "Nocturne" not in cards[1].split("</article>")[0]
    assert "No catalog track is on air." in cards[1]


async def test_a_closed_match_is_recent_and_not_on_air() -> None:
    html = await _html(Kept([_stream()], [_match(state="closed")], n_tracks=6))
    on_air, recent = html.split('id="recent"')
    assert "Nocturne" not in on_air
    assert "1:25 radio-one Nocturne The Owls 0:12–1:37 0.93 ended" in Seen(recent).text


async def test_open_alerts_are_listed_and_settled_ones_are_not() -> None:
    seen = await _seen(Kept(kept_alerts=[_alert(_match("Loud"), 1), _alert(_match("Settled"), 2, "resolved")]))
    assert "warning radio-one Loud The Owls 1:25" in seen.text
    assert "Settled" not in seen.text


async def test_more_alerts_than_fit_are_said_to_be_more() -> None:
    seen = await _seen(Kept(kept_alerts=[_alert(_match(f"Title {i}"), i) for i in range(live.MAX_ALERTS + 5)]))
    assert f"Open alerts {live.MAX_ALERTS}+" in seen.text
    assert f"Title {live.MAX_ALERTS - 1} " in seen.text
    assert f"Title {live.MAX_ALERTS} " not in seen.text


async def test_catalog_size_model_and_the_other_interfaces_are_there() -> None:
    seen = await _seen(Kept(n_tracks=12_345))
    assert "Catalog 12,345 tracks" in seen.text
    assert "Detector fingerprint, model logmel-1/ab12cd34" in seen.text
    assert {"/docs", "/metrics"} <= {link["href"] for link in seen.all("a")}


@pytest.mark.parametrize("reason", list(GapReason))
async def test_a_gap_shows_its_reason(reason: GapReason) -> None:
    seen = await _seen(Kept([_stream(state="gap", reason=reason.value)]))
    assert f"Not listening: {live.REASONS[reason]}." in seen.text
    assert f"radio-one: Gap, {live.REASONS[reason]}." in seen.text  # what is read out
    assert "Last checked" in seen.text
    assert "Heard until" not in seen.text


async def test_a_reason_that_a_newer_writer_made_up_is_shown_as_it_is() -> None:
    seen = await _seen(Kept([_stream(state="gap", reason="solar_flare")]))
    assert "Not listening: solar flare." in seen.text


@pytest.mark.parametrize(
    ("changes", "n_workers", "state", "note"),
    [
        ({"position": None, "state": None}, 1, "Waiting", "Waiting for the first audio."),
        ({"position": 32_000}, 1, "Waiting", "No audio for several seconds."),
        ({"position": 32_000}, 0, "Not running", "Check that airtrace run , or both"),
    ],
)
async def test_a_stream_that_is_not_heard_says_so(
    changes: dict[str, object], n_workers: int, state: str, note: str
) -> None:
    seen = await _seen(Kept([_stream(**changes)], loads=[records.WorkerLoad(records.WorkerState.OK)] * n_workers))
    assert f"radio-one {state} " in seen.text
    assert note in seen.text
    assert "Listening 0 of 1 stream " in seen.text


async def test_a_machine_that_cannot_keep_up_says_so_with_the_step_that_costs_most() -> None:
    late = timeline.to_clock(stream_schemas.utc_now() - timedelta(seconds=35))
    load = records.WorkerLoad(records.WorkerState.BEHIND, 60, 41.7, "search", 0.71, 42, 35.2)
    kept = Kept([_stream(position=late, advanced_at=_now())], loads=[load])
    html = await _html(kept)
    seen = Seen(html)
    assert re.search(r"This machine cannot keep up: 1 of 1 stream is matched up to 3\d s late\. Searching", seen.text)
    assert "Searching the index takes the most time (71%). Make the search cheaper" in seen.text
    assert "radio-one Behind" in seen.text
    assert "Matched 0:35 late." in seen.text
    assert "Listening 0 of 1 stream Behind 1 of 1 " in seen.text
    unseen = Seen(html[html.index('id="heard"') : html.index('id="capacity"')]).text
    assert "Matching is behind. radio-one: Behind" in unseen, "what is read out does not change with every figure"


async def test_a_full_machine_says_so_and_one_with_room_says_nothing() -> None:
    full = records.WorkerLoad(records.WorkerState.FULL, 58, 62.4, "embed", 0.4)
    assert (
        "This machine is full: it matches 58 streams and can keep up with about 62."
        in (await _seen(Kept([_stream()], loads=[full]))).text
    )
    assert not [each for each in (await _seen(Kept([_stream()]))).all("p") if each.get("id") == "capacity"]


async def test_an_empty_home_says_what_to_do_next() -> None:
    seen = await _seen(Kept())
    assert "airtrace tracks add FILE..." in seen.text
    assert "airtrace streams add NAME URL" in seen.text
    assert "No open alerts." in seen.text
    assert "Matches appear here once" in seen.text
    assert not seen.all("table")


async def test_what_is_there_is_not_asked_for_again() -> None:
    seen = await _seen(Kept([_stream()], n_tracks=1))
    assert "airtrace tracks add" not in seen.text
    assert "airtrace streams add" not in seen.text
    assert "No catalog track has been detected yet." in seen.text


@pytest.mark.parametrize("path", ["/", "/live"])
async def test_hostile_names_are_text_and_nothing_else(path: str) -> None:
    tame, hostile = await _seen(_full(), path), await _seen(_full(HOSTILE, HOSTILE), path)
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in tame.elements]
    assert [set(attributes) for _, attributes in hostile.elements] == [
        set(attributes) for _, attributes in tame.elements
    ]
    expected = tame.text.replace("radio-one", HOSTILE).replace("Nocturne", HOSTILE)
    assert _without_times(hostile.text) == _without_times(expected)


async def test_credentials_in_a_stream_url_are_never_shown() -> None:
    url = "https://someone:hunter2@radio.example/live.mp3?token=s3cr3t"
    html = unescape(await _html(Kept([_stream(url=url)])))
    assert "radio.example" in html
    for secret in ("hunter2", "s3cr3t"):
        assert secret not in html


@pytest.mark.parametrize("kept", [Kept(), _full()], ids=["empty", "full"])
async def test_nothing_is_inline(kept: Kept) -> None:
    seen = await _seen(kept)
    assert seen.all("script")
    assert all(script.get("src") for script in seen.all("script"))
    assert not seen.inline
    for tag, attributes in seen.elements:
        assert not [name for name in attributes if name == "style" or name.startswith(("on", "hx-on"))], tag
        assert "javascript:" not in "".join(value or "" for value in attributes.values())


async def test_every_file_that_the_page_names_is_served_from_here() -> None:
    seen = await _seen(_full())
    files = [
        attributes.get("src") or attributes["href"]
        for tag, attributes in seen.elements
        if tag != "a" and (attributes.get("src") or attributes.get("href"))
    ]
    assert {file.split("?")[0].rsplit(".", 1)[1] for file in files} == {"js", "css", "svg"}
    async with _client(Kept()) as client:
        for file in files:
            assert file.startswith("/static/")
            assert (await client.get(file)).status_code == 200, file


def test_vendored_scripts_have_their_license_beside_them() -> None:
    vendored = list(STATIC.glob("htmx-*.js"))
    assert vendored
    for script in vendored:
        licence = script.with_name(script.name.removesuffix(".min.js") + ".LICENSE.txt")
        assert "Zero-Clause BSD" in licence.read_text()


def test_own_files_load_nothing_from_elsewhere() -> None:
    for file in [*STATIC.glob("live.*"), *STATIC.parent.glob("templates/*.html")]:
        assert not re.search(r"(https?:)?//[a-z]", file.read_text()), file.name


async def test_the_page_contains_what_the_partial_gives() -> None:
    kept = _full()
    page, partial = await _html(kept), await _html(kept, "/live")
    main = page[page.index("<main") : page.index("</main>")].split(">", 1)[1]
    assert _without_times(main.strip()) == _without_times(partial.strip())
    assert "<html" not in partial


def _without_times(text: str) -> str:
    """Rendered twice, a page may fall into two seconds."""
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", "", text)


async def test_the_page_asks_for_the_partial_again() -> None:
    seen = await _seen(Kept())
    main = seen.all("main")[0]
    async with _client(Kept()) as client:
        assert (await client.get(str(main["hx-get"]))).status_code == 200
    assert main["hx-trigger"] == "every 2s"
    assert {"http-equiv": "refresh", "content": "5"} in seen.all("meta")  # inside noscript


@pytest.mark.parametrize("path", ["/", "/live"])
async def test_pages_forbid_what_they_do_not_need(path: str) -> None:
    async with _client(Kept()) as client:
        headers = (await client.get(path)).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


async def test_tables_have_captions_and_regions_have_headings() -> None:
    html = await _html(_full())
    seen = Seen(html)
    assert html.count("<table") == html.count("<caption") == 2
    identities = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for tag, attributes in seen.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in identities, tag
    heard = next(attributes for _, attributes in seen.elements if attributes.get("id") == "heard")
    assert heard["aria-live"] == "polite"


async def test_what_is_read_out_stays_the_same_while_the_same_is_on_air() -> None:
    match = _match()
    later = _match(id=match.id, ends=match.ends + 64_000, track_end_s=99.5, score=0.94)
    first = await _html(Kept([_stream(position=timeline.to_clock(_now()) - 64_000)], [match]))
    second = await _html(Kept([_stream(position=timeline.to_clock(_now()))], [later]))
    assert first != second
    assert _read_out(first) == _read_out(second) == "radio-one: Listening, Nocturne by The Owls."


def _read_out(html: str) -> str:
    found = re.search(r'id="heard".*?>(.*?)</p>', html, re.DOTALL)
    assert found
    return " ".join(found[1].split())


async def test_a_database_that_does_not_answer_is_a_problem_and_no_traceback() -> None:
    async with _client(Kept(failure=DependencyError("PostgreSQL does not answer"))) as client:
        response = await client.get("/live")
    assert response.status_code == 503
    assert response.json()["detail"] == "PostgreSQL does not answer"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (-1, "0:00")]
)
def test_positions_are_minutes_and_seconds(seconds: float, text: str) -> None:
    assert live._clock(seconds) == text
