"""Where PANNs is not to be had, and what is said of it then. Nothing is loaded for that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.detect import panns as module
from monitor.detect.checkpoints import PANNS
from monitor.errors import ModelUnavailable
from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService
from monitor.similarity.stream_tagger import StreamTagger


def sounds_of(home: Path, **said: Any) -> PannsService:
    return PannsService(Settings(home=home, panns=said), None, None)  # type: ignore[arg-type]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda: True)


@pytest.mark.usefixtures("installed")
def test_without_its_file_it_says_how_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    reason = sounds_of(tmp_path).unavailable_reason() or ""
    for fact in ("airtrace models fetch panns", PANNS.url, PANNS.md5, str(tmp_path / "models" / PANNS.file_name)):
        assert fact in reason
    assert "panns-16k" in (sounds_of(tmp_path, model="panns-16k").unavailable_reason() or "")


def test_without_its_libraries_it_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_installed", lambda: False)
    assert "pip install 'airtrace[panns]'" in (sounds_of(tmp_path).unavailable_reason() or "")


@pytest.mark.usefixtures("installed")
async def test_it_can_be_switched_off_though_its_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    assert sounds_of(tmp_path, checkpoint=tmp_path / "own.pth").unavailable_reason() is None
    off = sounds_of(tmp_path, checkpoint=tmp_path / "own.pth", enabled=False)
    assert not off.registers
    with pytest.raises(ModelUnavailable, match=r"panns\.enabled is off"):
        await off.loaded()


@pytest.mark.usefixtures("installed")
def test_new_tracks_get_vectors_unless_that_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    assert sounds_of(tmp_path, checkpoint=tmp_path / "own.pth").registers
    assert not sounds_of(tmp_path, checkpoint=tmp_path / "own.pth", register_tracks=False).registers


@pytest.mark.usefixtures("installed")
async def test_a_worker_that_shall_not_listen_ends_its_watch_at_once(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    settings = Settings(home=tmp_path, panns={"checkpoint": tmp_path / "own.pth", "listen": False})
    watch = StreamTagger(PannsService(settings, None, None), None, settings.panns)  # type: ignore[arg-type]
    await watch.run()
    assert not watch.is_on


def test_none_of_this_loads_torch(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path; from monitor.settings import Settings; "
        "from monitor.similarity.panns_service import PannsService; "
        f"PannsService(Settings(home=Path({str(tmp_path)!r})), None, None).unavailable_reason(); "
        "assert not {'torch', 'librosa', 'panns_inference'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
