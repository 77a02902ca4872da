"""Without its file or its libraries, PANNs is unavailable and says what to do. Nothing is loaded for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.detect.checkpoints import PANNS
from monitor.errors import ModelUnavailable
from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService


def a_service(home: Path, *, installed: bool = True, **panns_settings: Any) -> PannsService:
    """A service without a database and an index."""
    settings = Settings(home=home, panns=panns_settings)
    return PannsService(settings, None, None, libraries_installed=lambda: installed)  # type: ignore[arg-type]


def test_without_its_file_it_says_how_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    reason = a_service(tmp_path).unavailable_reason() or ""
    for fact in ("airtrace models fetch panns", PANNS.url, PANNS.md5, str(tmp_path / "models" / PANNS.file_name)):
        assert fact in reason
    assert "panns-16k" in (a_service(tmp_path, model="panns-16k").unavailable_reason() or "")


def test_without_its_libraries_it_says_how_to_install_them(tmp_path: Path) -> None:
    assert "pip install 'airtrace[panns]'" in (a_service(tmp_path, installed=False).unavailable_reason() or "")


async def test_it_can_be_turned_off_although_its_file_exists(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    assert a_service(tmp_path, checkpoint=tmp_path / "own.pth").unavailable_reason() is None
    off = a_service(tmp_path, checkpoint=tmp_path / "own.pth", enabled=False)
    assert not off.enrolls_new_tracks
    with pytest.raises(ModelUnavailable, match=r"panns\.enabled is off"):
        await off.loaded()


def test_new_tracks_are_enrolled_unless_the_settings_leave_that_for_later(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    assert a_service(tmp_path, checkpoint=tmp_path / "own.pth").enrolls_new_tracks
    assert not a_service(tmp_path, checkpoint=tmp_path / "own.pth", register_tracks=False).enrolls_new_tracks


def test_none_of_this_loads_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from monitor.settings import Settings; "
        "from monitor.similarity.panns_service import PannsService; "
        f"PannsService(Settings(home=Path({str(tmp_path)!r})), None, None).unavailable_reason(); "
        "assert not {'torch', 'librosa', 'panns_inference'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
