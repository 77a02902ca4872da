"""What is said of a track besides its sound, by people: validated where it comes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from monitor.catalog import identifiers
from monitor.errors import MetadataError

MAX_TEXT, MAX_FIELDS = 500, 50
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def _by(code: Callable[[str], Any]) -> BeforeValidator:
    """Empty text says nothing; what is no text is left to pydantic."""
    return BeforeValidator(lambda value: (code(value) if value.strip() else None) if isinstance(value, str) else value)


def _codes(value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    return identifiers.territories(value) if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT, pattern=PRINTABLE)]
Optional = Annotated[Text | None, BeforeValidator(lambda value: None if value == "" else value)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
Value = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
Day = Annotated[date | None, BeforeValidator(lambda value: None if value == "" else value)]


class Details(BaseModel):
    """What was said; what was not is not set. An empty text takes away what was known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text | None = None
    artist: Optional = None
    album: Optional = None
    label: Optional = None
    rights_holder: Optional = None
    isrc: Annotated[str | None, _by(identifiers.isrc)] = Field(None, examples=["DE-A62-21-00001"])
    iswc: Annotated[str | None, _by(identifiers.iswc)] = Field(None, examples=["T-034.524.680-1"])
    upc: Annotated[str | None, _by(identifiers.upc)] = Field(None, examples=["036000291452"])
    territories: Annotated[tuple[str, ...], BeforeValidator(_codes)] = Field(
        (), description="ISO 3166-1 codes; none: everywhere."
    )
    valid_from: Day = None
    valid_until: Day = None
    own_id: Optional = Field(None, description="What you call it; no two tracks have the same.")
    fields: dict[Key, Value] = Field(default={}, max_length=MAX_FIELDS, description="Whatever else you keep of it.")

    @model_validator(mode="after")
    def _dates(self) -> Details:
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ValueError(f"valid until {self.valid_until}, but only from {self.valid_from} on")
        return self

    def given(self) -> dict[str, Any]:
        """What was said, for `Metadata`."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if said.get("title", "") is None:
            del said["title"]  # a track has one
        return said


def checked(said: Mapping[str, Any]) -> Details:
    """The details, if they are valid.

    Raises:
        DetailsError: `reason` is the field that is wrong, or `dates`.
    """
    try:
        return Details.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = str(first["loc"][0]) if first["loc"] else "dates"
        text = str(first["msg"]).removeprefix("Value error, ")
        raise MetadataError(where, text if where == "dates" else f"{where}: {text}") from error
