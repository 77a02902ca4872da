"""Normalizes and validates ISRC, ISWC, UPC and territory codes. Pure."""

from __future__ import annotations

import re

import pycountry

TERRITORIES = frozenset(country.alpha_2 for country in pycountry.countries)  # ISO 3166-1 alpha-2
EVERYWHERE = frozenset({"WW", "WORLD", "WORLDWIDE"})
ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}\d{7}")  # ISO 3901; it has no check digit
ISWC = re.compile(r"T\d{10}")  # ISO 15707
UPC = re.compile(r"\d{12}|\d{13}")  # UPC-A, EAN-13
PUNCTUATION = re.compile(r"[\s.\-‐‑–]")


def isrc(text: str) -> str:
    """Normalizes an ISRC: DE-A62-21-00001 becomes DEA622100001.

    Raises:
        ValueError: the text is not an ISRC.
    """
    plain = PUNCTUATION.sub("", text).upper().removeprefix("ISRC").removeprefix(":")
    if not ISRC.fullmatch(plain):
        raise ValueError(f"{text!r} is not an ISRC: two letters, three letters or digits, seven digits")
    return plain


def iswc(text: str) -> str:
    """Normalizes an ISWC: t0345246801 becomes T-034.524.680-1.

    Raises:
        ValueError: the text is not an ISWC, or its check digit is wrong.
    """
    plain = PUNCTUATION.sub("", text).upper().removeprefix("ISWC").removeprefix(":")
    if not ISWC.fullmatch(plain):
        raise ValueError(f"{text!r} is not an ISWC: T and ten digits")
    digits = [int(digit) for digit in plain[1:]]
    check = -(1 + sum(place * digit for place, digit in enumerate(digits[:9], start=1))) % 10
    if check != digits[9]:
        raise ValueError(f"{text!r} is not an ISWC: its check digit should be {check}")
    return f"T-{plain[1:4]}.{plain[4:7]}.{plain[7:10]}-{plain[10]}"


def upc(text: str) -> str:
    """Normalizes a UPC or EAN to its twelve or thirteen digits.

    Raises:
        ValueError: the text is neither, or its check digit is wrong.
    """
    plain = PUNCTUATION.sub("", text)
    if not plain.isascii() or not UPC.fullmatch(plain):
        raise ValueError(f"{text!r} is not a UPC or EAN: twelve or thirteen digits")
    digits = [int(digit) for digit in plain]
    weights = [3 if place % 2 else 1 for place in range(1, len(digits))]  # from the right, without the check digit
    check = -sum(weight * digit for weight, digit in zip(weights, reversed(digits[:-1]), strict=True)) % 10
    if check != digits[-1]:
        raise ValueError(f"{text!r} is not a UPC or EAN: its check digit should be {check}")
    return plain


def territories(text: str) -> tuple[str, ...]:
    """Parses codes separated by commas, semicolons or blanks, in order and without repeats; empty for the whole world.

    Raises:
        ValueError: a code is not in ISO 3166-1.
    """
    codes = [code.upper() for code in re.split(r"[\s,;|/]+", text) if code]
    if any(code in EVERYWHERE for code in codes):
        return ()
    if unknown := sorted(set(codes) - TERRITORIES):
        raise ValueError(f"unknown territory {', '.join(unknown)}: use ISO 3166-1 codes such as DE, GB or US")
    return tuple(dict.fromkeys(codes))
