"""`airtrace tracks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from monitor.cli.app import UsageError, finish, load_settings
from monitor.cli.options import Json, Limit, TrackId

tracks = typer.Typer(help="Manage the catalog of reference recordings.", no_args_is_help=True)


@tracks.command("add")
def tracks_add(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE|DIR...", help="Audio files or directories.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or JSON file with a column `file` and metadata: title, artist, isrc, ...")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Encoding of a CSV manifest that is not UTF-8 or UTF-16.")] = "utf-8",
    report: Annotated[Path | None, typer.Option(help="Write a row per file to this .csv or .json file.")] = None,
    json: Json = False,
) -> None:
    """Register recordings. Known audio is skipped, so an interrupted run can be repeated."""
    from monitor.commands.tracks import add as commands

    if not paths and manifest is None:
        raise UsageError("give files, directories or a manifest", context)
    finish(
        commands.add(
            load_settings(context), paths or [], manifest_path=manifest, encoding=encoding, report=report, as_json=json
        )
    )


@tracks.command("list")
def tracks_list(
    context: typer.Context,
    query: Annotated[
        str | None,
        typer.Argument(help="Part of a title, artist, album, label, rights holder, identifier or your own id."),
    ] = None,
    status: Annotated[
        Literal["pending", "ready", "failed", "retiring", "retired"] | None,
        typer.Option(help="Only tracks with this status."),
    ] = None,
    json: Json = False,
) -> None:
    """List the tracks in the catalog, or those that match QUERY."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.list_(load_settings(context), query, status, as_json=json))


@tracks.command("show")
def tracks_show(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Show a track's metadata, excluded intervals and family."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.show(load_settings(context), track, as_json=json))


@tracks.command("families")
def tracks_families(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """List groups of nearly identical tracks: edits, other tempos, stems, excerpts."""
    from monitor.commands.tracks import tracks as commands

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
    isrc: Annotated[str | None, typer.Option(help="Code of the recording.")] = None,
    iswc: Annotated[str | None, typer.Option(help="Code of the musical work.")] = None,
    upc: Annotated[str | None, typer.Option(help="Barcode (UPC or EAN) of the release.")] = None,
    territories: Annotated[
        str | None, typer.Option(help="Where you hold the rights, as ISO 3166-1 codes: DE,AT,CH.")
    ] = None,
    valid_from: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="First day of the rights.")] = None,
    valid_until: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Last day of the rights.")] = None,
    own_id: Annotated[str | None, typer.Option(help="Your own id for the track.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A field of your own; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Change a track's metadata; an empty value removes the old one."""
    from monitor.commands.tracks import tracks as commands

    names = {"title": title, "artist": artist, "album": album, "label": label, "rights_holder": rights_holder}
    identifiers = {"isrc": isrc, "iswc": iswc, "upc": upc, "territories": territories}
    others = {"valid_from": valid_from, "valid_until": valid_until, "own_id": own_id}
    given = {name: value for name, value in {**names, **identifiers, **others}.items() if value is not None}
    finish(commands.edit(load_settings(context), track, given, field or [], as_json=json))


@tracks.command("replace")
def tracks_replace(
    context: typer.Context,
    track: TrackId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new audio file.")],
    json: Json = False,
) -> None:
    """Replace a track's audio. Its excluded intervals are removed; its past matches are kept."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.replace(load_settings(context), track, file, as_json=json))


@tracks.command("exclude")
def tracks_exclude(
    context: typer.Context,
    track: TrackId,
    intervals: Annotated[
        list[str] | None, typer.Argument(metavar="FROM-TO...", help="Intervals of the track: 0-12.5 or 1:02-1:10.5.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="The reason: a sample library's intro, a news sting.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Remove all excluded intervals.")] = False,
    json: Json = False,
) -> None:
    """Set the excluded intervals of a track, replacing earlier ones. Excluded audio never matches."""
    from monitor.commands.times import interval
    from monitor.commands.tracks import tracks as commands

    if bool(intervals) == none:
        raise UsageError("give either intervals or --none", context)
    try:
        parsed = [interval(each) for each in intervals or []]
    except ValueError as error:
        raise typer.BadParameter(str(error), context) from error
    finish(commands.exclude(load_settings(context), track, parsed, note, as_json=json))


@tracks.command("retire")
def tracks_retire(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Stop matching a track, but keep it in the catalog."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.retire(load_settings(context), track, as_json=json))


@tracks.command("restore")
def tracks_restore(context: typer.Context, track: TrackId, json: Json = False) -> None:
    """Match a retired track again. Needs no audio."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.restore(load_settings(context), track, as_json=json))


@tracks.command("delete")
def tracks_delete(context: typer.Context, track: TrackId) -> None:
    """Delete a track from the catalog; its past matches are kept."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.delete(load_settings(context), track))


@tracks.command("rebuild")
def tracks_rebuild(context: typer.Context, json: Json = False) -> None:
    """Embed the tracks of previous models again, from their files, and rebuild the index."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.rebuild(load_settings(context), as_json=json))


@tracks.command("enroll")
def tracks_enroll(context: typer.Context, json: Json = False) -> None:
    """Compute the missing PANNs vectors, from the tracks' files, for `airtrace similar`."""
    from monitor.commands.tracks import tracks as commands

    finish(commands.enroll(load_settings(context), as_json=json))
