"""Validates a track's metadata: title, artist, identifiers, territories, dates and free fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from monitor.catalog import identifiers
from monitor.errors import MetadataError

MAX_TEXT, MAX_FIELDS = 500, 50
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def _by(normalize: Callable[[str], Any]) -> BeforeValidator:
    """Normalizes a text; an empty one becomes None. Other types are left to pydantic."""
    return BeforeValidator(
        lambda value: (normalize(value) if value.strip() else None) if isinstance(value, str) else value
    )


def _territories(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    return identifiers.territories(value) if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT, pattern=PRINTABLE)]
Optional = Annotated[Text | None, BeforeValidator(lambda value: None if value == "" else value)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
Value = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
Day = Annotated[date | None, BeforeValidator(lambda value: None if value == "" else value)]


class MetadataFields(BaseModel):
    """The metadata of a new track, or changes to a track's metadata. An empty text removes a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text | None = None
    artist: Optional = None
    album: Optional = None
    label: Optional = None
    rights_holder: Optional = None
    isrc: Annotated[str | None, _by(identifiers.isrc)] = Field(None, examples=["DE-A62-21-00001"])
    iswc: Annotated[str | None, _by(identifiers.iswc)] = Field(None, examples=["T-034.524.680-1"])
    upc: Annotated[str | None, _by(identifiers.upc)] = Field(None, examples=["036000291452"])
    territories: Annotated[tuple[str, ...], BeforeValidator(_territories)] = Field(
        (), description="ISO 3166-1 codes; empty means everywhere."
    )
    valid_from: Day = None
    valid_until: Day = None
    own_id: Optional = Field(None, description="Your own identifier of the track; unique in the catalog.")
    fields: dict[Key, Value] = Field(default={}, max_length=MAX_FIELDS, description="Free fields of your own.")

    @model_validator(mode="after")
    def _dates(self) -> MetadataFields:
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ValueError(f"valid_until {self.valid_until} is before valid_from {self.valid_from}")
        return self

    def given(self) -> dict[str, Any]:
        """The fields that were set, as arguments for `Metadata`."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("title", "") is None:
            del given["title"]  # a track always has one
        return given


def validate_metadata(values: Mapping[str, Any]) -> MetadataFields:
    """Validates metadata by field name.

    Raises:
        MetadataError: a value is not valid; `reason` is the name of the field, or `dates`.
    """
    try:
        return MetadataFields.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "dates"
        text = str(first["msg"]).removeprefix("Value error, ")
        raise MetadataError(field, text if field == "dates" else f"{field}: {text}") from error
