"""The documentation of events is right: the example in the README follows the published schema."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from monitor.alerts.events import Event, Kind

SCHEMA = Path(__file__).parents[2] / "configs" / "events.schema.json"


@pytest.fixture
def example(deploy: Path) -> Any:
    (block,) = re.findall(r"^```json\n(.*?)^```", (deploy / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return json.loads(block)


def test_the_example_is_a_valid_event(example: Any) -> None:
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(example)
    Event.model_validate_json(json.dumps(example))


@pytest.mark.parametrize("without", ["schema_version", "id", "type", "match"])
def test_the_schema_requires_each_field(example: Any, without: str) -> None:
    del example[without]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(example)


def test_every_type_of_event_is_described(deploy: Path) -> None:
    described = re.findall(r"^\| `((?:match|alert)\.\w+)` \|", (deploy / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(get_args(Kind))
