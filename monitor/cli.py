"""`airtrace`: the command line. Declares the commands; what they do, and all heavy imports, are in `commands/`."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Coroutine, Iterator
from enum import StrEnum
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

if TYPE_CHECKING:
    from monitor.settings import Settings

# Files and streams are embedded beside one another as it is: more threads of BLAS only spin, for twice the processor
# time. numpy reads it when it is first imported, which every command does later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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

FULL = "Full mode: processes over Kafka, PostgreSQL and Milvus"
INTERRUPTED = 128  # and more: exit codes of commands that a signal ended

app = typer.Typer(
    help="Listens to broadcast streams and says which recording was played where, from when to when, how surely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tracks = typer.Typer(help="The catalog of reference recordings.", no_args_is_help=True)
catalog = typer.Typer(help="The catalog as a whole: in step with its index, carried elsewhere.", no_args_is_help=True)
streams = typer.Typer(help="The feeds that are monitored.", no_args_is_help=True)
app.add_typer(tracks, name="tracks")
app.add_typer(catalog, name="catalog")
app.add_typer(streams, name="streams")
model = typer.Typer(
    help="The fingerprint's weights: what they are, how good, and how they are made.", no_args_is_help=True
)
app.add_typer(model, name="model")
models = typer.Typer(help="The files of all models: which are here, and how the others come here.")
app.add_typer(models, name="models")
topics = typer.Typer(help="The topics of the full mode in Kafka.", no_args_is_help=True)
app.add_typer(topics, name="topics", rich_help_panel=FULL)


@app.callback()
def common(context: typer.Context, home: Home = None) -> None:
    """Options that stand before the command."""
    context.obj = home


@tracks.command("add")
def tracks_add(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE|DIR...", help="Audio files, or directories of them.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or JSON with `file` and what is known of it: title, artist, isrc, ...")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of a CSV manifest, where it is not UTF-8 or UTF-16.")] = "utf-8",
    report: Annotated[Path | None, typer.Option(help="Write a row for each file here: .csv or .json.")] = None,
    json: Json = False,
) -> None:
    """Register recordings; audio that is there already is recognised, so it can be broken off and run again."""
    from monitor.commands import intake as commands

    if not paths and manifest is None:
        raise typer.BadParameter("give files, directories or a manifest", context)
    _finish(
        commands.add(
            _settings(context), paths or [], manifest_path=manifest, encoding=encoding, report=report, as_json=json
        )
    )


@tracks.command("list")
def tracks_list(
    context: typer.Context,
    query: Annotated[
        str | None, typer.Argument(help="Part of a title, artist, album, label, rights holder, code or own id.")
    ] = None,
    status: Annotated[
        Literal["pending", "ready", "failed", "retiring", "retired"] | None, typer.Option(help="Only those.")
    ] = None,
    json: Json = False,
) -> None:
    """List the catalog."""
    from monitor.commands import tracks as commands

    _finish(commands.list_(_settings(context), query, status, as_json=json))


@tracks.command("show")
def tracks_show(
    context: typer.Context, track: Annotated[int, typer.Argument(min=1, metavar="ID")], json: Json = False
) -> None:
    """Show what is known of a recording, and its family."""
    from monitor.commands import tracks as commands

    _finish(commands.show(_settings(context), track, as_json=json))


@tracks.command("families")
def tracks_families(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """List the recordings that are near-identical to one another: edits, other tempos, stems, excerpts."""
    from monitor.commands import tracks as commands

    _finish(commands.families(_settings(context), limit, as_json=json))


@tracks.command("edit")
def tracks_edit(
    context: typer.Context,
    track: TrackId,
    title: Annotated[str | None, typer.Option()] = None,
    artist: Annotated[str | None, typer.Option()] = None,
    album: Annotated[str | None, typer.Option()] = None,
    label: Annotated[str | None, typer.Option()] = None,
    rights_holder: Annotated[str | None, typer.Option()] = None,
    isrc: Annotated[str | None, typer.Option()] = None,
    iswc: Annotated[str | None, typer.Option()] = None,
    upc: Annotated[str | None, typer.Option()] = None,
    territories: Annotated[str | None, typer.Option(help="ISO 3166-1 codes: DE,AT,CH.")] = None,
    valid_from: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD")] = None,
    valid_until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD")] = None,
    own_id: Annotated[str | None, typer.Option(help="What you call it.")] = None,
    field: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A field of your own.")] = None,
    json: Json = False,
) -> None:
    """Change what is known of a recording besides its sound; an empty text takes it away."""
    from monitor.commands import tracks as commands

    named = {"title": title, "artist": artist, "album": album, "label": label, "rights_holder": rights_holder}
    codes = {"isrc": isrc, "iswc": iswc, "upc": upc, "territories": territories}
    others = {"valid_from": valid_from, "valid_until": valid_until, "own_id": own_id}
    said = {name: value for name, value in {**named, **codes, **others}.items() if value is not None}
    _finish(commands.edit(_settings(context), track, said, field or [], as_json=json))


@tracks.command("replace")
def tracks_replace(context: typer.Context, track: TrackId, file: Path, json: Json = False) -> None:
    """Give a recording's entry another recording: its excluded intervals go, its past matches stay."""
    from monitor.commands import tracks as commands

    _finish(commands.replace(_settings(context), track, file, as_json=json))


@tracks.command("exclude")
def tracks_exclude(
    context: typer.Context,
    track: TrackId,
    intervals: Annotated[
        list[str] | None, typer.Argument(metavar="FROM-TO...", help="In the recording: 0-12.5 or 1:02-1:10.5.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="Why: a sample library's intro, a news sting.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Let all of it match again.")] = False,
    json: Json = False,
) -> None:
    """Say which parts of a recording never match, instead of those that were said before."""
    from monitor.commands import tracks as commands
    from monitor.commands.times import interval

    if bool(intervals) == none:
        raise typer.BadParameter("give intervals, or else --none", context)
    try:
        parsed = [interval(each) for each in intervals or []]
    except ValueError as error:
        raise typer.BadParameter(str(error), context) from error
    _finish(commands.exclude(_settings(context), track, parsed, note, as_json=json))


@tracks.command("retire")
def tracks_retire(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Take a recording out of matching and keep all that is known of it."""
    from monitor.commands import tracks as commands

    _finish(commands.retire(_settings(context), track, as_json=json))


@tracks.command("restore")
def tracks_restore(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Take a retired recording back into matching; its audio is not needed."""
    from monitor.commands import tracks as commands

    _finish(commands.restore(_settings(context), track, as_json=json))


@tracks.command("delete")
def tracks_delete(context: typer.Context, track: Annotated[int, typer.Argument(min=1, metavar="ID")]) -> None:
    """Take a recording out of the catalog."""
    from monitor.commands import tracks as commands

    _finish(commands.delete(_settings(context), track))


@tracks.command("rebuild")
def tracks_rebuild(context: typer.Context, json: Json = False) -> None:
    """Re-embed recordings of other models from their files, and fill the index anew."""
    from monitor.commands import tracks as commands

    _finish(commands.rebuild(_settings(context), as_json=json))


@tracks.command("enrol")
def tracks_enrol(context: typer.Context, json: Json = False) -> None:
    """Give recordings that have none their PANNs vectors, from their files: for `airtrace similar`."""
    from monitor.commands import similar as commands

    _finish(commands.enrol(_settings(context), as_json=json))


@catalog.command("about")
def catalog_about(context: typer.Context, json: Json = False) -> None:
    """Say what the catalog and its index have."""
    from monitor.commands import catalog as commands

    _finish(commands.about(_settings(context), as_json=json))


@catalog.command("verify")
def catalog_verify(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--mend", help="Mend what is found, from PostgreSQL.")] = False,
    json: Json = False,
) -> None:
    """Compare the index with PostgreSQL, vector by vector."""
    from monitor.commands import catalog as commands

    _finish(commands.verify(_settings(context), mend=mend, as_json=json))


@catalog.command("rebuild")
def catalog_rebuild(context: typer.Context, json: Json = False) -> None:
    """Build the index anew from the stored vectors; no audio is needed, and searches go on."""
    from monitor.commands import catalog as commands

    _finish(commands.rebuild(_settings(context), as_json=json))


@catalog.command("prune")
def catalog_prune(context: typer.Context, json: Json = False) -> None:
    """Delete the vectors that models of the past have left, once no process uses them."""
    from monitor.commands import catalog as commands

    _finish(commands.prune(_settings(context), as_json=json))


@catalog.command("export")
def catalog_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; packed where it ends in .gz.")],
    json: Json = False,
) -> None:
    """Write the whole catalog with its fingerprints into one file."""
    from monitor.commands import catalog as commands

    _finish(commands.export(_settings(context), file, as_json=json))


@catalog.command("import")
def catalog_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What an export wrote.")],
    json: Json = False,
) -> None:
    """Take recordings over from an export, without their audio; what is known already stays as it is."""
    from monitor.commands import catalog as commands

    _finish(commands.take_over(_settings(context), file, as_json=json))


@streams.command("add")
def streams_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you call it.")],
    url: Annotated[str, typer.Argument(help="http(s), HLS, rtmp, rtsp, srt, udp or rtp.")],
) -> None:
    """Monitor a feed."""
    from monitor.commands import streams as commands

    _finish(commands.add(_settings(context), name, url))


@streams.command("list")
def streams_list(context: typer.Context, json: Json = False) -> None:
    """List the feeds and how they are."""
    from monitor.commands import streams as commands

    _finish(commands.list_(_settings(context), as_json=json))


@streams.command("remove")
def streams_remove(context: typer.Context, name: Annotated[str, typer.Argument()]) -> None:
    """Stop to monitor a feed; its matches and coverage stay."""
    from monitor.commands import streams as commands

    _finish(commands.remove(_settings(context), name))


@app.command()
def matches(
    context: typer.Context,
    stream: Stream = None,
    state: Annotated[Literal["open", "closed"] | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """What was played, newest first."""
    from monitor.commands import reading

    _finish(reading.matches(_settings(context), stream, state, limit, as_json=json))


@app.command()
def coverage(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """When each feed was listened to, and why not."""
    from monitor.commands import reading

    _finish(reading.coverage(_settings(context), stream, limit, as_json=json))


@app.command()
def alerts(
    context: typer.Context,
    state: Annotated[
        Literal["open", "acknowledged", "resolved", "dismissed"] | None, typer.Option(help="Only those.")
    ] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """The matches that somebody must see."""
    from monitor.commands import reading

    _finish(reading.alerts(_settings(context), state, limit, as_json=json))


@app.command()
def scan(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    results: Annotated[Path | None, typer.Option(help="Write the plays to this CSV file, too.")] = None,
    json: Json = False,
) -> None:
    """Scan recordings instead of streams, as fast as they go."""
    from monitor.commands import scan as commands

    _finish(commands.scan(_settings(context), files, results=results, as_json=json))


@app.command()
def similar(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A clip to find the like of.")
    ] = None,
    stream: Stream = None,
    review: Annotated[
        Literal["pending", "confirmed", "dismissed"] | None, typer.Option(help="Only those that were so reviewed.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most rows.")] = 10,
    json: Json = False,
) -> None:
    """Find the recordings that sound most like a clip; without one, list what on the streams resembles the catalog."""
    from monitor.commands import similar as commands

    if file is not None:
        _finish(commands.search(_settings(context), file, limit, as_json=json))
    _finish(commands.list_(_settings(context), stream, review, limit, as_json=json))


@app.command()
def review(
    context: typer.Context,
    similar: Annotated[
        UUID, typer.Argument(metavar="UUID", help="Of a similar match, as `airtrace similar` lists it.")
    ],
    said: Annotated[Literal["pending", "confirmed", "dismissed"], typer.Argument(help="What you heard.")],
    note: Annotated[str | None, typer.Option(help="What to remember of it.")] = None,
) -> None:
    """Say what you heard when you listened to a similar match."""
    from monitor.commands import similar as commands

    _finish(commands.review(_settings(context), str(similar), said, note))


@app.command()
def sounds(context: typer.Context, stream: Stream = None, limit: Limit = 100, json: Json = False) -> None:
    """What streams sounded like, ten seconds by ten seconds: music, speech, music under speech, silence, other."""
    from monitor.commands import similar as commands

    _finish(commands.sounds(_settings(context), stream, limit, as_json=json))


@app.command()
def explain(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="STREAM|FILE", help="A recording, or else the name of a stream that was just heard."),
    ],
    at: Annotated[
        str,
        typer.Option(metavar="TIME", help="In a recording 83.5 or 1:23.5, of a stream 14:03:07 or an ISO time (UTC)."),
    ],
    for_s: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0.1, max=60, help="How much from there on.")
    ] = 10.0,
    track: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only this track, wherever in it, found by hits or not.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the first hypothesis into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Say why something did or did not match at a moment."""
    from monitor.commands import explain as commands

    settings = _settings(context)
    _finish(commands.explain(settings, source, at, for_s=for_s, track=track, png=png, as_json=json))


@app.command()
def calibrate(
    context: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Recordings without anything of the catalog.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.001, max=100_000, help="False plays that are allowed in 1,000 hours of a stream.")
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the threshold would be.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Say what is in force, and where it comes from.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the detector's own threshold.")] = False,
    json: Json = False,
) -> None:
    """Set how much evidence a play needs, by unknown audio of the kind that you monitor."""
    from monitor.commands import calibrate as commands

    if bool(files) + show + reset != 1:
        raise typer.BadParameter("give recordings, or else --show or --reset", context)
    if reset:
        _finish(commands.reset(_settings(context)))
    if show:
        _finish(commands.show(_settings(context), as_json=json))
    _finish(commands.calibrate(_settings(context), files or [], rate=rate, dry_run=dry_run, as_json=json))


@app.command()
def evaluate(
    context: typer.Context,
    recordings: Annotated[
        list[Path], typer.Argument(metavar="RECORDINGS...", help="Audio files, or directories of them.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.csv", help="What was played in them.")],
    results: Annotated[
        Path | None, typer.Option(help="Score this CSV file, of whatever system, instead of scanning.")
    ] = None,
    families: Annotated[
        Path | None, typer.Option(help="CSV file with track and family: tracks of one count as one another.")
    ] = None,
    json: Json = False,
) -> None:
    """Score what is found in recordings against the truth, in seconds and in plays."""
    from monitor.commands import evaluate as commands

    _finish(commands.evaluate(_settings(context), recordings, truth, results=results, families=families, as_json=json))


@app.command()
def run(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the API and the live page; 0: any free one.")
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Process with which it ends.")] = None,
) -> None:
    """Listen, match and serve in one process."""
    from monitor.commands import serving

    settings = _settings(context, least="info")
    if port is not None:
        settings = settings.model_copy(update={"api": settings.api.model_copy(update={"port": port})})
    _finish(serving.run(settings, parent))


@topics.command("create")
def topics_create(context: typer.Context, json: Json = False) -> None:
    """Make the topics that are missing, as the settings say; then check."""
    from monitor.commands import topics as commands

    _finish(commands.create(_settings(context), as_json=json))


@topics.command("check")
def topics_check(context: typer.Context, json: Json = False) -> None:
    """See whether brokers and topics take and keep every window; exit code 3 where a limit does not."""
    from monitor.commands import topics as commands

    _finish(commands.check(_settings(context), as_json=json))


@app.command(rich_help_panel=FULL)
def ingest(context: typer.Context) -> None:
    """Listen to streams, windows to Kafka."""
    from monitor.commands import serving

    _finish(serving.ingest(_settings(context, least="info")))


@app.command(rich_help_panel=FULL)
def worker(context: typer.Context) -> None:
    """Windows from Kafka, matches to PostgreSQL."""
    from monitor.commands import serving

    _finish(serving.worker(_settings(context, least="info")))


@app.command(rich_help_panel=FULL)
def api(context: typer.Context) -> None:
    """Serve the API and the live page."""
    from monitor.commands import serving

    _finish(serving.api(_settings(context, least="info")))


@app.command()
def demo(
    context: typer.Context,
    music: Annotated[Path | None, typer.Option(help="Your own music instead of the demo's.")] = None,
    seconds: Annotated[int, typer.Option(min=45, max=3600, help="Length of the programme.")] = 180,
    seed: Annotated[int, typer.Option(help="Another number, another programme.")] = 1,
    json: Json = False,
) -> None:
    """Put a station on the air and watch Airtrace recognise what it plays."""
    from monitor.demo import run as commands

    _finish(commands.demo(_settings(context), music, seconds, seed, as_json=json))


@model.command("info")
def model_info(json: Json = False) -> None:
    """Say what the installed weights are."""
    from monitor.commands import model as commands

    _finish(commands.info(as_json=json))


@model.command("evaluate")
def model_evaluate(
    context: typer.Context,
    corpus: Annotated[Path, typer.Option(help=CORPUS)],
    split: Annotated[Split, typer.Option(help="Which part of the corpus is asked about.")] = Split.TUNE,
    weights: Annotated[
        Path | None, typer.Option(help="Other weights than the installed ones: their directory.")
    ] = None,
    distractors: Annotated[
        list[Path] | None, typer.Option(help="Caches of training whose music joins the catalog.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, max=10_000, help="Queries a condition.")] = 100,
    seed: Annotated[int, typer.Option(help="Another number, other queries.")] = 1,
    only: Annotated[str, typer.Option(help="Only conditions with this in their names.")] = "",
    baseline: Annotated[bool, typer.Option(help="The untrained baseline beside it.")] = True,
    json: Json = False,
) -> None:
    """Measure how often a query finds its recording, under every condition."""
    from monitor.commands import model as commands

    _settings(context, least="info")
    _finish(
        commands.evaluate(
            corpus,
            split.value,
            weights=weights,
            distractors=distractors or (),
            queries=queries,
            seed=seed,
            only=only,
            with_baseline=baseline,
            as_json=json,
        )
    )


@model.command("train")
def model_train(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Where the cache, checkpoints and weights go; goes on with what is there.")
    ],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 12_000,
    pairs: Annotated[int, typer.Option(min=8, help="Pairs a step, each of another recording.")] = 128,
    seed: Annotated[int, typer.Option(help="Another number, another run.")] = 1,
    size: Annotated[Size, typer.Option(help="Of the network.")] = Size.LARGE,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights of this checkpoint, of a network with as many blocks or less."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch; 1 unless the machine is idle.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=1, help="End within so many minutes, whatever the steps.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in 8 bit: a third of the size, twice the speed.")
    ] = False,
) -> None:
    """Make new weights from the corpus or from your own music, speech and noise. Needs the extra `train`."""
    from monitor.commands import model as commands

    _settings(context, least="info")
    sound = commands.Sound(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    plan = commands.Plan(steps, pairs, seed, size.value, start_from)
    _finish(commands.train(sound, folder, plan, threads=threads, minutes=minutes, int8=int8))


@model.command("foresee")
def model_foresee(
    context: typer.Context,
    weights: Annotated[Path, typer.Argument(help="Folder of the weights.")],
    corpus: Corpus = None,
    fetch: Fetch = False,
    music: Music = None,
    speech: Speech = None,
    noise: Noise = None,
    seed: Annotated[int, typer.Option(help="Another number, another fit.")] = 1,
) -> None:
    """Fit anew how weights tell, from what is heard, how much of the music is left. Needs the extra `train`."""
    from monitor.commands import model as commands

    _settings(context, least="info")
    sound = commands.Sound(corpus, fetch, tuple(music or ()), tuple(speech or ()), tuple(noise or ()))
    _finish(commands.foresee(sound, weights, seed))


@models.callback(invoke_without_command=True)
def models_list(context: typer.Context, json: Json = False) -> None:
    """List the models, and whether their files are here and as they were published."""
    if context.invoked_subcommand is None:
        from monitor.commands import models as commands

        _finish(commands.list_(_settings(context), as_json=json))


@models.command("fetch")
def models_fetch(
    context: typer.Context,
    name: Annotated[Published, typer.Argument(help="Which.")],
    url: Annotated[str | None, typer.Option(help="Where from instead of Zenodo.")] = None,
    how: Annotated[
        bool, typer.Option("--how", help="Only say what to put where, for a machine without internet.")
    ] = False,
) -> None:
    """Download a model's file, or go on where that was broken off; what is not the published file is refused."""
    from monitor.commands import models as commands

    _finish(commands.fetch(_settings(context), name.value, url, how=how))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("airtrace"))


def _settings(context: typer.Context, least: str = "warning") -> Settings:
    """The settings; `least` is the level from which this command logs when they name none."""
    from ingest import logs
    from monitor.settings import load

    settings = load(home=context.obj)
    named = "level" in settings.log.model_fields_set
    logs.configure(settings.log.level if named else least, settings.log.format)
    return settings


def _finish(command: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(asyncio.run(command))


def main() -> None:
    """The entry point: one clear line and an exit code for what is expected, a traceback only for a bug."""
    try:
        code = app(standalone_mode=False) or 0
    except typer.TyperException as error:
        sys.exit(_explain_usage(error))
    except Exception as error:
        sys.exit(_explain(error))
    if code > INTERRUPTED:
        print("airtrace: interrupted", file=sys.stderr)
    sys.exit(code)


def _explain_usage(error: typer.TyperException) -> int:
    context: typer.Context | None = getattr(error, "ctx", None)
    if message := error.format_message().strip():  # else it was a help page, which has been printed
        hint = f" (see {context.command_path} --help)" if context else ""
        print(f"airtrace: {' '.join(message.split())}{hint}", file=sys.stderr)
    return error.exit_code


def _explain(error: Exception) -> int:
    from ingest.errors import BusError, IngestError, UnfitBroker
    from monitor.errors import AirtraceError

    told = list(_leaves(error))
    if all(isinstance(each, AirtraceError | IngestError) for each in told):
        first = told[0]
        print(f"airtrace: {' '.join(str(first).split())}", file=sys.stderr)
        if isinstance(first, AirtraceError):
            return first.exit_code
        return 3 if isinstance(first, UnfitBroker) else 4 if isinstance(first, BusError) else 1
    if isinstance(told[0], OSError) and told[0].errno in (ENOSPC, EDQUOT):
        print("airtrace: the disk is full: make room on it, then run this again", file=sys.stderr)
        return 4
    traceback.print_exception(error)
    print("airtrace: this is a bug; please report the lines above", file=sys.stderr)
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a TaskGroup's group is about."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
