"""PANNs' Cnn14 through panns-inference: what something sounds like, as one vector and the probabilities of 527 classes.

The only file that imports panns_inference, of which only the network's class is taken: importing the package as it is
runs wget for a list of labels, and its AudioTagging runs wget for the checkpoint. Neither gets to run here.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator, Sequence
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
from monitor.detect.checkpoints import Checkpoint, by_hand, checked, digests
from monitor.detect.detector import DetectorInfo
from monitor.errors import ModelUnavailable

Pcm = NDArray[np.int16]
Floats = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]

NAME = "panns"
DIMENSIONS = 2048
CHECKSUM_DIGITS = 12
# Shorter sound is repeated: the network's five poolings need a third of this, and silence behind a short effect would
# be most of what it hears (its mean and its maximum over time).
MIN_SAMPLES = SAMPLE_RATE_HZ
BATCH = {"cpu": 4, "cuda": 32}  # ten-second pieces at once: 0.7 GB on a processor, where more are no faster
INSTALL = "pip install 'airtrace[panns]'"
NEEDED = ("torch", "panns_inference", "soxr")
# Of the spectrogram by the rate of the sound: as the checkpoints were trained (audioset_tagging_cnn's README).
FRONT_ENDS = {
    32_000: {"window_size": 1024, "hop_size": 320, "fmin": 50, "fmax": 14_000},
    16_000: {"window_size": 512, "hop_size": 160, "fmin": 50, "fmax": 8_000},
}
_importing = threading.Lock()


@dataclass(frozen=True, slots=True)
class PannsOutput:
    """What the network makes of n pieces of sound; rows of zeros for silence, which it never sees.

    vectors: float32 (n, DIMENSIONS), unit length. probabilities: float32 (n, CLASSES), 0 to 1.
    """

    vectors: Floats
    probabilities: Floats


class Panns:
    """The network with one checkpoint. Blocking, and not for several threads at once: call it in an executor of one."""

    def __init__(
        self, path: Path, published: Checkpoint, device: Device = "auto", *, own: bool = False, threads: int = 1
    ) -> None:
        """Loads a checkpoint: the published one, or one's own of the same shape.

        `threads` counts for the thread that this is called in, which is the one to listen in.

        Raises:
            ModelUnavailable: it is not there, not the published one, or no weights of Cnn14; or torch is not there.
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
                sha256 = (digests(file) if own else checked(published, file, path)).sha256
                _fill(torch, network, file, path)
        except FileNotFoundError as error:
            raise ModelUnavailable(
                f"there is no {path}: `airtrace models fetch {published.name}`, or {by_hand(published, path)}"
            ) from error
        except OSError as error:
            raise ModelUnavailable(f"{path} cannot be read: {error.strerror}") from error
        self._torch = torch
        self._network = network.to(self.device).eval()
        version = f"cnn14-{self._rate_hz // 1000}k"
        self.info = DetectorInfo(NAME, version, sha256[:CHECKSUM_DIGITS], DIMENSIONS)

    def listen(self, pieces: Sequence[Pcm]) -> PannsOutput:
        """Takes pieces of 32 kHz mono PCM of any lengths, of each shape (n_samples,); the pieces' order is kept."""
        vectors = np.zeros((len(pieces), DIMENSIONS), np.float32)
        probabilities = np.zeros((len(pieces), CLASSES), np.float32)
        for places in self._batches(pieces):
            found = self.run(np.stack([self._sound(pieces[place]) for place in places]))
            probabilities[places] = found["clipwise_output"]
            lengths = np.linalg.norm(found["embedding"], axis=1, keepdims=True)
            vectors[places] = found["embedding"] / np.maximum(lengths, np.finfo(np.float32).tiny)
        return PannsOutput(vectors, probabilities)

    def run(self, sounds: Floats) -> dict[str, Floats]:
        """The network's own outputs for sound in +-1 at its own rate, shape (n, n_samples), not yet of unit length."""
        with self._torch.inference_mode():
            outputs = self._network(self._torch.from_numpy(sounds).to(self.device), None)
        return {name: output.cpu().numpy() for name, output in outputs.items()}

    def _batches(self, pieces: Sequence[Pcm]) -> Iterator[list[int]]:
        """Places of the pieces that are no silence, of the same length together."""
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
    """Whether any second of it is more than silence."""
    return bool(spectrum.audible(_filled(pcm)).any())


def is_installed() -> bool:
    """Whether the libraries are there; they are not loaded."""
    return all(find_spec(name) is not None for name in NEEDED)


def unavailable_reason(published: Checkpoint, path: Path) -> str | None:
    """Why it cannot be loaded from this file, as far as that is told without trying, and what to do; else None."""
    if not is_installed():
        return f"torch and panns-inference are not installed: {INSTALL}"
    if not path.is_file():
        return f"its checkpoint is not there: `airtrace models fetch {published.name}`, or {by_hand(published, path)}"
    return None


def _filled(pcm: Pcm) -> Pcm:
    return pcm if len(pcm) >= MIN_SAMPLES else np.resize(pcm, MIN_SAMPLES)


def _torch() -> Any:
    if not is_installed():
        raise ModelUnavailable(f"PANNs needs torch and panns-inference: {INSTALL}")
    try:
        import torch
    except (ImportError, OSError) as error:  # such as a build for a CUDA that is not there
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
    """The network's class; nothing else of the package is run."""
    spec = find_spec("panns_inference")
    assert spec is not None  # noqa: S101 - is_installed has looked
    with _importing, _stand_ins(spec):
        return importlib.import_module("panns_inference.models").Cnn14


@contextmanager
def _stand_ins(spec: ModuleSpec) -> Iterator[None]:
    """While it lasts, the package is a folder without an `__init__`, and pyplot, which it imports in vain, is empty.

    pyplot looks for fonts with a program of its own and keeps a list of them in the user's home. Afterwards everything
    is as it was: whoever else imports the package gets it as it is.
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
    """Puts the weights of an open checkpoint into the network. Runs no code that the file may bring along."""
    wrong = f"{path} has no weights of Cnn14 at {network.logmel_extractor.melW.shape[0] * 2 - 2} points a spectrum"
    try:
        with torch.serialization.safe_globals(_harmless()):
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        weights = loaded["model"] if isinstance(loaded, dict) and "model" in loaded else loaded
        network.load_state_dict(weights)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(f"{path} wants to run code of its own, or is damaged: delete it") from error
    except (RuntimeError, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelUnavailable(f"{wrong} ({reason}): delete it, or name another in panns.checkpoint") from error
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise ModelUnavailable(f"{path} has weights that are no numbers: delete it, or name another")


def _harmless() -> list[Any]:
    """What the published 16 kHz checkpoint has besides weights: the numbers of its training's sampler, as arrays."""
    from numpy._core.multiarray import _reconstruct

    reconstruct = (_reconstruct, "numpy.core.multiarray._reconstruct")  # as it was called when that was saved
    return [reconstruct, _reconstruct, np.ndarray, np.dtype, np.dtypes.Int64DType]
