"""PANNs' Cnn14 through panns-inference: describes sound by a vector and the probabilities of 527 classes.

The only file that imports panns_inference, and it uses only the network's class. Importing the whole package runs wget
for a list of labels, and its AudioTagging runs wget for the checkpoint. Neither happens here.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect import spectrum
from monitor.detect.audioset import CLASSES
from monitor.detect.checkpoints import Checkpoint, digests, manual_instructions, verified_digests
from monitor.detect.detector import DetectorInfo
from monitor.errors import ModelUnavailable

Pcm = NDArray[np.int16]
Floats = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]

NAME = "panns"
DIMENSIONS = 2048
CHECKSUM_DIGITS = 12
# Shorter sound is repeated. The network's five pooling layers need a third of this length, and padding with silence
# would dominate the mean over time for a short effect.
MIN_SAMPLES = SAMPLE_RATE_HZ
BATCH = {"cpu": 4, "cuda": 32}  # ten-second pieces per call: 0.7 GB on a CPU, where larger batches are no faster
INSTALL = "pip install 'airtrace[panns]'"
REQUIRED_PACKAGES = ("torch", "panns_inference", "soxr")
# Spectrogram parameters by sample rate, as the checkpoints were trained (audioset_tagging_cnn's README).
FRONT_ENDS = {
    32_000: {"window_size": 1024, "hop_size": 320, "fmin": 50, "fmax": 14_000},
    16_000: {"window_size": 512, "hop_size": 160, "fmin": 50, "fmax": 8_000},
}
_importing = threading.Lock()


@dataclass(frozen=True, slots=True)
class PannsOutput:
    """The network's outputs for n pieces of sound. Silent pieces are not evaluated; their rows are zero.

    vectors: float32 (n, DIMENSIONS), unit length.
    probabilities: float32 (n, CLASSES), 0 to 1.
    """

    vectors: Floats
    probabilities: Floats


class Panns:
    """The network with one checkpoint. Blocking and not thread-safe: call it in an executor with one thread."""

    def __init__(
        self, path: Path, published: Checkpoint, device: Device = "auto", *, own: bool = False, threads: int = 1
    ) -> None:
        """Loads a checkpoint.

        published: the checkpoint that the file must be, unless `own`; it also gives the sample rate.
        own: the file is a user's own checkpoint of the same shape.
        threads: torch's threads, for the calling thread, which must also be the one that calls `listen`.

        Raises:
            ModelUnavailable: the file is missing, not the published one or without Cnn14 weights, or torch is missing.
        """
        torch, network_class = _torch(), _cnn14()
        torch.set_num_threads(threads)
        self._rate_hz = published.rate_hz
        self.device = _device(torch, device)
        network = network_class(
            sample_rate=self._rate_hz, mel_bins=64, classes_num=CLASSES, **FRONT_ENDS[self._rate_hz]
        )
        try:
            with path.open("rb") as file:
                sha256 = (digests(file) if own else verified_digests(published, file, path)).sha256
                _fill(torch, network, file, path)
        except FileNotFoundError as error:
            raise ModelUnavailable(
                f"{path} does not exist: run `airtrace models fetch {published.name}`, or "
                f"{manual_instructions(published, path)}"
            ) from error
        except OSError as error:
            raise ModelUnavailable(f"{path} cannot be read: {error.strerror}") from error
        self._torch = torch
        self._network = network.to(self.device).eval()
        version = f"cnn14-{self._rate_hz // 1000}k"
        self.info = DetectorInfo(NAME, version, sha256[:CHECKSUM_DIGITS], DIMENSIONS)

    def listen(self, pieces: Sequence[Pcm]) -> PannsOutput:
        """Evaluates pieces of 32 kHz mono PCM, int16 (n_samples,) each, of any length. The output keeps their order."""
        vectors = np.zeros((len(pieces), DIMENSIONS), np.float32)
        probabilities = np.zeros((len(pieces), CLASSES), np.float32)
        for places in self._batches(pieces):
            found = self.run(np.stack([self._sound(pieces[place]) for place in places]))
            probabilities[places] = found["clipwise_output"]
            lengths = np.linalg.norm(found["embedding"], axis=1, keepdims=True)
            vectors[places] = found["embedding"] / np.maximum(lengths, np.finfo(np.float32).tiny)
        return PannsOutput(vectors, probabilities)

    def run(self, sounds: Floats) -> dict[str, Floats]:
        """The network's raw outputs for sound at its own sample rate, float32 (n, n_samples), full scale 1.0.

        The embeddings do not have unit length yet.
        """
        with self._torch.inference_mode():
            outputs = self._network(self._torch.from_numpy(sounds).to(self.device), None)
        return {name: output.cpu().numpy() for name, output in outputs.items()}

    def _batches(self, pieces: Sequence[Pcm]) -> Iterator[list[int]]:
        """Indexes of audible pieces, in batches of equal length."""
        by_length: dict[int, list[int]] = {}
        for place, pcm in enumerate(pieces):
            if is_audible(pcm):
                by_length.setdefault(max(len(pcm), MIN_SAMPLES), []).append(place)
        maximum = BATCH[self.device]
        for places in by_length.values():
            yield from (places[first : first + maximum] for first in range(0, len(places), maximum))

    def _sound(self, pcm: Pcm) -> Floats:
        sound: Floats = _filled(pcm).astype(np.float32) / np.float32(32768)
        if self._rate_hz != SAMPLE_RATE_HZ:
            import soxr

            sound = soxr.resample(sound, SAMPLE_RATE_HZ, self._rate_hz)
        return sound


def is_audible(pcm: Pcm) -> bool:
    """Whether any segment of 32 kHz mono PCM, int16 (n_samples,), is louder than silence."""
    return bool(spectrum.audible(_filled(pcm)).any())


def is_installed() -> bool:
    """Whether the libraries are installed. Does not import them."""
    # A package that is being loaded, perhaps as the stub that keeps it from downloading, has no spec to find.
    return all(name in sys.modules or find_spec(name) is not None for name in REQUIRED_PACKAGES)


def unavailable_reason(
    published: Checkpoint, path: Path, libraries_installed: Callable[[], bool] = is_installed
) -> str | None:
    """Why PANNs cannot be loaded from this file, and what to do about it; None if nothing is obviously missing."""
    if not libraries_installed():
        return f"torch and panns-inference are not installed: {INSTALL}"
    if not path.is_file():
        manual = manual_instructions(published, path)
        return f"its checkpoint is missing: run `airtrace models fetch {published.name}`, or {manual}"
    return None


def _filled(pcm: Pcm) -> Pcm:
    return pcm if len(pcm) >= MIN_SAMPLES else np.resize(pcm, MIN_SAMPLES)


def _torch() -> Any:
    if not is_installed():
        raise ModelUnavailable(f"PANNs needs torch and panns-inference: {INSTALL}")
    try:
        import torch
    except (ImportError, OSError) as error:  # such as a build for a CUDA version that is not installed
        raise ModelUnavailable(f"torch cannot be loaded ({error}): {INSTALL}") from error
    return torch


def _device(torch: Any, wanted: Device) -> str:
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ModelUnavailable("panns.device is cuda, but torch finds no GPU: set it to auto or cpu")
    return "cpu"


def _cnn14() -> Any:
    """The network's class. No other code of the package runs."""
    spec = find_spec("panns_inference")
    assert spec is not None  # noqa: S101 - is_installed has checked
    with _importing, _stand_ins(spec):
        return importlib.import_module("panns_inference.models").Cnn14


@contextmanager
def _stand_ins(spec: ModuleSpec) -> Iterator[None]:
    """Replaces the package and pyplot by empty modules, so that their `__init__` files do not run.

    The package imports pyplot without using it; pyplot would run a program to find fonts and write a cache to the
    user's home. On exit everything is restored, so that other importers get the real package.
    """
    package = ModuleType("panns_inference")
    package.__path__ = list(spec.submodule_search_locations or ())
    plot, pyplot = ModuleType("matplotlib"), ModuleType("matplotlib.pyplot")
    plot.pyplot = pyplot  # type: ignore[attr-defined]
    before = {name: module for name, module in sys.modules.items() if _is_borrowed(name)}
    for name in before:
        del sys.modules[name]
    sys.modules |= {"panns_inference": package, "matplotlib": plot, "matplotlib.pyplot": pyplot}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_borrowed(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_borrowed(name: str) -> bool:
    return name.split(".")[0] in ("panns_inference", "matplotlib")


def _fill(torch: Any, network: Any, file: BinaryIO, path: Path) -> None:
    """Loads the weights of an open checkpoint into the network, without running code that the file may contain.

    Raises:
        ModelUnavailable: the file is damaged, contains code, or has no weights for this network.
    """
    wrong = f"{path} has no Cnn14 weights for an FFT of {network.logmel_extractor.melW.shape[0] * 2 - 2} points"
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        weights = loaded["model"] if isinstance(loaded, dict) and "model" in loaded else loaded
        network.load_state_dict(weights)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(f"{path} contains code to run, or is damaged: delete it") from error
    except (RuntimeError, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelUnavailable(f"{wrong} ({reason}): delete it, or set panns.checkpoint to another file") from error
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise ModelUnavailable(
            f"{path} has weights that are not finite: delete it, or set panns.checkpoint to another file"
        )


def _safe_globals() -> list[Any]:
    """The types that the published 16 kHz checkpoint needs besides weights: its training sampler's state, as arrays."""
    from numpy._core.multiarray import _reconstruct

    reconstruct = (_reconstruct, "numpy.core.multiarray._reconstruct")  # its name when the checkpoint was saved
    return [reconstruct, _reconstruct, np.ndarray, np.dtype, np.dtypes.Int64DType]
