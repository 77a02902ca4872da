"""Every record survives the wire, and what is no record is refused with a reason."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import WireError
from ingest.wire import Encoded, Gap, GapReason, Window, decode, encode

IDS = st.integers(1, 2**62)
CLOCKS = st.integers(0, 2**60)
PCM = st.binary(min_size=2, max_size=200).map(lambda data: data[: len(data) // 2 * 2])
WINDOWS = st.builds(Window, IDS, st.uuids(), st.integers(0, 2**40), CLOCKS, CLOCKS, PCM)
GAPS = st.builds(
    lambda stream, start, length, reason: Gap(stream, start, start + length, reason),
    *(IDS, CLOCKS, st.integers(1, 2**40), st.sampled_from(GapReason)),
)
WINDOW = Window(7, uuid.UUID(int=3), 5, 1000, 200, b"\1\2\3\4")


@given(WINDOWS | GAPS)
def test_a_record_survives(record: Window | Gap) -> None:
    encoded = encode(record)
    assert decode(encoded.key, encoded.headers, encoded.value) == record


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
        (_changed(airtrace=b"2"), "wire version b'2'"),
        (_changed(airtrace=None), "wire version None"),
        (_changed(kind=b"song"), "unknown kind"),
        (_changed(kind=None), "damaged.*kind"),
        (_changed(session=b"x"), "damaged"),
        (_changed(anchor=None), "damaged.*anchor"),
        (_changed(first_sample=b"\xff"), "damaged"),
        (_changed(sample_rate_hz=b"44100"), "sample rate"),
        (_changed(anchor=b"9" * 20), "out of bounds"),
        (Encoded(str(2**63).encode(), encode(WINDOW).headers, b"\0\0"), "out of bounds"),
        (Encoded(b"7", encode(Gap(7, 5, 5, GapReason.ENDED)).headers, b""), "before it begins"),
        (Encoded(b"x", encode(WINDOW).headers, b"\0\0"), "damaged"),
        (Encoded(b"7", encode(WINDOW).headers, b""), "whole number of samples"),
        (Encoded(b"7", encode(WINDOW).headers, b"\0\0\0"), "whole number of samples"),
        (Encoded(b"7", encode(Gap(7, 0, 1, GapReason.ENDED)).headers[:-1], b""), "damaged.*reason"),
    ],
)
def test_what_is_no_record_is_refused_with_a_reason(encoded: Encoded, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode(encoded.key, encoded.headers, encoded.value)


def test_a_message_without_anything_is_refused() -> None:
    with pytest.raises(WireError):
        decode(None, (), None)
