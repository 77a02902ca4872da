"""A tagger that has nothing to do ends at once."""

from __future__ import annotations

from pathlib import Path

from monitor.settings import Settings
from monitor.similarity.panns_service import PannsService
from monitor.similarity.search import SimilaritySearch
from monitor.similarity.stream_tagger import StreamTagger


async def test_a_worker_that_must_not_listen_ends_its_tagger_at_once(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    settings = Settings(home=tmp_path, panns={"checkpoint": tmp_path / "own.pth", "listen": False})
    panns = PannsService(settings, None, None, libraries_installed=lambda: True)  # type: ignore[arg-type]
    search = SimilaritySearch(panns, None)  # type: ignore[arg-type]
    tagger = StreamTagger(panns, search, None, settings.panns)  # type: ignore[arg-type]
    await tagger.run()
    assert not tagger.is_on
