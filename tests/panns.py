"""A PANNs checkpoint of the true shape and size for tests: seeded, untrained, and fitted to three kinds of sound.

The convolutions are random. The embedding is centered, so that different sounds have different vectors, and the rows of
the classes Music and Speech are fitted to the tunes and the babble below.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect import panns
from monitor.detect.audioset import CLASSES, names

Pcm = NDArray[np.int16]

LESSONS = 3  # of each kind of sound
LESSON_S = 5.0
SURE = 4.0  # logit of a class that is present; absent classes have the negative
# What must not happen while PANNs is loaded and used: running a program, or connecting to another machine.
OUTSIDE = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")


def tune(seed: int, length_s: float = 10.0, root_hz: float = 110.0, note_s: float = 0.5) -> Pcm:
    """Chords of plucked strings. With another key and tempo, no fingerprint confuses two of them."""
    rng = np.random.default_rng(seed)
    n_note = round(SAMPLE_RATE_HZ * note_s)
    t = np.arange(n_note) / SAMPLE_RATE_HZ
    notes = []
    for _ in range(int(np.ceil(length_s / note_s))):
        pitches = root_hz * 2 ** (rng.choice([0, 3, 5, 7, 10, 12, 15, 19], 3) / 12)
        chord = sum(np.sin(2 * np.pi * pitch * k * t) / k for pitch in pitches for k in range(1, 9))
        notes.append(chord * np.exp(-3 * t))
    return _pcm(np.concatenate(notes)[: round(length_s * SAMPLE_RATE_HZ)])


def babble(seed: int, length_s: float = 10.0) -> Pcm:
    """Noise in syllables: what a random network hears as a voice."""
    rng = np.random.default_rng(seed)
    n = round(length_s * SAMPLE_RATE_HZ)
    t = np.arange(n) / SAMPLE_RATE_HZ
    syllables = np.clip(np.sin(2 * np.pi * (4 + rng.random()) * t + rng.random() * 6), 0, 1)
    return _pcm(rng.standard_normal(n) * syllables)


def hiss(seed: int, length_s: float = 10.0) -> Pcm:
    """Neither: quiet noise, like a carrier without a program."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(length_s * SAMPLE_RATE_HZ)) * 300).astype(np.int16)


def over(music: Pcm, voice: Pcm) -> Pcm:
    """Both at once."""
    return ((music.astype(np.int32) + voice) // 2).astype(np.int16)


def _pcm(sound: NDArray[np.floating[Any]]) -> Pcm:
    return (sound / np.abs(sound).max() * 20_000).astype(np.int16)


def network(rate_hz: int, seed: int = 1) -> Any:
    """The real Cnn14 with random weights."""
    import torch

    torch.manual_seed(seed)
    built = panns._cnn14()(sample_rate=rate_hz, mel_bins=64, classes_num=CLASSES, **panns.FRONT_ENDS[rate_hz])
    return built.eval()


def make(path: Path, seed: int = 1) -> Path:
    """Writes a checkpoint for 32 kHz."""
    import torch

    built = network(32_000, seed)
    lessons = [(tune(i, LESSON_S), babble(i, LESSON_S), hiss(i, LESSON_S)) for i in range(LESSONS)]
    sounds = [pcm for music, voice, rest in lessons for pcm in (music, voice, over(music, voice), rest)]
    taught = np.array([(1, -1), (-1, 1), (1, 1), (-1, -1)] * LESSONS, np.float32) * SURE
    with torch.inference_mode():
        pooled = torch.cat([_pooled(built, pcm) for pcm in sounds])
        built.fc1.bias.copy_(-(built.fc1.weight @ pooled.mean(0)))
        heard = torch.relu(built.fc1(pooled))
        heard1 = torch.cat([heard, torch.ones(len(heard), 1)], 1)
        # The smallest change of the two rows that gives the wanted logits (ridge regression).
        rows = heard1.T @ torch.linalg.solve(
            heard1 @ heard1.T + 1e-3 * torch.eye(len(heard1)), torch.from_numpy(taught)
        )
        built.fc_audioset.weight.zero_()
        built.fc_audioset.bias.fill_(-SURE)
        for column, name in enumerate(("Music", "Speech")):
            built.fc_audioset.weight[names().index(name)] = rows[:-1, column]
            built.fc_audioset.bias[names().index(name)] = rows[-1, column]
    torch.save({"model": built.state_dict()}, path)
    return path


def _pooled(built: Any, pcm: Pcm) -> Any:
    """The input of the network's last layers."""
    import torch

    seen = []
    hook = built.fc1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    built(torch.from_numpy(pcm.astype(np.float32) / 32768)[None], None)
    hook.remove()
    return seen[0]


_watched: list[list[str]] = []
_is_hooked = False


def _hook(event: str, _: Any) -> None:
    if event in OUTSIDE:
        for seen in _watched:
            seen.append(event)


@contextmanager
def outside() -> Iterator[list[str]]:
    """The events of OUTSIDE in this process while the context lasts, as Python's audit hooks report them."""
    global _is_hooked
    if not _is_hooked:  # a hook cannot be removed
        sys.addaudithook(_hook)
        _is_hooked = True
    seen: list[str] = []
    _watched.append(seen)
    try:
        yield seen
    finally:
        _watched.remove(seen)
