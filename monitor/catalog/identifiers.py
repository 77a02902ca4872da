"""ISRC, ISWC, UPC and territories: their usual spellings, and whether they can be right. Pure."""

from __future__ import annotations

import re

# ISO 3166-1 alpha-2, the 249 that are officially assigned.
_TERRITORIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA "
    "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA "
    "GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP "
    "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS "
    "MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS "
    "RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW "
    "TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
TERRITORIES = frozenset(_TERRITORIES.split())
EVERYWHERE = frozenset({"WW", "WORLD", "WORLDWIDE"})
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}\d{7}")  # ISO 3901; it has no check digit
ISWC = re.compile(r"T\d{10}")  # ISO 15707
UPC = re.compile(r"\d{12}|\d{13}")  # UPC-A, EAN-13
PUNCTUATION = re.compile(r"[\s.\-‐‑–]")


def isrc(text: str) -> str:
    """DE-A62-21-00001 as DEA622100001.

    Raises:
        ValueError: it cannot be one.
    """
    plain = PUNCTUATION.sub("", text).upper().removeprefix("ISRC").removeprefix(":")
    if not ISRC.fullmatch(plain):
        raise ValueError(f"{text!r} is no ISRC: two letters, three letters or digits, seven digits")
    return plain


def iswc(text: str) -> str:
    """t-034.524.680-1 as T-034.524.680-1.

    Raises:
        ValueError: it cannot be one, or its check digit is another.
    """
    plain = PUNCTUATION.sub("", text).upper().removeprefix("ISWC").removeprefix(":")
    if not ISWC.fullmatch(plain):
        raise ValueError(f"{text!r} is no ISWC: T and ten digits")
    digits = [int(digit) for digit in plain[1:]]
    check = -(1 + sum(place * digit for place, digit in enumerate(digits[:9], start=1))) % 10
    if check != digits[9]:
        raise ValueError(f"{text!r} is no ISWC: its check digit would be {check}")
    return f"T-{plain[1:4]}.{plain[4:7]}.{plain[7:10]}-{plain[10]}"


def upc(text: str) -> str:
    """Twelve or thirteen digits.

    Raises:
        ValueError: it cannot be one, or its check digit is another.
    """
    plain = PUNCTUATION.sub("", text)
    if not plain.isascii() or not UPC.fullmatch(plain):
        raise ValueError(f"{text!r} is no UPC or EAN: twelve or thirteen digits")
    digits = [int(digit) for digit in plain]
    weights = [3 if place % 2 else 1 for place in range(1, len(digits))]  # from the right, the check digit not counted
    check = -sum(weight * digit for weight, digit in zip(weights, reversed(digits[:-1]), strict=True)) % 10
    if check != digits[-1]:
        raise ValueError(f"{text!r} is no UPC or EAN: its check digit would be {check}")
    return plain


def territories(text: str) -> tuple[str, ...]:
    """Codes between commas, semicolons or blanks, in order and each once; none for the whole world.

    Raises:
        ValueError: one of them is unknown.
    """
    codes = [code.upper() for code in re.split(r"[\s,;|/]+", text) if code]
    if any(code in EVERYWHERE for code in codes):
        return ()
    if unknown := sorted(set(codes) - TERRITORIES):
        raise ValueError(f"unknown territory {', '.join(unknown)}: ISO 3166-1 codes of two letters, like DE, GB or US")
    return tuple(dict.fromkeys(codes))
