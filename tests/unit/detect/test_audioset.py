"""AudioSet's classes and their summaries."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from monitor.detect import audioset
from monitor.detect.audioset import CLASSES, MUSIC, SILENT, SPEECH, names, summarize, summarize_passages


def probabilities(**classes: float) -> np.ndarray:
    found = np.zeros(CLASSES, np.float32)
    for name, value in classes.items():
        found[names().index(name.replace("_", " "))] = value
    return found


def test_the_classes_are_those_published_by_google() -> None:
    published = Path(audioset.__file__).with_name("audioset.csv").read_bytes()
    assert hashlib.sha256(published).hexdigest() == "cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429"
    assert len(names()) == len(set(names())) == CLASSES


def test_the_music_and_speech_classes_are_the_expected_ones() -> None:
    music, speech = {names()[i] for i in MUSIC}, {names()[i] for i in SPEECH}
    assert {"Music", "Piano", "Singing", "Rapping", "Jazz", "Theme music", "Scary music", "Harp"} <= music
    assert {"Speech", "Narration, monologue", "Child speech, kid speaking", "Whispering"} <= speech
    assert not {"Church bell", "Bicycle bell", "Wind", "Whale vocalization", "Groan", "Silence"} & (music | speech)
    assert not music & speech


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        ({"Music": 0.8}, "music"),
        ({"Speech": 0.8}, "speech"),
        ({"Music": 0.3, "Speech": 0.8}, "music_under_speech"),
        ({"Jazz": 0.5, "Female_speech,_woman_speaking": 0.4}, "music_under_speech"),
        ({"Silence": 0.6}, "silence"),
        ({"Dog": 0.9, "Music": 0.1}, "other"),
        ({}, "other"),
    ],
)
def test_the_kind_follows_from_the_probabilities(classes: dict[str, float], kind: str) -> None:
    assert summarize(probabilities(**classes)).kind == kind


def test_only_probable_labels_are_kept() -> None:
    heard = summarize(probabilities(Music=0.8, Piano=0.5, Dog=0.01, Speech=0.1))
    assert [(label.name, label.score) for label in heard.labels] == [("Music", 0.8), ("Piano", 0.5), ("Speech", 0.1)]


def test_silent_passages_do_not_dilute_the_mean() -> None:
    music, silence = probabilities(Music=0.8), probabilities()
    assert summarize_passages([music, silence, silence]) == summarize(music)
    assert summarize_passages([silence]) == SILENT
