"""Fails if a file or a function is too long to hold in mind: `python -m tests.lengths`, part of `make check`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_SOURCE_LINES = 400
MAX_TEST_LINES = 500
MAX_FUNCTION_LINES = 40

SOURCES = ("configs", "deploy", "ingest", "monitor")
SUFFIXES = {".py", ".sql", ".js", ".css", ".html"}
VENDORED = ("htmx-", "swagger-ui-")  # shipped as they were published

# Longer on purpose. Each has its reason; a new one needs one, too.
LONG_FILES: dict[str, str] = {
    "deploy/grafana/dashboard.py": "one panel after another, as they stand on the dashboard",
}
LONG_FUNCTIONS: dict[str, str] = {
    "deploy/grafana/dashboard.py:_listening": "a row of panels, one after another",
    "deploy/grafana/dashboard.py:_matching": "a row of panels, one after another",
}


def main() -> int:
    """Prints what is too long, and every exception that is no longer needed; returns the exit code."""
    problems = [*_long_files(), *_long_functions()]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _long_files() -> Iterator[str]:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in _files()}
    too_long = {str(path): n for path, n in lengths.items() if n > _limit(path)}
    for name, n_lines in sorted(too_long.items()):
        if name not in LONG_FILES:
            yield f"{name} has {n_lines} lines, more than {_limit(Path(name))}: cut it by subject"
    yield from (f"tests/lengths.py: {name} is no longer too long" for name in LONG_FILES if name not in too_long)


def _long_functions() -> Iterator[str]:
    too_long = {}
    for path in _files():
        if path.suffix == ".py" and path.parts[0] != "tests":
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _n_lines(node) > MAX_FUNCTION_LINES:
                    too_long[f"{path}:{node.name}"] = _n_lines(node)
    for name, n_lines in sorted(too_long.items()):
        if name not in LONG_FUNCTIONS:
            yield f"{name} has {n_lines} lines, more than {MAX_FUNCTION_LINES}: cut it"
    yield from (f"tests/lengths.py: {name} is no longer too long" for name in LONG_FUNCTIONS if name not in too_long)


def _files() -> Iterator[Path]:
    for folder in (*SOURCES, "tests"):
        for path in Path(folder).rglob("*"):
            if path.suffix in SUFFIXES and not any(part.startswith(VENDORED) for part in path.parts):
                yield path


def _limit(path: Path) -> int:
    return MAX_TEST_LINES if path.parts[0] == "tests" else MAX_SOURCE_LINES


def _n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Of the body, without its docstring: a signature with a parameter a line, and prose, are read at a glance."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno is not None else 0


if __name__ == "__main__":
    sys.exit(main())
