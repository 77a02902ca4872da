"""Whatever goes wrong, the installed command reports it in one clear line and an exit code, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import COMMAND_S, CONTROL, Airtrace, Running
from tests.acceptance.sound import excerpt, on_air, silence, stalling, web_page, write_wav

ENDING_S = 90.0
USAGE, CONFIGURATION, DEPENDENCY, INPUT = 2, 3, 4, 1


# Files


@pytest.fixture
def bad(tmp_path: Path, catalog: tuple[Recording, ...]) -> dict[str, Path]:
    """Files that cannot become tracks, by the reason that is reported."""
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "empty.ogg").touch()
    (folder / "letter.wav").write_text("Dear radio, please play my song.")
    (folder / "page.mp3").write_text("<!doctype html><title>404 Not Found</title>")
    (folder / "stub.ogg").write_bytes(catalog[0].path.read_bytes()[:3000])
    write_wav(folder / "short.wav", excerpt(catalog[0], 5, 0.4))
    write_wav(folder / "silent.wav", silence(4))
    return {path.stem: path for path in folder.iterdir()}


REASONS = {
    "empty": ("empty", "the file is empty"),
    "letter": ("not_audio", "no readable audio"),
    "page": ("not_audio", "no readable audio"),
    "stub": ("not_audio", "no readable audio"),
    "short": ("too_short", "at least 1 s is needed"),
    "silent": ("silent", "nothing but silence"),
}


def test_a_bad_file_is_reported_in_one_line_with_its_reason(stocked: Airtrace, bad: dict[str, Path]) -> None:
    with stocked.running():
        before = stocked.json("tracks", "list")
        for name, (_, words) in REASONS.items():
            done = stocked("tracks", "add", bad[name], exits=None)
            done.complains(str(bad[name]), words, code=INPUT)
            assert done.out == "0 added, 0 already known, 1 failed\n"
        rows = stocked("tracks", "add", *bad.values(), "--json", exits=INPUT).json
        assert {Path(row["file"]).stem: row["reason"] for row in rows} == {n: r for n, (r, _) in REASONS.items()}
        assert {(row["status"], row["track"]) for row in rows} == {("failed", None)}

        scanned = stocked("scan", *bad.values(), exits=INPUT)
        *lines, last = scanned.err.splitlines()
        assert (len(lines), last) == (len(bad), "no track of the catalog was recognized")
        assert sum(line.startswith("airtrace: ") for line in lines) == len(bad) - 1, "silence can be scanned"
        assert stocked.json("tracks", "list") == before


def test_the_rest_of_a_truncated_file_is_used(stocked: Airtrace, unknown: Recording, tmp_path: Path) -> None:
    whole = unknown.path.read_bytes()
    torn = tmp_path / f"torn{unknown.path.suffix}"
    torn.write_bytes(whole[: len(whole) // 2])
    assert stocked("tracks", "add", torn).out == "1 added, 0 already known, 0 failed\n"
    (track,) = stocked.json("tracks", "list", "torn")
    assert 5 < track["duration_s"] < unknown.duration_s - 5


def test_the_good_files_of_a_directory_with_bad_ones_are_added(
    airtrace: Airtrace, bad: dict[str, Path], catalog: tuple[Recording, ...]
) -> None:
    folder = bad["empty"].parent
    (folder / "deeper").mkdir()
    for track in catalog[:2]:
        shutil.copy(track.path, folder / "deeper")
    done = airtrace("tracks", "add", folder, exits=INPUT)
    assert done.out == "2 added, 0 already known, 6 failed\n"
    failed = [line for line in done.err.splitlines() if line.startswith("airtrace: ")]
    assert len(failed) == 6
    assert all(any(str(path) in line for line in failed) for path in bad.values())
    assert len(done.err.splitlines()) == 8

    again = airtrace("tracks", "add", folder, "--json", exits=INPUT)
    assert again.err == ""
    assert sorted(row["status"] for row in again.json) == ["failed"] * 6 + ["known"] * 2
    assert len(airtrace.json("tracks", "list")) == 2


def test_the_same_file_twice_is_one_track(airtrace: Airtrace, unknown: Recording, tmp_path: Path) -> None:
    copy = tmp_path / "under another name.ogg"
    shutil.copy(unknown.path, copy)
    with airtrace.running():
        done = airtrace("tracks", "add", unknown.path, copy, unknown.path)
        assert done.out == "1 added, 1 already known, 0 failed\n"
        assert airtrace("tracks", "add", copy).out == "0 added, 1 already known, 0 failed\n"
        assert len(airtrace.json("tracks", "list")) == 1


def test_a_missing_path_is_reported_and_the_others_are_added(
    airtrace: Airtrace, unknown: Recording, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.ogg"
    airtrace("tracks", "add", missing, exits=None).complains(str(missing), "no such file", code=INPUT)
    done = airtrace("tracks", "add", missing, unknown.path, exits=INPUT)
    assert done.out == "1 added, 0 already known, 1 failed\n"
    (tmp_path / "nothing").mkdir()
    airtrace("tracks", "add", tmp_path / "nothing", exits=None).complains("no audio files", code=INPUT)
    scanned = airtrace("scan", missing, unknown.path, "--json", exits=INPUT).json
    assert [bool(row["error"]) for row in scanned] == [True, False]


def test_names_that_are_not_unicode_or_hold_control_codes_do_no_harm(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    names = [b"caf\xe9.ogg", b"\x1b[31mred[bold].ogg", b"two\nlines.ogg"]
    paths = [Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)) for name in names]
    for path, track in zip(paths, catalog, strict=False):
        shutil.copy(track.path, path)
    with airtrace.running():
        for command in (("tracks", "add"), ("scan",)):
            done = airtrace(*command, *paths)
            assert len(done.err.splitlines()) == 3
            assert not CONTROL.search(done.out + done.err)
            assert len(airtrace.json(*command, *paths)) == 3
        assert "red[bold]" in airtrace("tracks", "list").out


# Streams


def test_broken_streams_are_gaps_with_their_reasons_beside_a_good_one(
    stocked: Airtrace, catalog: tuple[Recording, ...]
) -> None:
    music = excerpt(catalog[0], 0, 55)
    with (
        on_air(music, music) as good,
        on_air(excerpt(catalog[1], 5, 6)) as ending,
        stalling(
            excerpt(catalog[2], 5, 2)
        ) as stalled,  # shorter than the stall: the burst must not cover the whole gap
        web_page() as page,
        stocked.running() as run,
    ):
        refused = f"http://127.0.0.1:{_closed_port()}/"
        urls = {"good": good.url, "ending": ending.url, "stalled": stalled, "page": page, "refused": refused}
        for name, url in urls.items():
            stocked("streams", "add", name, url)
        reasons = {"ending": "ended", "stalled": "stalled", "page": "not_audio", "refused": "connecting"}
        run.wait_for(lambda: all(reason in _reasons(run, name) for name, reason in reasons.items()))
        run.wait_for(lambda: run.get("matches", stream="good"))
        assert _reasons(run, "good") <= {"connecting"}
        assert _reasons(run, "page") <= {"connecting", "not_audio"}
        assert "stalled" in stocked("coverage", "--stream", "stalled").out
        for name in urls:
            _assert_seamless(run.get("coverage", stream=name))


def test_a_url_scheme_that_is_not_supported_is_refused(stocked: Airtrace, tmp_path: Path) -> None:
    with stocked.running():
        for url in ("ftp://radio.example/a.mp3", "file:///etc/passwd", "/etc/passwd", "concat:a|b", "pipe:0"):
            stocked("streams", "add", "radio", url, exits=None).complains("https", code=INPUT)
        for url in ("http://", "http://radio.example:99999/", "http://radio.example:0/"):
            stocked("streams", "add", "radio", url, exits=None).complains("the URL", code=INPUT)
        for name in ("", "a/b", "two\nlines", "x" * 101):
            line = stocked("streams", "add", name, "http://127.0.0.1/", exits=None).complains("name", code=INPUT)
            assert "pattern" not in line
        assert stocked.json("streams", "list") == []


# Homes and settings


def test_an_unusable_home_is_reported_in_one_line(airtrace: Airtrace, tmp_path: Path) -> None:
    airtrace("tracks", "list")
    file = tmp_path / "file"
    file.write_text("not a directory")
    newer, damaged = tmp_path / "newer", tmp_path / "damaged"
    for folder, content in {newer: '{"layout": 99}', damaged: '{"layo'}.items():
        folder.mkdir()
        (folder / "home.json").write_text(content)
    unusable = {file: "AIRTRACE_HOME", _unwritable(tmp_path): "AIRTRACE_HOME", newer: "upgrade", damaged: "restore it"}
    for home, words in unusable.items():
        for command in (("run", "--port", "0"), ("--home", home, "matches")):
            airtrace(*command, exits=None, AIRTRACE_HOME=str(home)).complains(words, str(home), code=CONFIGURATION)
    assert file.read_text() == "not a directory"
    assert (damaged / "home.json").read_text() == '{"layo'


def test_a_second_run_reports_which_process_uses_the_home_and_the_first_continues(stocked: Airtrace) -> None:
    with stocked.running() as run:
        second = stocked("run", "--port", "0", exits=None)
        second.complains("airtrace run", str(run.process.pid), str(stocked.home), "stop it", code=DEPENDENCY)
        assert len(stocked.json("tracks", "list")) == 5


def test_a_port_in_use_is_reported(stocked: Airtrace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stocked("run", "--port", port, exits=None).complains(str(port), "--port", code=DEPENDENCY)
    assert not (stocked.home / "run.json").exists()


def test_an_invalid_setting_is_named(airtrace: Airtrace, tmp_path: Path) -> None:
    yaml = tmp_path / "airtrace.yaml"
    yaml.write_text("api:\n  prot: 80\n")
    for name, value, words in (
        ("AIRTRACE_INGEST__WINDOW", "2", "AIRTRACE_INGEST__WINDOW is not a setting"),
        ("AIRTRACE_API__PORT", "99999", "api.port"),
        ("AIRTRACE_LOG__LEVEL", "loud", "log.level"),
        ("AIRTRACE_CONFIG", str(tmp_path / "missing.yaml"), "is not a file"),
        ("AIRTRACE_CONFIG", str(yaml), "api.prot"),
    ):
        airtrace("tracks", "list", exits=None, **{name: value}).complains(words, code=CONFIGURATION)
    assert not airtrace.home.exists()


def test_an_empty_variable_counts_as_unset(airtrace: Airtrace) -> None:
    data = airtrace.folder / "data"
    airtrace("tracks", "list", AIRTRACE_HOME="", XDG_DATA_HOME=str(data), HOME=str(airtrace.folder))
    assert not (airtrace.folder / "home.json").exists(), "the current directory became the home"
    assert list(airtrace.folder.rglob("home.json"))


def test_wrong_usage_is_one_line_that_points_to_the_help(airtrace: Airtrace) -> None:
    for arguments, words in {
        ("strams",): "Did you mean",
        ("tracks", "add"): "airtrace tracks add --help",
        ("tracks", "delete", "first"): "ID",
        ("matches", "--state", "ended"): "--state",
        ("matches", "--limit", "0"): "--limit",
        ("matches", "--color"): "--color",
    }.items():
        airtrace(*arguments, exits=None).complains(words, code=USAGE)
    assert "Usage: airtrace" in airtrace("--help").out
    assert not airtrace.home.exists()


def test_unreachable_servers_are_named_without_their_passwords(airtrace: Airtrace) -> None:
    dsn = f"postgresql://airtrace:secret@127.0.0.1:{_closed_port()}/airtrace"
    milvus, kafka = f"http://127.0.0.1:{_closed_port()}", f"127.0.0.1:{_closed_port()}"
    line = airtrace("matches", exits=None, AIRTRACE_DATABASE__DSN=dsn).complains("PostgreSQL", code=DEPENDENCY)
    assert "secret" not in line
    airtrace("matches", exits=None, AIRTRACE_MILVUS__URI=milvus).complains("Milvus", milvus, code=DEPENDENCY)
    done = airtrace("run", "--port", "0", exits=DEPENDENCY, AIRTRACE_KAFKA__BOOTSTRAP=kafka)
    assert done.err.splitlines()[-1].startswith(f"airtrace: Kafka at {kafka} cannot be reached")
    for command in ("ingest", "worker", "api"):
        airtrace(command, exits=None).complains(f"`airtrace {command}` needs AIRTRACE_", code=CONFIGURATION)


# Crashes


def test_a_killed_monitor_continues_where_it_was(stocked: Airtrace, catalog: tuple[Recording, ...]) -> None:
    length_s = 55.0
    music = excerpt(catalog[0], 0, length_s)
    with on_air(music, music) as station:
        with stocked.running() as killed:
            stocked("streams", "add", "radio", station.url)
            killed.wait_for(lambda: killed.get("matches", state="open"))
            killed.kill()
            assert [line for line in stocked.left() if "postgres" in line], "its PostgreSQL was to be an orphan"
        # The file that says where it serves is still there.
        assert (stocked.home / "run.json").exists()
        with stocked.running() as run:
            assert run.events("postgres.orphan_stopped")
            run.wait_for(lambda: "not_running" in _reasons(run, "radio"))
            run.wait_for(lambda: _newest_is_covered(run))
            found = run.wait_for(lambda: run.get("matches", state="open"))
            _assert_seamless(run.get("coverage", stream="radio"))
    matches = stocked.json("matches")
    assert {match["id"] for match in found} <= {match["id"] for match in matches}
    assert {match["track"]["source"] for match in matches} == {str(catalog[0].path)}
    for one, other in combinations(matches, 2):
        assert one["end"] <= other["start"] or other["end"] <= one["start"], "one play is reported twice"
    assert len(stocked.json("alerts")) == len(matches)
    assert stocked.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_registration_keeps_what_it_has_added(
    airtrace: Airtrace, catalog: tuple[Recording, ...], unknown: Recording, number: int
) -> None:
    copies = [airtrace.folder / f"{n}.ogg" for n in range(60)]
    for n, copy in enumerate(copies):  # different sounds, so that there is work for a while
        copy.write_bytes(unknown.path.read_bytes()[: 200_000 + 5_000 * n])
    paths = [*(track.path for track in catalog), *copies]
    broken = airtrace.start("tracks", "add", *paths)
    broken.wait_for(lambda: f"2/{len(paths)} added" in broken.log)
    os.killpg(broken.process.pid, number)
    code = broken.process.wait(ENDING_S)
    if number == signal.SIGINT:
        assert code == 128 + number
        assert broken.log.splitlines()[-1] == "airtrace: interrupted"
        assert airtrace.left() == []
    with airtrace.running() as run:
        kept = run.get("tracks")
        assert len(kept) >= 2
        done = airtrace("tracks", "add", *paths)
        assert int(done.out.split(" added, ")[1].split()[0]) >= len(kept)
        assert len(run.get("tracks")) == len(paths)
        clip = write_wav(airtrace.folder / "clip.wav", *(excerpt(track, 20, 8) for track in catalog))
        (scanned,) = airtrace.json("scan", clip)
    assert {match["track"]["source"] for match in scanned["matches"]} == {str(track.path) for track in catalog}


def test_simultaneous_commands_wait_for_one_another(stocked: Airtrace) -> None:
    with stocked.running() as run:
        run.kill()  # the file that says where it serves is left behind, and is wrong
    commands = [stocked.start("tracks", "list", "--json") for _ in range(2)]
    for command in commands:
        assert command.process.wait(COMMAND_S) == 0, command.log
        assert len(json.loads(command.out)) == 5


def test_a_command_whose_monitor_is_killed_reports_it(stocked: Airtrace, unknown: Recording) -> None:
    copies = [stocked.folder / f"{n}.ogg" for n in range(30)]
    for n, copy in enumerate(copies):  # different sounds, so that there is work for a while
        copy.write_bytes(unknown.path.read_bytes()[: 200_000 + 5_000 * n])
    with stocked.running() as run:
        adding = stocked.start("tracks", "add", *copies)
        adding.wait_for(lambda: "1/30 added" in adding.log)
        run.kill()
        assert adding.process.wait(ENDING_S) == DEPENDENCY
    last = adding.log.splitlines()[-1]
    assert last.startswith("airtrace: the running airtrace does not answer")
    assert "Traceback" not in adding.log
    assert len(stocked.json("tracks", "list")) >= 6


def _reasons(run: Running, stream: str) -> set[str]:
    return {row["reason"] for row in run.get("coverage", stream=stream) if row["state"] == "gap"}


def _newest_is_covered(run: Running) -> bool:
    rows: list[dict[str, Any]] = run.get("coverage", stream="radio")
    return rows[0]["state"] == "covered"


def _assert_seamless(rows: list[dict[str, Any]]) -> None:
    """Every moment is covered or in a gap with a reason, exactly once; the newest comes first."""
    assert rows
    for later, earlier in pairwise(rows):
        assert later["start"] == earlier["end"]
    assert all((row["reason"] is None) == (row["state"] == "covered") for row in rows)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _unwritable(folder: Path) -> Path:
    """A home that cannot be created, not even by root."""
    if os.geteuid() == 0:
        return Path("/proc/airtrace")
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    return locked / "home"
