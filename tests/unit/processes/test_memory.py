"""A process limits glibc's arenas, unless the user has set them, and exempts what it has loaded from collections."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from monitor.processes.memory import freeze

LIMIT = "from monitor.processes.memory import limit_arenas; print(limit_arenas())"


def _printed(**environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", LIMIT], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_arenas_are_limited_unless_the_user_has_limited_them() -> None:
    assert _printed() in {"True", "False"}  # False with a C library other than glibc
    assert _printed(MALLOC_ARENA_MAX="4") == "False"


def test_what_is_loaded_at_the_start_is_exempt_from_collections() -> None:
    try:
        freeze()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
