"""The station over real sockets, with a clock that the test turns."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from monitor.demo.station import BURST_S, TICK_S, Station

RATE = 1_000  # bytes a second
SOUND = bytes(n * 7 % 251 for n in range(10 * RATE))
ON_AIR = datetime(2026, 1, 2, tzinfo=UTC)


class HandTime:
    """Time that stands until it is advanced."""

    def __init__(self):
        self.now = 100.0
        self._sleepers = []

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, woken))
        await woken

    async def advance(self, seconds):
        for _ in range(round(seconds / TICK_S)):
            self.now = round(self.now + TICK_S, 6)
            due = [woken for at, woken in self._sleepers if at <= self.now + 1e-9]
            self._sleepers = [(at, woken) for at, woken in self._sleepers if at > self.now + 1e-9]
            for woken in due:
                if not woken.done():
                    woken.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)


class Listener:
    """A client that keeps all it gets."""

    def __init__(self, reader):
        self._reader = reader
        self._more = asyncio.Event()
        self.heard = bytearray()
        self.ended = False

    async def listen(self):
        while data := await self._reader.read(65536):
            self.heard += data
            self._more.set()
        self.ended = True
        self._more.set()

    async def has(self, n_bytes):
        await self._until(lambda: len(self.heard) >= n_bytes)
        return bytes(self.heard)

    async def to_the_end(self):
        await self._until(lambda: self.ended)
        return bytes(self.heard)

    async def _until(self, reached):
        async with asyncio.timeout(5):
            while not reached():
                self._more.clear()
                await self._more.wait()


@pytest.fixture
def hand():
    return HandTime()


def on(hand, sound=SOUND, rate=RATE):
    return Station(sound, rate, clock=hand.clock, sleep=hand.sleep, utc_now=lambda: ON_AIR)


async def request(station, line):
    host, port = station.url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{line}\r\nHost: {host}\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return head.decode(), reader, writer


@asynccontextmanager
async def listening(station, version="1.0"):
    head, reader, writer = await request(station, f"GET /live.mp3 HTTP/{version}")
    assert " 200 OK" in head
    listener = Listener(reader)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(listener.listen(), name="listener")
            yield listener
            task.cancel()
    finally:
        writer.close()


async def test_it_looks_like_an_icecast_mount(hand):
    async with on(hand) as station:
        head, _, writer = await request(station, "GET /live.mp3 HTTP/1.1")
        writer.close()
        await hand.advance(2 * TICK_S)
    for header in ("Content-Type: audio/mpeg", "icy-name: Airtrace demo", "icy-br: 8", "Cache-Control: no-cache"):
        assert header in head


async def test_nothing_is_aired_before_somebody_listens(hand):
    async with on(hand) as station:
        await hand.advance(3.0)
        assert station.elapsed_s == 0.0
        assert station.on_air_at is None
        async with listening(station) as listener:
            await hand.advance(1.0)
            assert await listener.has(RATE) == SOUND[:RATE]
        assert station.on_air_at == ON_AIR
        await hand.advance(2 * TICK_S)


async def test_bytes_go_out_at_the_speed_at_which_they_sound(hand):
    async with on(hand) as station, listening(station) as listener:
        for second in range(1, 10):
            await hand.advance(1.0)
            assert await listener.has(second * RATE) == SOUND[: second * RATE]
        await hand.advance(1.2)


async def test_the_end_of_the_program_ends_the_response(hand):
    async with on(hand) as station, listening(station) as listener, asyncio.TaskGroup() as group:
        finished = group.create_task(station.finished(), name="finished")
        await hand.advance(9.9)
        assert not finished.done()
        await hand.advance(0.3)
        assert await listener.to_the_end() == SOUND
        async with asyncio.timeout(5):
            await finished
        assert station.over
        assert station.elapsed_s == 10.0


async def test_a_second_listener_hears_the_same_moment_after_a_burst(hand):
    async with on(hand) as station, listening(station) as first:
        await hand.advance(6.0)
        async with listening(station) as second:
            await hand.advance(1.0)
            assert await second.has(int((1 + BURST_S) * RATE)) == SOUND[2 * RATE : 7 * RATE]
            assert await first.has(7 * RATE) == SOUND[: 7 * RATE]
            await hand.advance(3.2)
            assert await second.to_the_end() == SOUND[2 * RATE :]
            assert await first.to_the_end() == SOUND


async def test_a_listener_that_leaves_does_not_disturb_the_other(hand):
    async with on(hand) as station, listening(station) as stays:
        async with listening(station) as leaves:
            await hand.advance(2.0)
            await leaves.has(2 * RATE)
        await hand.advance(8.2)
        assert await stays.to_the_end() == SOUND


async def test_a_slow_listener_is_dropped(hand):
    rate = 1_000_000
    async with on(hand, bytes(30 * rate), rate) as station:
        _, _, writer = await request(station, "GET /live.mp3 HTTP/1.0")  # and never reads on
        await hand.advance(2.0)
        assert station.listeners == 1
        await hand.advance(26.0)
        assert station.listeners == 0
        writer.close()


async def test_chunks_tell_the_end_from_a_break(hand):
    async with on(hand) as station, listening(station, "1.1") as listener:
        await hand.advance(10.2)
        heard = await listener.to_the_end()
        assert heard.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.1", "404"),
        ("POST /live.mp3 HTTP/1.1", "405"),
        ("nonsense", "405"),
        ("HEAD /live.mp3 HTTP/1.1", "200"),
    ],
)
async def test_other_requests_are_answered_and_start_nothing(hand, line, status):
    async with on(hand) as station:
        head, _, writer = await request(station, line)
        assert head.split()[1] == status
        assert station.on_air_at is None
        writer.close()


async def test_after_the_program_there_is_no_mount(hand):
    async with on(hand) as station:
        station.begin()
        await hand.advance(10.1)
        head, _, writer = await request(station, "GET /live.mp3 HTTP/1.1")
        assert "404" in head
        writer.close()


async def test_closing_the_station_ends_its_listeners_at_once():
    async with Station(SOUND, RATE) as station:
        _, reader, writer = await request(station, "GET /live.mp3 HTTP/1.0")
        assert station.listeners == 1
    assert station.listeners == 0
    with suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)
    writer.close()
