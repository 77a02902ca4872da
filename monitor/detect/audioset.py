"""The 527 AudioSet classes that PANNs predicts, and their summary: music, speech, music under speech, silence or other.

audioset.csv is AudioSet's class_labels_indices.csv as Google publishes it, under CC BY 4.0 (Gemmeke et al., ICASSP
2017, https://research.google.com/audioset/).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Kind = Literal["music", "speech", "music_under_speech", "silence", "other"]

CLASSES = 527
SPEECH = (*range(8), 15)  # from "Speech" to "Speech synthesizer", and "Whispering"
# "Singing" to "Humming"; "Music" with its instruments and styles, without bells: most are church bells and doorbells.
MUSIC = (*range(27, 38), *range(137, 200), *range(208, 283))
SILENCE = 500
# PANNs is confident about the foreground and gives music below a voice about .2 to .4: its probabilities follow
# AudioSet's raters, who seldom chose both. We have not measured this, because none of our corpora has the labels.
PRESENT = 0.25
TOP = 5  # labels kept per passage; the sixth rarely exceeds a few hundredths
MIN_TOP = 0.05


@dataclass(frozen=True, slots=True)
class Label:
    """One class and its probability, 0 to 1."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class SoundSummary:
    """A summary of a passage.

    music, speech: the highest probability among their classes, 0 to 1.
    labels: the most probable classes, most probable first; empty for silence.
    """

    kind: Kind
    music: float
    speech: float
    labels: tuple[Label, ...]


SILENT = SoundSummary("silence", 0.0, 0.0, ())


@cache
def names() -> tuple[str, ...]:
    """The names of the classes, in the order of PANNs' outputs."""
    text = resources.files(__package__).joinpath("audioset.csv").read_text("utf-8")
    return tuple(row["display_name"] for row in csv.DictReader(text.splitlines()))


def summarize(probabilities: Floats) -> SoundSummary:
    """Summarizes the probabilities of all classes, float32 (CLASSES,)."""
    music, speech = float(probabilities[list(MUSIC)].max()), float(probabilities[list(SPEECH)].max())
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    labels = tuple(Label(names()[i], round(float(probabilities[i]), 3)) for i in best if probabilities[i] >= MIN_TOP)
    return SoundSummary(_kind(music, speech, float(probabilities[SILENCE])), round(music, 3), round(speech, 3), labels)


def summarize_passages(heard: Sequence[Floats]) -> SoundSummary:
    """Summarizes several passages by their mean probabilities, float32 (CLASSES,) each.

    Passages whose probabilities are all 0 are silent and left out of the mean.
    """
    sounding = [each for each in heard if each.any()]
    return summarize(np.mean(sounding, axis=0)) if sounding else SILENT


def _kind(music: float, speech: float, silence: float) -> Kind:
    if music >= PRESENT:
        return "music_under_speech" if speech >= PRESENT else "music"
    if speech >= PRESENT:
        return "speech"
    return "silence" if silence >= PRESENT else "other"
