"""Codes: what they may look like, and when they cannot be right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.catalog import identifiers


@pytest.mark.parametrize("text", ["DE-A62-21-00001", "dea622100001", "ISRC DE A62 21 00001", "ISRC:DEA622100001"])
def test_an_isrc_is_known_in_every_spelling(text: str) -> None:
    assert identifiers.isrc(text) == "DEA622100001"


@pytest.mark.parametrize("text", ["DEA62210001", "1EA622100001", "DEA62210000A", "DEA6221000012", "", "ＤＥA622100001"])
def test_what_cannot_be_an_isrc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no ISRC"):
        identifiers.isrc(text)


@pytest.mark.parametrize("text", ["T-034.524.680-1", "t0345246801", "ISWC T-034.524.680.1"])
def test_an_iswc_is_known_in_every_spelling(text: str) -> None:
    assert identifiers.iswc(text) == "T-034.524.680-1"


@pytest.mark.parametrize("text", ["T-034.524.680-2", "T-034.542.680-1"])
def test_an_iswc_with_a_wrong_digit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="check digit"):
        identifiers.iswc(text)


@pytest.mark.parametrize("text", ["0345246801", "T-034.524.680", "W-034.524.680-1"])
def test_what_cannot_be_an_iswc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no ISWC"):
        identifiers.iswc(text)


@pytest.mark.parametrize(("text", "plain"), [("0 36000 29145 2", "036000291452"), ("4006381333931", "4006381333931")])
def test_upc_and_ean_are_known(text: str, plain: str) -> None:
    assert identifiers.upc(text) == plain


@pytest.mark.parametrize("text", ["036000291453", "4006381333932", "03600029145", "abc", "٠٣٦٠٠٠٢٩١٤٥٢"])
def test_what_cannot_be_a_upc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no UPC"):
        identifiers.upc(text)


@given(st.integers(0, 10**11 - 1), st.integers(0, 11), st.integers(1, 9))
def test_any_single_wrong_digit_of_a_upc_is_noticed(number: int, place: int, by: int) -> None:
    digits = [int(digit) for digit in f"{number:011}"]
    check = -(3 * sum(digits[0::2]) + sum(digits[1::2])) % 10
    digits.append(check)
    assert identifiers.upc("".join(map(str, digits)))
    digits[place] = (digits[place] + by) % 10
    with pytest.raises(ValueError, match="check digit"):
        identifiers.upc("".join(map(str, digits)))


def test_territories_are_taken_in_order_and_once() -> None:
    assert identifiers.territories("de, AT;ch  DE") == ("DE", "AT", "CH")
    assert identifiers.territories("Worldwide") == identifiers.territories("") == ()
    assert len(identifiers.TERRITORIES) == 249


@pytest.mark.parametrize("text", ["XX", "DE, UK", "Germany"])
def test_an_unknown_territory_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"unknown territory {text.upper().removeprefix('DE, ')}"):
        identifiers.territories(text)
