"""Writes settings.schema.json, settings.md and airtrace.example.yaml in configs/, and events.schema.json of the events.

`python configs/generate.py` writes them, `--check` fails when they are not what the settings say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from monitor.alerts.events import Event
from monitor.settings import Settings, variable

FOLDER = Path(__file__).parent
HEAD = """# Settings

Generated from the settings themselves by `python configs/generate.py`.

Each can be set in a YAML file (named by `AIRTRACE_CONFIG`), by a file of that name in a directory of secrets (named by
`AIRTRACE_SECRETS`; the name without the prefix, `database__dsn`), or by an environment variable. The environment wins
over secrets, secrets over YAML. What nobody knows is refused.

| variable | in YAML | default | meaning |
| --- | --- | --- | --- |
"""


def documents() -> dict[str, str]:
    """The generated files and their text."""
    schema, events = Settings.model_json_schema(), Event.model_json_schema(mode="serialization")
    schema["properties"]["home"].pop("default", None)
    rows = "".join(
        f"| `{variable(key)}` | `{key}` | {_shown(field)} | {field.description} |\n" for key, field in _fields(Settings)
    )
    return {
        "settings.schema.json": json.dumps(schema, indent=2, sort_keys=True) + "\n",
        "settings.md": HEAD + rows,
        "events.schema.json": json.dumps(events, indent=2, sort_keys=True) + "\n",
        "airtrace.example.yaml": _example(),
    }


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _shown(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the user's data directory"
    if field.default is None:
        return "empty"
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(default)}`"


def _example() -> str:
    """Every setting with its default, commented out, so that the file as it is changes nothing."""
    lines = ["# All settings with their defaults; uncomment what you change; AIRTRACE_CONFIG names this file.\n"]
    section = None
    for key, field in _fields(Settings):
        head, _, name = key.rpartition(".")
        if head and head != section:
            lines.append(f"# {head}:\n")
            section = head
        indent = "  " if head else ""
        shown = _shown(field).strip("`")
        value = "" if shown in ("empty", _HOME) else shown
        lines.append(f"# {indent}{name}: {value}".rstrip() + f"  # {field.description}\n")
    return "".join(lines)


_HOME = "the user's data directory"


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit code."""
    stale = [name for name, text in documents().items() if not _is_current(FOLDER / name, text)]
    if "--check" in arguments:
        for name in stale:
            print(f"configs/{name} is not what the settings say: python configs/generate.py")
        return 1 if stale else 0
    for name, text in documents().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
