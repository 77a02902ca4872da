"""Runs another program to its end. If the caller is cancelled, the program is killed."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """The exit status and the output of a program."""

    status: int
    out: bytes
    err: str


async def run(arguments: Sequence[str], *, given: bytes | None = None, folder: Path | None = None) -> Finished:
    """Runs a program in `folder` with `given` on its standard input, and with messages in English."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=DEVNULL if given is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,  # Ctrl-C reaches the demo, which kills the program
    )
    try:
        out, err = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None  # noqa: S101 - communicate() has waited for it
    return Finished(process.returncode, out, err.decode(errors="replace"))
