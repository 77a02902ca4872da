"""PANNs with a made-up checkpoint of the real shape: same numbers as PANNs' own code, which otherwise never runs."""

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

from monitor.detect.audioset import CLASSES, names, summarize  # noqa: E402
from monitor.detect.checkpoints import PANNS, PANNS_16K, Checkpoint, digests  # noqa: E402
from monitor.detect.panns import DIMENSIONS, Panns  # noqa: E402
from monitor.errors import ModelUnavailable  # noqa: E402
from tests import panns  # noqa: E402

pytestmark = pytest.mark.timeout(400)  # making the checkpoint and running the network is slow on two busy cores


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
    """PANNs' own AudioTagging, with our list of labels, so that it does not download one."""
    before = {name for name in sys.modules if name.startswith("panns_inference")}
    assert not before
    config = types.ModuleType("panns_inference.config")
    config.labels, config.classes_num = list(names()), CLASSES
    sys.modules["panns_inference.config"] = config
    from panns_inference.inference import AudioTagging

    yield AudioTagging(checkpoint_path=str(panns_checkpoint), device="cpu")
    for name in [name for name in sys.modules if name.startswith("panns_inference")]:
        del sys.modules[name]


def test_the_outputs_equal_those_of_panns_own_audio_tagging(loaded: Panns, theirs: object) -> None:
    pieces = [panns.tune(21), panns.over(panns.tune(22), panns.babble(22))]
    clipwise, embedding = theirs.inference(np.stack(pieces).astype(np.float32) / 32768)
    ours = loaded.listen(pieces)
    assert embedding.shape == (2, DIMENSIONS)
    np.testing.assert_allclose(ours.probabilities, clipwise, atol=1e-5)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.vectors, unit, atol=1e-5)


def test_loading_and_evaluating_runs_no_program_and_opens_no_connection(panns_checkpoint: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patched, panns.outside() as seen:
        patched.setenv("HOME", str(home))
        Panns(panns_checkpoint, PANNS, "cpu", own=True).listen([panns.tune(1, 1.0)])
    assert seen == []
    assert list(home.iterdir()) == []  # no ~/panns_data


def test_the_check_above_would_detect_a_download() -> None:
    with panns.outside() as seen, pytest.raises(AssertionError, match=r"os\.system was called"):
        os.system("wget")
    assert seen == []  # the stand-in was called, nothing ran
    import socket

    with panns.outside() as seen, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 1), timeout=1)
    assert "socket.connect" in seen


def test_the_stubbed_package_does_not_stay_in_sys_modules(loaded: Panns) -> None:
    assert not [name for name in sys.modules if name.startswith("panns_inference")]


def test_vectors_have_unit_length_and_those_of_silence_are_zero(loaded: Panns) -> None:
    pieces = [panns.tune(1), np.zeros(320_000, np.int16), panns.babble(1, 0.3), np.full(40_000, 5, np.int16)]
    found = loaded.listen(pieces)
    assert found.vectors.shape == (4, DIMENSIONS)
    assert found.probabilities.shape == (4, CLASSES)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), [1, 0, 1, 0], atol=1e-5)
    assert not found.probabilities[[1, 3]].any()


def test_the_vector_of_a_piece_does_not_depend_on_its_batch(loaded: Panns) -> None:
    pieces = [panns.tune(1, 3.0), panns.babble(2, 3.0), panns.hiss(3, 3.0), panns.tune(4, 3.0), panns.tune(5, 3.0)]
    together = loaded.listen([*pieces, panns.tune(6, 2.0)]).vectors
    np.testing.assert_allclose(together[4], loaded.listen([pieces[4]]).vectors[0], atol=1e-5)


def test_the_trained_sounds_are_recognized(loaded: Panns) -> None:
    pieces = [panns.tune(31), panns.babble(31), panns.over(panns.tune(32), panns.babble(32)), panns.hiss(31)]
    kinds = [summarize(each).kind for each in loaded.listen(pieces).probabilities]
    assert kinds == ["music", "speech", "music_under_speech", "other"]


def test_a_short_effect_is_repeated_rather_than_padded_with_silence(loaded: Panns) -> None:
    effect = panns.tune(41, 0.25)
    short, repeated = loaded.listen([effect, np.tile(effect, 4)]).vectors
    np.testing.assert_allclose(short, repeated, atol=1e-6)


def test_an_empty_list_gives_empty_arrays(loaded: Panns) -> None:
    assert loaded.listen([]).vectors.shape == (0, DIMENSIONS)


def test_the_16_khz_checkpoint_loads_although_it_contains_numpy_arrays(tmp_path: Path) -> None:
    """The published file holds the state of its training sampler as NumPy arrays."""
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


def test_the_model_is_identified_by_the_checksum_of_its_weights(loaded: Panns, panns_checkpoint: Path) -> None:
    with panns_checkpoint.open("rb") as file:
        assert digests(file).sha256.startswith(loaded.info.checksum)
    assert (loaded.info.name, loaded.info.dimensions) == ("panns", DIMENSIONS)


# Rejected files


def test_a_missing_checkpoint_is_an_error_that_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"airtrace models fetch panns.*zenodo.*541141fa2ee191a88f24a3219fff024e"
    ):
        Panns(tmp_path / "none.pth", PANNS)


def test_a_file_that_is_not_the_published_one_is_rejected(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="is not the published file"):
        Panns(panns_checkpoint, PANNS)


def test_a_file_with_the_published_checksum_is_accepted(panns_checkpoint: Path) -> None:
    with panns_checkpoint.open("rb") as file:
        md5 = digests(file).md5
    published = Checkpoint("made", "made.pth", "https://example.org", panns_checkpoint.stat().st_size, md5, 32_000)
    assert Panns(panns_checkpoint, published, "cpu").info.name == "panns"


def test_a_truncated_checkpoint_is_rejected(panns_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    with panns_checkpoint.open("rb") as file:
        path.write_bytes(file.read(1_000_000))
    with pytest.raises(ModelUnavailable, match=r"half\.pth .*delete it"):
        Panns(path, PANNS, own=True)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04nothing", pickle.dumps([1, 2], 2)])
def test_a_file_that_is_not_a_checkpoint_is_rejected(content: bytes, tmp_path: Path) -> None:
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
def test_a_checkpoint_that_contains_code_is_rejected_without_running_it(tmp_path: Path, is_legacy: bool) -> None:
    path, mark = tmp_path / "hostile.pth", tmp_path / "was here"
    torch.save({"model": Hostile(mark)}, path, _use_new_zipfile_serialization=not is_legacy)
    with pytest.raises(ModelUnavailable, match="contains code to run"):
        Panns(path, PANNS, own=True)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # a plain load runs it


def test_weights_of_another_network_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": torch.nn.Linear(4, 4).state_dict()}, path)
    with pytest.raises(ModelUnavailable, match="no Cnn14 weights"):
        Panns(path, PANNS, own=True)


def test_weights_for_another_sample_rate_are_rejected(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no Cnn14 weights for an FFT of 512 points"):
        Panns(panns_checkpoint, PANNS_16K, own=True)


def test_weights_that_are_not_finite_are_rejected(panns_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.pth"
    weights = torch.load(panns_checkpoint, weights_only=True)["model"]
    weights["fc1.bias"][3] = float("nan")
    torch.save({"model": weights}, path)
    with pytest.raises(ModelUnavailable, match="not finite"):
        Panns(path, PANNS, own=True)


def test_without_torch_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'airtrace\[panns\]'"):
        Panns(tmp_path / "any.pth", PANNS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error_if_one_is_required(panns_checkpoint: Path) -> None:
    with pytest.raises(ModelUnavailable, match="finds no GPU"):
        Panns(panns_checkpoint, PANNS, "cuda", own=True)
