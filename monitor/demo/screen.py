"""The demo's live view: what Airtrace reports, next to what the station is broadcasting.

On a terminal it is a panel that is redrawn. Elsewhere it prints one line, without control codes, for every match that
opens or closes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monitor.demo.program import Item, Kind, Program
from monitor.demo.reported import Reported, minutes, parse, printable

MAX_EVENTS = 6  # lines of the panel
BAR_COLUMNS = 40


class Screen:
    """A context manager: call `show` with each update of the matches, and `tick` several times a second."""

    def __init__(
        self,
        program: Program,
        console: Console,
        elapsed_s: Callable[[], float],
        on_air_at: Callable[[], datetime | None],
    ) -> None:
        self._program = program
        self._console = console
        self._elapsed_s = elapsed_s
        self._on_air_at = on_air_at
        self._matches: dict[str, Reported] = {}
        self._events: deque[str] = deque(maxlen=MAX_EVENTS)
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._panel) if live else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, matches: Iterable[Mapping[str, Any]]) -> None:
        """Takes the current matches. Those that opened or closed since the last call become events."""
        for match in sorted(map(parse, matches), key=lambda match: match.start):
            before = self._matches.get(match.id)
            self._matches[match.id] = match
            if before is None:
                self._event(self._opened(match))
            if not match.is_open and (before is None or before.is_open):
                self._event(self._closed(match))
        self.tick()

    def tick(self) -> None:
        """Redraws the panel with the current time."""
        if self._live:
            self._live.refresh()

    def _event(self, text: str) -> None:
        line = f"{minutes(self._elapsed_s()):>5}  {text}"
        self._events.append(line)
        if self._live is None:
            self._console.print(f"{line} | station: {self._station()}", markup=False, highlight=False, soft_wrap=True)

    def _opened(self, match: Reported) -> str:
        since, position = minutes(self._broadcast_s(match.start)), minutes(match.track_start_s)
        return f"playing  {printable(match.name)}, since {since}, at {position} of the track, score {match.score:.2f}"

    def _closed(self, match: Reported) -> str:
        interval = f"{minutes(self._broadcast_s(match.start))}-{minutes(self._broadcast_s(match.end))}"
        track = f"{minutes(match.track_start_s)}-{minutes(match.track_end_s)}"
        return f"played   {printable(match.name)}, {interval}, {track} of the track, score {match.score:.2f}"

    def _broadcast_s(self, instant: datetime) -> float:
        """Seconds from the start of the broadcast to an instant."""
        on_air_at = self._on_air_at()
        return (instant - on_air_at).total_seconds() if on_air_at else 0.0

    def _station(self) -> str:
        return " + ".join(map(_airing, self._program.at(self._elapsed_s()))) or "off the air"

    def _panel(self) -> RenderableType:
        now = Table.grid(padding=(0, 2))
        now.add_column(style="bold", no_wrap=True)
        now.add_column()
        now.add_row("program", self._bar())
        now.add_row("on the air", Text(self._station()))
        now.add_row("Airtrace", self._playing())
        events = Text("\n".join(self._events), style="dim", no_wrap=True, overflow="ellipsis")
        return Panel(Group(now, Text(), events), title="Airtrace demo", title_align="left")

    def _bar(self) -> RenderableType:
        elapsed_s, total_s = self._elapsed_s(), self._program.duration_s
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=total_s, completed=elapsed_s, width=BAR_COLUMNS),
            Text(f"{minutes(elapsed_s)} / {minutes(total_s)}"),
        )
        return bar

    def _playing(self) -> RenderableType:
        matches = [match for match in self._matches.values() if match.is_open]
        if not matches:
            return Text("nothing that it knows", style="dim")
        return Text("\n").join(map(self._playing_line, matches))

    def _playing_line(self, match: Reported) -> Text:
        since, position = minutes(self._broadcast_s(match.start)), minutes(match.track_end_s)
        facts = f"  since {since}, now at {position} of the track, score {match.score:.2f}"
        return Text.assemble((printable(match.name), "bold green"), facts)


def _airing(item: Item) -> str:
    return item.title if item.kind in (Kind.SPEECH, Kind.SILENCE) else f"{printable(item.title)} ({item.kind})"
