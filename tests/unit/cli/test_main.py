"""The command line's own part: the order of the help, and errors as one line and an exit code."""

from __future__ import annotations

from errno import ENOSPC
from importlib.metadata import version

import pytest
import typer.main

from ingest.errors import BusError, FfmpegMissing, UnfitBroker
from monitor.cli.app import ORDER, UsageError
from monitor.cli.main import app, report_error, report_usage_error
from monitor.errors import AirtraceError, DependencyError, NotFound, SettingsError


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_printed_by_an_option_and_by_a_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app(arguments, standalone_mode=False) in (None, 0)
    assert capsys.readouterr().out == f"{version('airtrace')}\n"


def test_a_usage_error_is_its_message_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as raised:
        app(["tracks", "add"], standalone_mode=False)
    assert report_usage_error(raised.value) == 2
    assert capsys.readouterr().err.startswith("airtrace: give files, directories or a manifest (see ")


def test_the_help_lists_every_command_once_in_the_order_of_use() -> None:
    group = typer.main.get_group(app)
    assert group.list_commands(typer.Context(group)) == list(ORDER)
    assert sorted(group.commands) == sorted(ORDER)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AirtraceError("x"), 1),
        (NotFound("x"), 1),
        (SettingsError("x"), 3),
        (DependencyError("x"), 4),
        (UnfitBroker("x"), 3),
        (BusError("x"), 4),
        (FfmpegMissing(), 1),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_error(error) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"airtrace: {' '.join(str(error).split())}\n")


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(NotFound("there is\n   no such track"))
    assert capsys.readouterr().err == "airtrace: there is no such track\n"


def test_the_first_error_of_a_group_counts_however_deeply_it_is_nested(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup("tasks", [DependencyError("Milvus is unreachable"), NotFound("x")])
    assert report_error(ExceptionGroup("tasks", [inner])) == 4
    assert capsys.readouterr().err == "airtrace: Milvus is unreachable\n"


def test_a_bug_is_a_traceback_even_if_it_comes_with_an_expected_error(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (ValueError("boom"), ExceptionGroup("tasks", [NotFound("x"), ValueError("boom")])):
        assert report_error(error) == 1
        err = capsys.readouterr().err
        assert "ValueError: boom" in err
        assert err.endswith("airtrace: this is a bug; please report the lines above\n")


def test_a_full_disk_is_not_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(OSError(ENOSPC, "No space left on device")) == 4
    assert capsys.readouterr().err == "airtrace: the disk is full: free some space, then run this again\n"
