"""PANNs' own network with a checkpoint of the true shape: the numbers of PANNs' own code, and nothing else of it."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PANNs is not installed: pip install 'airtrace[panns]'")
pytest.importorskip("torchlibrosa", reason="PANNs is not installed: pip install 'airtrace[panns]'")

from monitor.detect import panns as module  # noqa: E402
from monitor.detect.audioset import CLASSES, names, summarize  # noqa: E402
from monitor.detect.checkpoints import PANNS, PANNS_16K, Checkpoint, digests  # noqa: E402
from monitor.detect.panns import DIMENSIONS, Panns  # noqa: E402
from monitor.errors import ModelUnavailable  # noqa: E402
from tests import panns  # noqa: E402

pytestmark = pytest.mark.timeout(400)  # the checkpoint is made, and the network runs, on what is left of two cores


@pytest.fixture(autouse=True)
def no_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    def system(command: str) -> int:
        raise AssertionError(f"os.system was called: {command}")

    monkeypatch.setattr(os, "system", system)


@pytest.fixture(scope="module")
def loaded(panns_checkpoint: Path) -> Panns:
    return Panns(panns_checkpoint, PANNS, "cpu", own=True)


@pytest.fixture
def theirs(panns_checkpoint: Path) -> Iterator[object]:
    """PANNs' own AudioTagging. Its list of labels is ours, so that it has no reason to fetch one."""
    before = {name for name in sys.modules if name.startswith("panns_inference")}
    assert not before
    config = types.ModuleType("panns_inference.config")
    config.labels, config.classes_num = list(names()), CLASSES
    sys.modules["panns_inference.config"] = config
    from panns_inference.inference import AudioTagging

    yield AudioTagging(checkpoint_path=str(panns_checkpoint), device="cpu")
    for name in [name for name in sys.modules if name.startswith("panns_inference")]:
        del sys.modules[name]


def test_the_numbers_are_those_of_panns_own_audio_tagging(loaded: Panns, theirs: object) -> None:
    pieces = [panns.tune(21), panns.over(panns.tune(22), panns.babble(22))]
    clipwise, embedding = theirs.inference(np.stack(pieces).astype(np.float32) / 32768)
    ours = loaded.listen(pieces)
    assert embedding.shape == (2, DIMENSIONS)
    np.testing.assert_allclose(ours.probabilities, clipwise, atol=1e-5)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.vectors, unit, atol=1e-5)


def test_loading_and_listening_runs_no_program_and_asks_no_other_machine(
    panns_checkpoint: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patched, panns.outside() as seen:
        patched.setenv("HOME", str(home))
        Panns(panns_checkpoint, PANNS, "cpu", own=True).listen([panns.tune(1, 1.0)])
    assert seen == []
    assert list(home.iterdir()) == []  # no ~/panns_data


def test_the_check_above_would_see_a_download() -> None:
    with panns.outside() as seen, pytest.raises(AssertionError, match=r"os\.system was called"):
        os.system("wget")
    assert seen == []  # the stand-in was called, nothing ran
    import socket

    with panns.outside() as seen, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 1), timeout=1)
    assert "socket.connect" in seen


def test_what_was_loaded_of_the_package_is_not_left_for_others(loaded: Panns) -> None:
    assert not [name for name in sys.modules if name.startswith("panns_inference")]


def test_vectors_have_unit_length_and_silence_has_none(loaded: Panns) -> None:
    pieces = [panns.tune(1), np.zeros(320_000, np.int16), panns.babble(1, 0.3), np.full(40_000, 5, np.int16)]
    found = loaded.listen(pieces)
    assert found.vectors.shape == (4, DIMENSIONS)
    assert found.probabilities.shape == (4, CLASSES)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [1, 0, 1, 0], atol=1e-5)
    assert not found.probabilities[[1, 3]].any()


def test_a_piece_has_the_same_vector_in_whatever_company(loaded: Panns) -> None:
    pieces = [panns.tune(1, 3.0), panns.babble(2, 3.0), panns.hiss(3, 3.0), panns.tune(4, 3.0), panns.tune(5, 3.0)]
    together = loaded.listen([*pieces, panns.tune(6, 2.0)]).vectors
    np.testing.assert_allclose(together[4], loaded.listen([pieces[4]]).vectors[0], atol=1e-5)


def test_it_tells_the_sounds_that_it_was_taught(loaded: Panns) -> None:
    pieces = [panns.tune(31), panns.babble(31), panns.over(panns.tune(32), panns.babble(32)), panns.hiss(31)]
    kinds = [summarize(each).kind for each in loaded.listen(pieces).probabilities]
    assert kinds == ["music", "speech", "music_under_speech", "other"]


def test_a_short_effect_sounds_as_if_it_were_repeated_and_not_like_silence(loaded: Panns) -> None:
    effect = panns.tune(41, 0.25)
    short, repeated = loaded.listen([effect, np.tile(effect, 4)]).vectors
    np.testing.assert_allclose(short, repeated, atol=1e-6)


def test_nothing_to_listen_to_is_no_error(loaded: Panns) -> None:
    assert loaded.listen([]).vectors.shape == (0, DIMENSIONS)


def test_the_16_khz_checkpoint_loads_with_its_samplers_arrays(tmp_path: Path) -> None:
    """The published one has the numbers of its training's sampler in it, as NumPy arrays."""
    path = tmp_path / "16k.pth"
    sampler = {"indexes": np.arange(5), "pointers": [np.arange(3), np.arange(2)], "queue": [1, 2]}
    built = panns.network(16_000)
    torch.save({"iteration": 7, "model": built.state_dict(), "sampler": sampler}, path)
    loaded = Panns(path, PANNS_16K, "cpu", own=True)
    assert loaded.info.version == "cnn14-16k"
    sound = panns.tune(1)
    with torch.inference_mode():
        wanted = built(torch.from_numpy(loaded._sound(sound))[None], None)["embedding"][0].numpy()
    assert len(loaded._sound(sound)) == 160_000
    np.testing.assert_allclose(loaded.listen([sound]).vectors[0], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_weights_are_told_apart_by_their_checksum(loaded: Panns, panns_checkpoint: Path) -> None:
    with panns_checkpoint.open("rb") as file:
        assert digests(file).sha256.startswith(loaded.info.checksum)
    assert (loaded.info.name, loaded.info.dimensions) == ("panns", DIMENSIONS)


# Refused


def test_a_missing_checkpoint_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"airtrace models fetch panns.*zenodo.*541141fa2ee191a88f24a3219fff024e"
    ):
        Panns(tmp_path / "none.pth", PANNS)


def test_another_file_in_place_of_the_published_one_is_refused(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is not the file that was published"):
        Panns(panns_checkpoint, PANNS)


def test_the_published_file_is_taken_by_its_checksum(panns_checkpoint: Path) -> None:
    with panns_checkpoint.open("rb") as file:
        md5 = digests(file).md5
    published = Checkpoint("made", "made.pth", "https://example.org", panns_checkpoint.stat().st_size, md5, 32_000)
    assert Panns(panns_checkpoint, published, "cpu").info.name == "panns"


def test_a_truncated_checkpoint_is_refused(panns_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    with panns_checkpoint.open("rb") as file:
        path.write_bytes(file.read(1_000_000))
    with pytest.raises(ModelUnavailable, match=r"half\.pth .*delete it"):
        Panns(path, PANNS, own=True)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04nothing", pickle.dumps([1, 2], 2)])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"other\.pth"):
        Panns(path, PANNS, own=True)


class Hostile:
    """Runs a program when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("is_legacy", [False, True], ids=["zip", "legacy"])
def test_a_checkpoint_that_brings_code_along_is_refused_and_the_code_not_run(tmp_path: Path, is_legacy: bool) -> None:
    path, mark = tmp_path / "hostile.pth", tmp_path / "was here"
    torch.save({"model": Hostile(mark)}, path, _use_new_zipfile_serialization=not is_legacy)
    with pytest.raises(ModelUnavailable, match="wants to run code of its own"):
        Panns(path, PANNS, own=True)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it would have


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": torch.nn.Linear(4, 4).state_dict()}, path)
    with pytest.raises(ModelUnavailable, match="no weights of Cnn14"):
        Panns(path, PANNS, own=True)


def test_weights_for_another_rate_are_refused(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no weights of Cnn14 at 512 points"):
        Panns(panns_checkpoint, PANNS_16K, own=True)


def test_weights_that_are_no_numbers_are_refused(panns_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.pth"
    weights = torch.load(panns_checkpoint, weights_only=True)["model"]
    weights["fc1.bias"][3] = float("nan")
    torch.save({"model": weights}, path)
    with pytest.raises(ModelUnavailable, match="no numbers"):
        Panns(path, PANNS, own=True)


def test_without_its_libraries_it_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'airtrace\[panns\]'"):
        Panns(tmp_path / "any.pth", PANNS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_not_there_is_said(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="finds no GPU"):
        Panns(panns_checkpoint, PANNS, "cuda", own=True)
