"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Split(StrEnum):
    """A part of the corpus; the test part is for published figures only."""

    TUNE = "tune"
    TEST = "test"


class Published(StrEnum):
    """A model whose file can be fetched."""

    PANNS = "panns"
    PANNS_16K = "panns-16k"


class Size(StrEnum):
    """Of a network to train."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stream = Annotated[str | None, typer.Option(help="Only this stream's.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most rows.")]
TrackId = Annotated[int, typer.Argument(min=1, metavar="ID")]
CORPUS = "Directory of the corpus's unpacked packages."
Corpus = Annotated[Path | None, typer.Option(help=CORPUS)]
Fetch = Annotated[bool, typer.Option(help="Fetch the packages that are missing there (5.5 GB).")]
Music = Annotated[list[Path] | None, typer.Option(help="Instead of the corpus: directories of music.")]
Speech = Annotated[list[Path] | None, typer.Option(help="Directories of speech to put over it.")]
Noise = Annotated[list[Path] | None, typer.Option(help="Directories of noise and effects.")]
Home = Annotated[Path | None, typer.Option("--home", help="Where everything is kept (AIRTRACE_HOME).")]
