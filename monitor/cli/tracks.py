"""`airtrace tracks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from monitor.cli.app import finish, load_settings
from monitor.cli.options import Json, Limit, TrackId

tracks = typer.Typer(help="The catalog of reference recordings.", no_args_is_help=True)


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
    from monitor.commands import add_tracks as commands

    if not paths and manifest is None:
        raise typer.BadParameter("give files, directories or a manifest", context)
    finish(
        commands.add(
            load_settings(context), paths or [], manifest_path=manifest, encoding=encoding, report=report, as_json=json
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

    finish(commands.list_(load_settings(context), query, status, as_json=json))


@tracks.command("show")
def tracks_show(
    context: typer.Context, track: Annotated[int, typer.Argument(min=1, metavar="ID")], json: Json = False
) -> None:
    """Show what is known of a recording, and its family."""
    from monitor.commands import tracks as commands

    finish(commands.show(load_settings(context), track, as_json=json))


@tracks.command("families")
def tracks_families(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """List the recordings that are near-identical to one another: edits, other tempos, stems, excerpts."""
    from monitor.commands import tracks as commands

    finish(commands.families(load_settings(context), limit, as_json=json))


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
    finish(commands.edit(load_settings(context), track, said, field or [], as_json=json))


@tracks.command("replace")
def tracks_replace(context: typer.Context, track: TrackId, file: Path, json: Json = False) -> None:
    """Give a recording's entry another recording: its excluded intervals go, its past matches stay."""
    from monitor.commands import tracks as commands

    finish(commands.replace(load_settings(context), track, file, as_json=json))


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
    finish(commands.exclude(load_settings(context), track, parsed, note, as_json=json))


@tracks.command("retire")
def tracks_retire(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Take a recording out of matching and keep all that is known of it."""
    from monitor.commands import tracks as commands

    finish(commands.retire(load_settings(context), track, as_json=json))


@tracks.command("restore")
def tracks_restore(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Take a retired recording back into matching; its audio is not needed."""
    from monitor.commands import tracks as commands

    finish(commands.restore(load_settings(context), track, as_json=json))


@tracks.command("delete")
def tracks_delete(context: typer.Context, track: Annotated[int, typer.Argument(min=1, metavar="ID")]) -> None:
    """Take a recording out of the catalog."""
    from monitor.commands import tracks as commands

    finish(commands.delete(load_settings(context), track))


@tracks.command("rebuild")
def tracks_rebuild(context: typer.Context, json: Json = False) -> None:
    """Re-embed recordings of other models from their files, and fill the index anew."""
    from monitor.commands import tracks as commands

    finish(commands.rebuild(load_settings(context), as_json=json))


@tracks.command("enrol")
def tracks_enrol(context: typer.Context, json: Json = False) -> None:
    """Give recordings that have none their PANNs vectors, from their files: for `airtrace similar`."""
    from monitor.commands import sounds as commands

    finish(commands.enrol(load_settings(context), as_json=json))
