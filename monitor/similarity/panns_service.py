"""PANNs for one process: the network and the index of its vectors, loaded on first use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from monitor import metrics
from monitor.detect.checkpoints import CHECKPOINTS, Checkpoint
from monitor.detect.detector import DetectorInfo
from monitor.detect.panns import Panns, PannsOutput, is_installed, unavailable_reason
from monitor.errors import ModelUnavailable
from monitor.settings import Settings
from monitor.similarity.panns_index_sync import PannsIndexSync
from monitor.similarity.passages import Pcm
from monitor.storage.milvus import Index
from monitor.storage.storage import Storage

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedPanns:
    """The network, and the index of its vectors in sync with the stored ones."""

    panns: Panns
    index: Index
    index_sync: PannsIndexSync

    @property
    def info(self) -> DetectorInfo:
        """The model of the network."""
        return self.panns.info


class PannsService:
    """PANNs for one process. The network runs in its own thread, one batch after another."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        index: Index,
        *,
        published: Checkpoint | None = None,
        load_network: Callable[..., Panns] = Panns,
        libraries_installed: Callable[[], bool] = is_installed,
    ) -> None:
        """Loads nothing yet.

        Args:
            settings: `panns` and `home` are used.
            storage: the tables.
            index: the index of the fingerprints; PANNs has a collection beside it.
            published: the checkpoint to use, if not the one that the settings name.
            load_network: called as `Panns` is.
            libraries_installed: whether torch and panns-inference are installed.
        """
        self._settings = settings.panns
        self._published = published or CHECKPOINTS[self._settings.model]
        self._path = self._settings.checkpoint or self._published.within(settings.home)
        self._storage = storage
        self._index = index
        self._load_network = load_network
        self._libraries_installed = libraries_installed
        self._loading = asyncio.Lock()
        self._loaded: LoadedPanns | None = None
        self._refused: ModelUnavailable | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="panns")

    def unavailable_reason(self) -> str | None:
        """Why PANNs is unavailable, as far as is known without loading it; None if nothing is obviously missing."""
        if not self._settings.enabled:
            return "panns.enabled is off"
        if self._refused is not None:
            return str(self._refused)
        return unavailable_reason(self._published, self._path, self._libraries_installed)

    @property
    def enrolls_new_tracks(self) -> bool:
        """Whether new tracks get PANNs vectors when they are registered."""
        return self._settings.register_tracks and self.unavailable_reason() is None

    @property
    def loaded_now(self) -> LoadedPanns | None:
        """The network and its index if they are loaded; never loads them."""
        return self._loaded

    async def loaded(self) -> LoadedPanns:
        """The network and its index, loaded by the first call.

        Raises:
            ModelUnavailable: PANNs is unavailable; the message says why, and what to do.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        async with self._loading:
            if self._loaded is None:
                if (reason := self.unavailable_reason()) is not None:
                    raise ModelUnavailable(f"PANNs is unavailable: {reason}")
                self._loaded = await self._load()
            return self._loaded

    async def listen(self, pieces: Sequence[Pcm]) -> PannsOutput:
        """Runs the network on pieces of audio, int16 of shape (n_samples,), 32 kHz mono.

        Raises:
            ModelUnavailable: PANNs is unavailable.
            DependencyError: PostgreSQL or Milvus is unreachable.
        """
        panns = (await self.loaded()).panns
        with metrics.PANNS_SECONDS.time():
            return await asyncio.get_running_loop().run_in_executor(self._thread, panns.listen, pieces)

    async def close(self) -> None:
        """Ends the thread after its current batch."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _load(self) -> LoadedPanns:
        settings = self._settings
        own = settings.checkpoint is not None
        try:
            panns = await asyncio.get_running_loop().run_in_executor(
                self._thread,
                lambda: self._load_network(
                    self._path, self._published, settings.device, own=own, threads=settings.threads
                ),
            )
        except ModelUnavailable as error:
            self._refused = error  # not tried again, because reading 300 MB takes time
            raise
        index = self._index.for_model(panns.info)
        index_sync = PannsIndexSync(self._storage, index, panns.info)
        await index_sync.open()
        log.info("panns.loaded", model=f"{panns.info.version}/{panns.info.checksum}", device=panns.device)
        return LoadedPanns(panns, index, index_sync)


@asynccontextmanager
async def open_panns(
    settings: Settings, storage: Storage, index: Index, *, load_network: Callable[..., Panns] = Panns
) -> AsyncIterator[PannsService]:
    """PANNs, closed at the end. Nothing is loaded yet."""
    panns = PannsService(settings, storage, index, load_network=load_network)
    try:
        yield panns
    finally:
        await panns.close()
