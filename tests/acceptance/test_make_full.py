"""`make full`: every part and server is a process; what dies is restarted, and Ctrl-C leaves nothing running."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.lifecycle import EXIT_INTERRUPTED
from monitor.local import servers
from tests.acceptance.command import Airtrace, until
from tests.broker import SCRIPT

pytestmark = pytest.mark.timeout(1200)

PATIENCE_S = 240.0
STOP_S = 90.0


@pytest.fixture
def full(airtrace: Airtrace, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Its process, and the file with its output."""
    if not servers.has_milvus():
        pytest.skip("no Milvus server: pip install milvus==2.3.5")
    settings = {"AIRTRACE_FULL_HOME": str(tmp_path / "full")}
    if SCRIPT.exists() and shutil.which("java"):
        settings["AIRTRACE_FULL_KAFKA_PROGRAM"] = str(SCRIPT)
    elif named := os.environ.get("AIRTRACE_TEST_KAFKA"):
        settings["AIRTRACE_KAFKA__BOOTSTRAP"] = named
    else:
        pytest.skip("no Kafka that keeps its log: see tests/broker.py")
    said = tmp_path / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor.local.cluster"],
            env=airtrace.environment(settings),
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process, said
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_it_runs_everything_until_ctrl_c(
    airtrace: Airtrace, full: tuple[subprocess.Popen[bytes], Path], tmp_path: Path
) -> None:
    process, said = full
    until(lambda: "== ready" in said.read_text() or process.poll() is not None, PATIENCE_S, said.read_text)
    assert process.poll() is None, said.read_text()
    settings = _exported(tmp_path / "full" / "environment")
    airtrace("streams", "add", "radio", "http://127.0.0.1:9/live.mp3", **settings)
    assert [stream["name"] for stream in airtrace("streams", "list", "--json", **settings).json] == ["radio"]
    os.kill(_pid(said, "worker 1"), signal.SIGKILL)
    until(lambda: "worker 1 has exited with code -9" in said.read_text(), PATIENCE_S, said.read_text)
    until(lambda: "worker 1 is running again" in said.read_text(), PATIENCE_S, said.read_text)
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_S) == EXIT_INTERRUPTED, said.read_text()
    assert "Traceback" not in said.read_text()
    assert airtrace.left() == []


def _pid(said: Path, name: str) -> int:
    found = re.search(rf"{name}: process (\d+)", said.read_text())
    assert found
    return int(found[1])


def _exported(file: Path) -> dict[str, str]:
    """The variables of a shell that reads the file, which only its owner may read."""
    assert file.stat().st_mode & 0o077 == 0
    pairs = (line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
    return {name: value.strip("'") for name, value in pairs}
