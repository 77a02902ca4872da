"""Downloads Debian packages without root privileges and without changing the system's package state."""

from __future__ import annotations

import shutil
from pathlib import Path

from monitor.demo.errors import DemoError
from monitor.demo.processes import Finished, run

OWN_MUSIC = "use your own music, MUSIC=dir make demo"
AGAIN = f"check the network and run it again, or {OWN_MUSIC}"
LISTS_LACKING = ("Unable to locate package", "no installation candidate", "Can't find a source", "404  Not Found")
RETRY = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20")


class NotAvailable(Exception):
    """This distribution has no such package, by up-to-date package lists."""


class Apt:
    """apt-get with its own cache, and with its own package lists if those of the system lack a package."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._own_lists = False

    async def download(self, package: str, folder: Path) -> Path:
        """Downloads a package into `folder` and returns the path of its archive.

        Raises:
            DemoError: this is not Debian or Ubuntu, or the package cannot be downloaded.
            NotAvailable: this distribution has no such package.
        """
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise DemoError(f"the demo's music comes in Debian packages, and this machine has no apt-get: {OWN_MUSIC}")
        done = await self._apt_get("download", package, folder=folder)
        if done.status and not self._own_lists and any(sign in done.err for sign in LISTS_LACKING):
            await self._update(folder)
            done = await self._apt_get("download", package, folder=folder)
        if done.status and any(sign in done.err for sign in LISTS_LACKING[:3]):
            raise NotAvailable(package)
        if done.status or not (archives := list(folder.glob(f"{package}_*.deb"))):
            raise DemoError(f"{package} cannot be downloaded ({_reason(done)}): {AGAIN}")
        return archives[0]

    async def _update(self, folder: Path) -> None:
        self._own_lists = True
        done = await self._apt_get("update", folder=folder)
        if done.status:
            raise DemoError(f"the package lists cannot be downloaded ({_reason(done)}): {AGAIN}")

    async def _apt_get(self, *command: str, folder: Path) -> Finished:
        cache, lists = self._state / "cache", self._state / "lists"
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        own = ["-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User=", "-o", "APT::Update::Error-Mode=any"]
        if self._own_lists:
            own += ["-o", f"Dir::State::Lists={lists}"]
        return await run(["apt-get", "-q", *own, *RETRY, *command], folder=folder)


def _reason(done: Finished) -> str:
    errors = [line.removeprefix("E:").strip() for line in done.err.splitlines() if line.startswith("E:")]
    return errors[0] if errors else f"apt-get ended with {done.status}"
