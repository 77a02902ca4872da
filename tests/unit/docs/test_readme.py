"""Every command, make target, variable and link on the pages exists, and vice versa."""

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
PAGES = [
    path for folder in (".", "monitor", "ingest", "tests", "deploy") if (path := ROOT / folder / "README.md").exists()
]
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
TEST_VARIABLE = re.compile(r"AIRTRACE_(?:TEST|BENCH)_[A-Z_]*[A-Z]")
MAX_README_LINES, MAX_README_BYTES = 200, 8_000


def _typed(page: Path) -> list[str]:
    """Everything in code style, one line each, without comments and prompts."""
    text = page.read_text("utf-8")
    blocks = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in [*blocks, *INLINE.findall(BLOCK.sub("", text))]]


def _make_targets(line: str) -> list[str]:
    found = re.match(r"(?:[A-Z_]+=\S+ )*make ((?:[a-z-]+ ?)+)", line)
    return found[1].split() if found else []


AIRTRACE = sorted({line for page in PAGES for line in _typed(page) if re.match(r"airtrace [a-z-]", line)})
MAKE = sorted({target for page in PAGES for line in _typed(page) for target in _make_targets(line)})


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert len(PAGES) >= 4
    assert len(AIRTRACE) >= 8
    assert {"demo", "test"} <= set(MAKE)


def test_the_readme_stays_short() -> None:
    text = PAGES[0].read_bytes()
    assert len(text.splitlines()) <= MAX_README_LINES
    assert len(text) <= MAX_README_BYTES


@pytest.mark.parametrize("line", AIRTRACE)
def test_every_command_is_one_that_airtrace_takes(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line.replace(" ID", " 1"))[1:]
    monkeypatch.chdir(tmp_path)
    for word in words:
        if re.fullmatch(r"\w+\.\w+", word):  # a file that some commands want to exist
            Path(word).touch()
    command = typer.main.get_command(app)
    if "--help" in words:
        words.remove("--help")
    if words:
        _known(command, words)


def _known(command: Any, words: list[str]) -> None:
    """The words name a command; what follows is parsed if there is anything."""
    if hasattr(command, "commands"):  # a group
        assert words[0] in command.commands, f"no such command: {words[0]}"
        if words[1:]:
            _known(command.commands[words[0]], words[1:])
    elif words:
        command.make_context("airtrace", list(words))


def test_every_command_is_on_a_page() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    commands: Any = typer.main.get_command(app)
    assert [name for name in commands.commands if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("target", MAKE)
def test_every_make_target_exists(target: str) -> None:
    assert target in _targets()


def test_every_make_target_is_on_a_page() -> None:
    assert [target for target in _targets() if target not in MAKE] == []


def _targets() -> list[str]:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    return phony.split()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    links = [(file, anchor) for file, anchor in LINK.findall(page.read_text("utf-8")) if "://" not in file]
    assert [file for file, _ in links if not (page.parent / file).exists()] == []
    anchors = [(page.parent / file if file else page, anchor) for file, anchor in links if anchor]
    assert [anchor for target, anchor in anchors if anchor not in _anchors(target)] == []


def _anchors(page: Path) -> list[str]:
    """Those that GitHub makes from the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_variable_is_read_by_something(page: Path) -> None:
    named = set(re.findall(r"AIRTRACE_[A-Z_]+[A-Z]", page.read_text("utf-8")))
    known = set(variables())
    assert {name for name in named if name not in known and not name.startswith(NOT_SETTINGS)} == set()


def test_the_variables_of_the_tests_are_those_on_their_page() -> None:
    read = {name for file in (ROOT / "tests").rglob("*.py") for name in TEST_VARIABLE.findall(file.read_text("utf-8"))}
    assert set(TEST_VARIABLE.findall((ROOT / "tests" / "README.md").read_text("utf-8"))) == read
