"""Identifiers: their usual spellings, and the ones that are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.catalog import identifiers


@pytest.mark.parametrize("text", ["DE-A62-21-00001", "dea622100001", "ISRC DE A62 21 00001", "ISRC:DEA622100001"])
def test_an_isrc_is_normalized_from_every_spelling(text: str) -> None:
    assert identifiers.isrc(text) == "DEA622100001"


@pytest.mark.parametrize("text", ["DEA62210001", "1EA622100001", "DEA62210000A", "DEA6221000012", "", "ＤＥA622100001"])
def test_a_malformed_isrc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISRC"):
        identifiers.isrc(text)


@pytest.mark.parametrize("text", ["T-034.524.680-1", "t0345246801", "ISWC T-034.524.680.1"])
def test_an_iswc_is_normalized_from_every_spelling(text: str) -> None:
    assert identifiers.iswc(text) == "T-034.524.680-1"


@pytest.mark.parametrize("text", ["T-034.524.680-2", "T-034.542.680-1"])
def test_an_iswc_with_a_wrong_digit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="check digit"):
        identifiers.iswc(text)


@pytest.mark.parametrize("text", ["0345246801", "T-034.524.680", "W-034.524.680-1"])
def test_a_malformed_iswc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISWC"):
        identifiers.iswc(text)


@pytest.mark.parametrize(("text", "plain"), [("0 36000 29145 2", "036000291452"), ("4006381333931", "4006381333931")])
def test_upc_and_ean_are_normalized(text: str, plain: str) -> None:
    assert identifiers.upc(text) == plain


@pytest.mark.parametrize("text", ["036000291453", "4006381333932", "03600029145", "abc", "٠٣٦٠٠٠٢٩١٤٥٢"])
def test_a_malformed_upc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a UPC"):
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


def test_territories_keep_their_order_and_appear_once() -> None:
    assert identifiers.territories("de, AT;ch  DE") == ("DE", "AT", "CH")
    assert identifiers.territories("Worldwide") == identifiers.territories("") == ()


# ISO 3166-1 alpha-2, the 249 that are officially assigned: what a catalog may hold already.
ASSIGNED = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA "
    "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA "
    "GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP "
    "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS "
    "MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS "
    "RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW "
    "TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)


def test_every_assigned_code_is_a_territory() -> None:
    assert identifiers.territories(ASSIGNED) == tuple(ASSIGNED.split())
    assert len(ASSIGNED.split()) == 249


@pytest.mark.parametrize("text", ["UK", "EU", "SU", "YU", "AN", "AA", "ZZ", "USA", "D", "007", "W1"])
def test_reserved_withdrawn_and_other_codes_are_not_territories(text: str) -> None:
    with pytest.raises(ValueError, match=f"unknown territory {text}"):
        identifiers.territories(text)


@pytest.mark.parametrize("text", ["XX", "DE, UK", "Germany"])
def test_an_unknown_territory_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"unknown territory {text.upper().removeprefix('DE, ')}"):
        identifiers.territories(text)
