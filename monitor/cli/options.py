"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Split(StrEnum):
    """A part of the training corpus; `test` is only for published figures."""

    TUNE = "tune"
    TEST = "test"


class Published(StrEnum):
    """A model whose file can be downloaded."""

    PANNS = "panns"
    PANNS_16K = "panns-16k"


class Size(StrEnum):
    """The size of a network to train."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


Home = Annotated[Path | None, typer.Option("--home", help="Directory that holds all data (AIRTRACE_HOME).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stream = Annotated[str | None, typer.Option(metavar="NAME", help="Only this stream.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of rows.")]
TrackId = Annotated[int, typer.Argument(min=1, metavar="ID", help="Track id, as `airtrace tracks list` shows it.")]
CORPUS = "Directory with the unpacked packages of the corpus."
Corpus = Annotated[Path | None, typer.Option(help=CORPUS)]
Fetch = Annotated[bool, typer.Option(help="Download the packages that are missing there (5.5 GB).")]
Music = Annotated[list[Path] | None, typer.Option(help="Directories of music, instead of the corpus.")]
Speech = Annotated[list[Path] | None, typer.Option(help="Directories of speech to mix over the music.")]
Noise = Annotated[list[Path] | None, typer.Option(help="Directories of noise and sound effects.")]
