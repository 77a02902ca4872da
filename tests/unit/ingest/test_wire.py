"""Every record survives the wire, and anything else is refused with a reason."""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import flac
from ingest.errors import WireError
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Codec, Encoded, Gap, GapReason, Window, decode, encode

IDS = st.integers(1, 2**62)
CLOCKS = st.integers(0, 2**60)
PCM = st.binary(min_size=2, max_size=200).map(lambda data: data[: len(data) // 2 * 2])
EPOCHS = st.integers(0, 2**62)
TRACES = st.just("") | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fullmatch=True)
PLACES = (IDS, st.uuids(), st.integers(0, 2**40), CLOCKS, CLOCKS)
WINDOWS = st.builds(Window, *PLACES, PCM, EPOCHS, st.booleans(), TRACES)
GAPS = st.builds(
    lambda stream, start, length, reason, epoch: Gap(stream, start, start + length, reason, epoch),
    *(IDS, CLOCKS, st.integers(1, 2**40), st.sampled_from(GapReason), EPOCHS),
)
WINDOW = Window(7, uuid.UUID(int=3), 5, 1000, 200, b"\1\2\3\4")


@given(WINDOWS | GAPS, st.sampled_from(Codec))
def test_a_record_survives(record: Window | Gap, codec: Codec) -> None:
    encoded = encode(record, codec)
    assert decode(encoded.key, encoded.headers, encoded.value) == record


def test_music_is_smaller_as_flac_and_comes_back_bit_by_bit() -> None:
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330, 2200))
    pcm = (5000 * tones + np.random.default_rng(1).normal(0, 30, len(t))).astype("<i2").tobytes()
    window = Window(7, uuid.UUID(int=3), 5, 1000, 200, pcm)
    encoded = encode(window, Codec.FLAC)
    assert len(encoded.value) < 0.7 * len(pcm)
    assert decode(encoded.key, encoded.headers, encoded.value) == window


def test_messages_without_epoch_and_codec_are_read() -> None:
    old = ("airtrace", "kind", "session", "sequence", "anchor", "first_sample", "sample_rate_hz")
    encoded = encode(WINDOW)
    headers = [(name, value) for name, value in encoded.headers if name in old]
    assert decode(encoded.key, headers, encoded.value) == WINDOW
    gap = Gap(7, 0, 1, GapReason.ENDED)
    headers = [(name, value) for name, value in encode(gap).headers if name != "epoch"]
    assert decode(b"7", headers, b"") == gap


def test_a_reader_without_flac_refuses_it_instead_of_taking_it_for_noise() -> None:
    assert dict(encode(WINDOW).headers)["airtrace"] == b"1"
    assert dict(encode(WINDOW, Codec.FLAC).headers)["airtrace"] == b"2"


def _flac(value: bytes) -> Encoded:
    return Encoded(b"7", encode(WINDOW, Codec.FLAC).headers, value)


SOUND = flac.encode(bytes(range(256)) * 40, SAMPLE_RATE_HZ)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "damaged FLAC"),
        (b"RIFF and so on", "damaged FLAC"),
        (SOUND[:-100], "damaged FLAC"),
        (flac.encode(bytes(64), 44_100), "another format"),
        (flac.encode(bytes((flac.MAX_SAMPLES + 1) * BYTES_PER_SAMPLE), SAMPLE_RATE_HZ), "samples in one window"),
    ],
)
def test_damaged_or_endless_flac_is_refused_with_a_reason(value: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(b"7", _flac(value).headers, value)


def test_a_window_knows_its_place_to_the_sample() -> None:
    assert (WINDOW.start, WINDOW.end) == (1200, 1202)


def test_a_streams_records_share_its_key() -> None:
    assert encode(WINDOW).key == encode(Gap(7, 0, 1, GapReason.ENDED)).key == b"7"


def _changed(**headers: bytes | None) -> Encoded:
    encoded = encode(WINDOW)
    fields = {**dict(encoded.headers), **headers}
    return Encoded(
        encoded.key, tuple((name, value) for name, value in fields.items() if value is not None), encoded.value
    )


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (_changed(airtrace=b"3"), "wire version b'3'"),
        (_changed(airtrace=None), "wire version None"),
        (_changed(kind=b"song"), "unknown kind"),
        (_changed(kind=None), "damaged.*kind"),
        (_changed(session=b"x"), "damaged"),
        (_changed(anchor=None), "damaged.*anchor"),
        (_changed(first_sample=b"\xff"), "damaged"),
        (_changed(sample_rate_hz=b"44100"), "sample rate"),
        (_changed(anchor=b"9" * 20), "out of bounds"),
        (_changed(epoch=b"9" * 20), "out of bounds"),
        (_changed(codec=b"mp3"), "damaged"),
        (Encoded(str(2**63).encode(), encode(WINDOW).headers, b"\0\0"), "out of bounds"),
        (Encoded(b"7", encode(Gap(7, 5, 5, GapReason.ENDED)).headers, b""), "before it starts"),
        (Encoded(b"x", encode(WINDOW).headers, b"\0\0"), "damaged"),
        (Encoded(b"7", encode(WINDOW).headers, b""), "whole number of samples"),
        (Encoded(b"7", encode(WINDOW).headers, b"\0\0\0"), "whole number of samples"),
        (Encoded(b"7", encode(Gap(7, 0, 1, GapReason.ENDED)).headers[:-2], b""), "damaged.*reason"),
    ],
)
def test_a_message_that_is_not_a_record_is_refused_with_a_reason(encoded: Encoded, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(encoded.key, encoded.headers, encoded.value)


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(WireError):
        decode(None, (), None)
