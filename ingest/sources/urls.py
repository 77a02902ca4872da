"""Which URLs a stream may have, and ffmpeg's options for each kind. Opens nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from urllib.parse import urlsplit

from ingest.errors import UnsupportedUrl

# Only ends an ffmpeg that outlived us: it is longer than any timeout that the settings allow for the reader.
IO_TIMEOUT_S = 330
IO_TIMEOUT = {"rw_timeout": str(IO_TIMEOUT_S * 1_000_000)}

# How much ffmpeg reads to detect the format. Web radio starts in the middle of an MP3 frame, and ffmpeg 5 then reads
# 128 KB before it accepts MP3: 8 s at 128 kb/s. It detects other formats after far less.
FORMAT_PROBE_BYTES = 16_384

# Whatever a playlist or a redirect names, ffmpeg opens only these: never a file on this machine.
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
    """Returns how to open a stream.

    Raises:
        UnsupportedUrl: it is not an accepted URL. The message does not quote it: it may contain a password.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PROTOCOLS:
        raise UnsupportedUrl(f"streams of this kind are not supported; use one of {ACCEPTED}")
    if not url.isprintable() or " " in url:
        raise UnsupportedUrl("the URL contains spaces or control characters: percent-encode them, as in %20")
    _check_address(url)
    return Source(f"{scheme}://{rest}", _options(scheme))  # ffmpeg only knows lower-case protocols


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnsupportedUrl("the URL's host or port is not valid: a port is a number from 1 to 65535") from error
    if not host:
        raise UnsupportedUrl("the URL has no host: write scheme://host/path (host 0.0.0.0 to receive on any address)")
    if port == 0:
        raise UnsupportedUrl("the URL's port is not valid: a port is a number from 1 to 65535")


def _options(scheme: str) -> dict[str, str]:
    """Never uses ffmpeg's own -reconnect: it hides a break, and the audio after it would get wrong times."""
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme in ("http", "https"):
        probing = {"formatprobesize": str(FORMAT_PROBE_BYTES)}
        return {**options, **probing, **IO_TIMEOUT, "user_agent": _user_agent()}
    if scheme in ("rtsp", "rtsps"):  # over TCP: lost datagrams would shift the clock
        timeout = {"timeout": IO_TIMEOUT["rw_timeout"]}
        return {**options, **timeout, "rtsp_transport": "tcp", "user_agent": _user_agent()}
    if scheme in ("udp", "rtp"):  # no connection, so no timeout to set; the reader has its own
        return options
    return {**options, **IO_TIMEOUT}


@cache
def _user_agent() -> str:
    return f"Airtrace/{version('airtrace')}"
