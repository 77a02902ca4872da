"""PANNs through the installed commands: model files, audio search, labels and similar matches of a station."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from monitor.demo import media
from monitor.detect.checkpoints import PANNS
from tests import panns
from tests.acceptance.command import Airtrace, until
from tests.acceptance.sound import on_air, write_wav
from tests.songs import written

pytestmark = pytest.mark.timeout(1200)  # torch is loaded several times, on a busy machine

SETTING, INPUT = 3, 1
LONG_S = 240.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """URL of a folder's files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, name="files")
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def stereo(pcm: np.ndarray) -> media.Pcm:
    """32 kHz PCM in the format of a station's program."""
    at = np.arange(round(len(pcm) / 32_000 * media.RATE_HZ)) * 32_000 / media.RATE_HZ
    sound = np.interp(at, np.arange(len(pcm)), pcm / 32768).astype(np.float32)
    return np.repeat(sound[:, None], media.CHANNELS, axis=1)


def test_models_are_listed_and_a_file_other_than_the_published_one_is_refused(
    airtrace: Airtrace, tmp_path: Path
) -> None:
    rows = {row["name"]: row for row in airtrace.json("models")["models"]}
    assert rows.keys() == {"fingerprint", "panns", "panns-16k"}
    assert rows["fingerprint"]["state"] == "valid"
    assert (rows["panns"]["state"], rows["panns"]["next"]) == ("missing", "airtrace models fetch panns")
    path = airtrace.home / "models" / PANNS.file_name
    assert rows["panns"]["file"] == str(path)

    how = airtrace("models", "fetch", "panns", "--how").out
    assert all(fact in how for fact in (PANNS.url, PANNS.md5, f"{PANNS.size_bytes:,}", str(path)))

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "any.pth").write_bytes(b"something else")
    with served(tmp_path / "site") as url:
        done = airtrace("models", "fetch", "panns", "--url", f"{url}/any.pth", exits=None)
    done.complains("14 bytes, not 327,428,481", PANNS.url, code=SETTING)
    assert not path.exists()

    path.write_bytes(b"half of it")
    listed = airtrace("models", exits=INPUT)
    assert "incomplete" in listed.out
    airtrace("models", "fetch", "panns", exits=None).complains("is not the published file", code=SETTING)


def test_without_the_checkpoint_a_search_says_what_to_do_and_everything_else_works(
    stocked: Airtrace, tmp_path: Path
) -> None:
    clip = written(tmp_path / "clip.wav", panns.tune(1, 2.0))
    stocked("similar", clip, exits=None).complains("airtrace models fetch panns", code=INPUT)
    assert stocked.json("similar") == stocked.json("sounds") == []
    assert all("panns" not in track["detectors"] for track in stocked.json("tracks", "list"))
    assert stocked.json("scan", clip)[0]["error"] is None


def test_a_station_is_labeled_and_a_similar_match_is_reviewed(
    airtrace: Airtrace, panns_checkpoint: Path, tmp_path: Path
) -> None:
    airtrace.settings = {"AIRTRACE_PANNS__CHECKPOINT": str(panns_checkpoint), "AIRTRACE_PANNS__DEVICE": "cpu"}
    tune = written(tmp_path / "tune.wav", panns.tune(41, 20.0))
    babble = written(tmp_path / "babble.wav", panns.babble(41, 10.0))
    effect = written(tmp_path / "effect.wav", panns.tune(41, 20.0)[:25_000])
    another = panns.tune(61, 40.0, root_hz=104.0, note_s=0.61)
    program = [stereo(each) for each in (panns.babble(61), another)]
    with airtrace.running() as run:
        assert "2 added" in airtrace("tracks", "add", tune, babble).out
        assert {"panns"} < set(airtrace.json("tracks", "list")[0]["detectors"])
        found = airtrace.json("similar", effect)
        assert [each["track"]["title"] for each in found["similar"]] == ["tune", "babble"]
        table = airtrace("similar", effect)
        assert "tune" in table.out
        assert "sounds like" in table.err

        until(lambda: run.events("panns.loaded"), LONG_S, lambda: run.log)
        with on_air(*program) as station:
            airtrace("streams", "add", "radio", station.url)
            until(lambda: run.get("similar"), LONG_S, lambda: run.log)
        (similar,) = airtrace.json("similar", "--review", "pending")
        assert (similar["track"]["title"], similar["severity"], similar["kind"]) == ("tune", "info", "similar")
        assert {"speech", "music"} & {each["kind"] for each in airtrace.json("sounds", "--stream", "radio")}
        airtrace("review", similar["id"], "confirmed", "--note", "a cover")
        (reviewed,) = airtrace.json("similar", "--review", "confirmed")
        assert reviewed["note"] == "a cover"
        plays = [*airtrace.json("matches"), *airtrace.json("alerts")]  # the babble may match
        assert "tune" not in {each["track"]["title"] for each in plays}
    assert not run.events("panns.off")


def test_tracks_get_their_vectors_later(airtrace: Airtrace, panns_checkpoint: Path, tmp_path: Path) -> None:
    tune = write_wav(tmp_path / "tune.wav", stereo(panns.tune(41)))
    airtrace("tracks", "add", tune)
    airtrace.settings = {"AIRTRACE_PANNS__CHECKPOINT": str(panns_checkpoint), "AIRTRACE_PANNS__DEVICE": "cpu"}
    (row,) = airtrace.json("tracks", "enroll")
    assert (row["source"], row["error"]) == (str(tune), None)
    assert "panns" in airtrace.json("tracks", "list")[0]["detectors"]
