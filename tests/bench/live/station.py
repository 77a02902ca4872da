"""The station: one process that sends many streams over HTTP on loopback, in real time, as Icecast does.

`python -m tests.bench.live.station FILE` reads what to send (see `specification`) and prints one line of JSON: its port
and when it went on the air. It ends when its standard input does, and then prints how punctual it was.

A new listener gets the last seconds at once, then every frame or page when its sound is over. The station sends to each
listener a few times a second, at moments of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench.live.frames import Encoded, parse
from tests.bench.live.programs import Feed, Program

HOST = "127.0.0.1"
BURST_S = 3.0
TICK_S = 0.1
MAX_UNSENT_BYTES = 512 * 1024  # then the listener is dropped: Icecast's default
REQUEST_S = 30.0
TYPES = {"mp3": "audio/mpeg", "aac": "audio/aac", "opus": "application/ogg"}


def specification(programs: Sequence[Program], feeds: Sequence[Feed]) -> str:
    """What a station process reads."""
    listed = [{"codec": each.codec, "path": str(each.path)} for each in programs]
    return json.dumps({"programs": listed, "feeds": [[each.program, each.offset_s] for each in feeds]})


def path(program: Program, stream: int) -> str:
    """The path of a stream's URL."""
    return f"/{stream}.{program.codec}"


class Station:
    """The streams, and how late their bytes were sent."""

    def __init__(self, programs: Sequence[tuple[str, Encoded]], feeds: Sequence[Feed]) -> None:
        """`programs`: the content type of each, and its chunks."""
        self._programs = programs
        self._feeds = feeds
        self._begun_s = time.monotonic()
        self.on_air_s = time.time()
        self.late_s: list[float] = []
        self.dropped = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one listener until it leaves or does not keep up."""
        with suppress(OSError, ValueError, LookupError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_S):
                request = await reader.readuntil(b"\r\n\r\n")
            target = request.split(b" ", 2)[1].decode()
            feed = self._feeds[int(Path(target).stem)]
            kind, encoded = self._programs[feed.program]
            writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-cache\r\n\r\n".encode())
            writer.write(encoded.head)
            await self._play(writer, encoded, feed.offset_s)
        writer.transport.abort()

    async def _play(self, writer: asyncio.StreamWriter, encoded: Encoded, offset_s: float) -> None:
        sent = encoded.aired(max(0.0, self._elapsed_s() + offset_s - BURST_S))
        await asyncio.sleep(random.uniform(0, TICK_S))
        due_s = self._elapsed_s()
        while not writer.transport.is_closing():
            self.late_s.append(self._elapsed_s() - due_s)
            aired = encoded.aired(self._elapsed_s() + offset_s)
            writer.write(encoded.chunks(sent, aired))
            sent = aired
            if writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                self.dropped += 1
                return
            due_s = max(due_s + TICK_S, self._elapsed_s())
            await asyncio.sleep(due_s - self._elapsed_s())

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begun_s


async def _serve(given: dict[str, Any]) -> None:
    programs = []
    for each in given["programs"]:
        programs.append((TYPES[each["codec"]], parse(each["codec"], Path(each["path"]).read_bytes())))
    station = Station(programs, [Feed(*each) for each in given["feeds"]])
    server = await asyncio.start_server(station.serve, HOST, 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "on_air_s": station.on_air_s}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    late_s = sorted(station.late_s) or [0.0]
    p95_s, max_s = late_s[int(0.95 * (len(late_s) - 1))], late_s[-1]
    print(
        json.dumps({"late_p95_s": round(p95_s, 3), "late_max_s": round(max_s, 3), "dropped": station.dropped}),
        flush=True,
    )
    os._exit(0)  # without a farewell to each listener


def main() -> int:
    """Runs until the end of standard input."""
    given = json.loads(Path(sys.argv[1]).read_text())
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
