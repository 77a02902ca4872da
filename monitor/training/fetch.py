"""Downloads and unpacks the corpus's packages with apt-get and dpkg-deb. Needs no root and installs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import structlog

from monitor.demo.apt import Apt, NotAvailable
from monitor.demo.processes import run
from monitor.training.errors import TrainingError

log = structlog.get_logger(__name__)


async def fetch(packages: Sequence[str], unpacked: Path) -> None:
    """Downloads every package that has no folder in `unpacked` yet. Packages that Debian no longer has are skipped.

    Raises:
        TrainingError: a package cannot be unpacked.
        DemoError: there is no apt-get, or a download fails.
    """
    unpacked.mkdir(parents=True, exist_ok=True)
    apt = Apt(unpacked / ".apt")
    for n, package in enumerate(packages, start=1):
        target, part = unpacked / package, unpacked / f".new-{package}"
        if target.is_dir():
            continue
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            archive = await apt.download(package, part)
        except NotAvailable:
            log.warning("corpus.not_available", package=package)
            shutil.rmtree(part)
            continue
        done = await run(["dpkg-deb", "-x", str(archive), str(part)])
        if done.status:
            raise TrainingError(f"{package} cannot be unpacked ({done.err.strip()}): is the disk full?")
        archive.unlink()
        part.rename(target)
        log.info("corpus.fetched", package=package, n=n, of=len(packages))
