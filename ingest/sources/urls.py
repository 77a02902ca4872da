"""What a stream's URL may be, and how ffmpeg is told to open each kind. Opens nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from urllib.parse import urlsplit

from ingest.errors import UnsupportedUrl

# Only ends an ffmpeg that outlived us: it is longer than any time-out that the settings allow the reader itself.
IO_TIMEOUT_S = 330
IO_TIMEOUT = {"rw_timeout": str(IO_TIMEOUT_S * 1_000_000)}

# How much ffmpeg reads before it settles for a format. Web radio begins amid an MP3 frame, and ffmpeg 5 then reads
# 128 KB before it believes in MP3: 8 s at 128 kb/s. Other formats are certain after far less.
FORMAT_PROBE_BYTES = 16_384

# Whatever a playlist or a redirect names, ffmpeg opens nothing but these: never a file of this machine.
WEB = "http,https,httpproxy,tcp,tls,crypto"
PROTOCOLS = {
    "http": WEB,
    "https": WEB,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,udp,tls,tcp",
    "srt": "srt",
    "udp": "udp",
    "rtp": "rtp,udp",
}
ACCEPTED = "http, https (also HLS), rtmp, rtmps, rtsp, rtsps, srt, udp and rtp, as in https://radio.example/live.mp3"


@dataclass(frozen=True, slots=True)
class Source:
    """A URL that ffmpeg may open, with its input options."""

    url: str
    options: Mapping[str, str]


def check(url: str) -> Source:
    """How to open a stream.

    Raises:
        UnsupportedUrl: it is no URL of a kind that is accepted. The message does not repeat it: it may hold a password.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PROTOCOLS:
        raise UnsupportedUrl(f"streams of this kind are not opened; give one of {ACCEPTED}")
    if not url.isprintable() or " " in url:
        raise UnsupportedUrl("the URL has spaces or control characters in it: write them as %20 and the like")
    _check_address(url)
    return Source(f"{scheme}://{rest}", _options(scheme))  # ffmpeg knows its protocols in lower case only


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnsupportedUrl("the URL's host or port is not valid: a port is a number from 1 to 65535") from error
    if not host:
        raise UnsupportedUrl("the URL has no host: write scheme://host/path (to receive on any address, host 0.0.0.0)")
    if port == 0:
        raise UnsupportedUrl("the URL's port is not valid: a port is a number from 1 to 65535")


def _options(scheme: str) -> dict[str, str]:
    """Never ffmpeg's own -reconnect: it hides a break from the clock, and the audio behind it would be misdated."""
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme in ("http", "https"):
        probing = {"formatprobesize": str(FORMAT_PROBE_BYTES)}
        return {**options, **probing, **IO_TIMEOUT, "user_agent": _user_agent()}
    if scheme in ("rtsp", "rtsps"):  # over TCP: lost datagrams would shift the clock
        timeout = {"timeout": IO_TIMEOUT["rw_timeout"]}
        return {**options, **timeout, "rtsp_transport": "tcp", "user_agent": _user_agent()}
    if scheme in ("udp", "rtp"):  # without a connection there is no time-out to set; the reader has its own
        return options
    return {**options, **IO_TIMEOUT}


@cache
def _user_agent() -> str:
    return f"Airtrace/{version('airtrace')}"
