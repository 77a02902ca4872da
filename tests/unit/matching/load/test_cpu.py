"""The machine's CPU time in use, from a file like /proc/stat."""

from pathlib import Path

import pytest

from monitor.matching.load.cpu import CpuMeter


def _stat(path: Path, user: int, idle: int, iowait: int = 0) -> Path:
    path.write_text(f"cpu  {user} 0 0 {idle} {iowait} 0 0 0 5 5\ncpu0 1 2 3 4\n")
    return path


def test_the_share_is_of_the_time_since_the_last_call(tmp_path: Path) -> None:
    stat = _stat(tmp_path / "stat", 1000, 1000)
    meter = CpuMeter(stat)
    _stat(stat, 1030, 1060, 10)
    assert meter.share() == pytest.approx(0.3)
    _stat(stat, 1130, 1060, 10)
    assert meter.share() == pytest.approx(1)
    assert meter.share() is None, "no time has passed"


def test_a_system_without_proc_has_no_figure(tmp_path: Path) -> None:
    assert CpuMeter(tmp_path / "stat").share() is None
