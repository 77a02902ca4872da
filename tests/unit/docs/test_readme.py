"""What the READMEs tell people to type exists: every `airtrace` command, `make` target, variable and link."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from monitor.cli.main import app
from monitor.settings import NOT_SETTINGS, variables

ROOT = Path(__file__).parents[3]
READMES = [ROOT / "README.md", ROOT / "deploy" / "README.md"]
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def _typed(readme: Path) -> list[str]:
    """Everything in code style, a line each, without comments and prompts."""
    text = readme.read_text("utf-8")
    blocks = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in [*blocks, *INLINE.findall(BLOCK.sub("", text))]]


AIRTRACE = sorted({line for readme in READMES for line in _typed(readme) if re.match(r"airtrace [a-z-]", line)})
MAKE = sorted({line.split()[1] for readme in READMES for line in _typed(readme) if line.startswith("make ")})


def test_there_is_something_to_check() -> None:
    assert len(AIRTRACE) >= 8
    assert {"demo", "test"} <= set(MAKE)


@pytest.mark.parametrize("line", AIRTRACE)
def test_every_command_is_one_that_airtrace_takes(line: str) -> None:
    words = shlex.split(line.replace(" ID", " 1"))[1:]
    command = typer.main.get_command(app)
    if "--help" in words:
        words.remove("--help")
    if words:
        _known(command, words)


def _known(command: Any, words: list[str]) -> None:
    """The words name a command; what follows is parsed where there is enough of it."""
    if hasattr(command, "commands"):  # a group
        assert words[0] in command.commands, f"no such command: {words[0]}"
        _known(command.commands[words[0]], words[1:])
    elif words:
        command.make_context("airtrace", list(words))


@pytest.mark.parametrize("target", MAKE)
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("readme", READMES, ids=["README", "deploy"])
def test_every_link_inside_the_repository_leads_somewhere(readme: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", readme.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert local
    assert [link for link in local if not (readme.parent / link).exists()] == []


@pytest.mark.parametrize("readme", READMES, ids=["README", "deploy"])
def test_every_variable_is_read_by_something(readme: Path) -> None:
    named = set(re.findall(r"AIRTRACE_[A-Z_]+[A-Z]", readme.read_text("utf-8")))
    known = set(variables())
    assert {name for name in named if name not in known and not name.startswith(NOT_SETTINGS)} == set()


def test_every_command_is_in_the_readme() -> None:
    text = READMES[0].read_text("utf-8")
    commands: Any = typer.main.get_command(app)
    assert [name for name in commands.commands if not re.search(rf"\b{name}\b", text)] == []
