"""What the processes of one test run share: the first that needs it makes it, and the last that used it ends it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

Running = Callable[[Path], AbstractContextManager[dict[str, Any]]]

_servers = ExitStack()


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the whole run: pytest-xdist gives each of its workers a folder inside it."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """A file or folder that `make` writes to the path it is given. Nothing changes it afterward."""
    with FileLock(f"{path}.lock"):
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.unfinished")
            make(unfinished)
            unfinished.rename(path)
    return path


def server(
    folder: Path, name: str, running: Callable[[Path], AbstractContextManager[dict[str, Any]]]
) -> dict[str, Any]:
    """What `running` yields, which must be JSON; the server runs until `stop_servers` of all processes that use it.

    `running` gets a folder for the server's files. It is entered in one process only.
    """
    return _servers.enter_context(_server(folder, name, running))


@contextmanager
def _server(folder: Path, name: str, running: Running) -> Iterator[dict[str, Any]]:
    facts_file = folder / f"{name}.json"
    with (folder / f"{name}.users").open("w") as users, ExitStack() as stack:
        with FileLock(folder / f"{name}.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            is_ours = not facts_file.exists()
            if is_ours:
                data = folder / name
                data.mkdir(exist_ok=True)
                facts_file.write_text(json.dumps(stack.enter_context(running(data))))
            facts = json.loads(facts_file.read_text())
        yield facts
        fcntl.flock(users, fcntl.LOCK_UN)
        if is_ours:
            fcntl.flock(users, fcntl.LOCK_EX)  # until no other process uses it; a later one waits, and starts another
            facts_file.unlink()
            stack.close()


def stop_servers() -> None:
    """Stops this process's servers, each once no other process uses it."""
    _servers.close()
