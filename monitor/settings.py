"""Settings: YAML < secret files < environment (AIRTRACE_) < flags. Unknown keys are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from ingest.settings import IngestSettings, KafkaSettings
from monitor.errors import SettingsError

PREFIX = "AIRTRACE_"
# Read before the settings are loaded, or only by tests, benchmarks, the demo and `make full`.
NOT_SETTINGS = (
    *("AIRTRACE_CONFIG", "AIRTRACE_SECRETS", "AIRTRACE_TEST_", "AIRTRACE_MUSIC_CACHE"),
    *("AIRTRACE_PEERS", "AIRTRACE_CORPUS", "AIRTRACE_BENCH_", "AIRTRACE_FULL_"),
)


# What Starlette's check accepts: one wildcard, at the start.
HostPattern = Annotated[str, StringConstraints(pattern=r"^(\*|(\*\.)?[^*\s]+)$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    """PostgreSQL, which stores matches, coverage and fingerprints."""

    dsn: SecretStr | None = Field(None, description="postgresql://user:password@host/database; empty: embedded.")
    max_connections: int = Field(8, ge=2, le=100, description="Maximum number of connections per process.")


class MilvusSettings(_Section):
    """Milvus, which searches the vectors."""

    uri: str | None = Field(None, description="http://host:19530, or a Milvus Lite file; empty: a file in the home.")
    token: SecretStr | None = Field(None, description="user:password or API key of the server.")
    index: Literal["auto", "FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "DISKANN"] = Field(
        "auto", description="Index type (deploy/README.md); run `airtrace catalog rebuild` after a change."
    )
    search: Literal["auto", "memory", "milvus"] = Field(
        "auto",
        description="Where vectors are searched: in the memory of the process, or by Milvus. auto: in memory with "
        "Milvus Lite, and in workers whose catalog fits into max_search_mb.",
    )
    max_search_mb: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Memory that the vectors of the catalog may take in a worker, in MB; 1,024 hold 12,000 tracks of "
        "four minutes. Larger catalogs are searched by the Milvus server.",
    )


class CatalogSettings(_Section):
    """The catalog of reference recordings."""

    max_track_h: float = Field(
        24, gt=0, le=200, description="Maximum length of a track, in hours; longer ones are refused."
    )


class BacklogPolicy(StrEnum):
    """What a worker does with a stream that is too far behind."""

    CATCH_UP = "catch_up"
    SKIP = "skip"


class MatchingSettings(_Section):
    """How streams are matched."""

    top_k: int = Field(10, ge=1, le=100, description="Candidates per segment from the index.")
    backlog: BacklogPolicy = Field(
        BacklogPolicy.CATCH_UP,
        description="What a worker does with a stream that is too far behind: catch_up, or skip to the newest window.",
    )
    max_backlog_s: float = Field(60, ge=5, le=86_400, description="Delay behind real time that is too far, in seconds.")
    memory_s: float = Field(
        60, ge=20, le=600, description="Audio that a worker keeps in memory per stream, in seconds."
    )


class PannsSettings(_Section):
    """PANNs, the second detector: similar sound, and kinds of sound. Needs `airtrace models fetch`."""

    enabled: bool = Field(True, description="Whether to use PANNs if its checkpoint is present.")
    model: Literal["panns", "panns-16k"] = Field("panns", description="The published checkpoint to use.")
    checkpoint: Path | None = Field(
        None, description="Your own weights for that model; empty: the fetched ones, in the home."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one.")
    threads: int = Field(1, ge=1, le=64, description="CPU threads for the network.")
    register_tracks: bool = Field(True, description="Whether to compute PANNs vectors when a track is registered.")
    listen: bool = Field(
        True, description="Whether workers label streams by kind of sound, and search for similar sound."
    )
    similar_score: float = Field(0.9, gt=0, lt=1, description="Minimum cosine at which a passage counts as similar.")
    keep_days: int = Field(90, ge=1, le=36_500, description="How long to keep the labels of streams, in days.")
    gate: bool = Field(
        False, description="Whether to skip the fingerprint search for audio that is labeled as speech only."
    )


class ApiSettings(_Section):
    """The HTTP API and the live page."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to bind.")
    port: int = Field(8420, ge=0, le=65535, description="Port to bind; 0: any free port.")
    max_upload_mb: int = Field(2048, ge=1, le=1_000_000, description="Maximum size of an upload, in MB.")
    hosts: tuple[HostPattern, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host names accepted in requests; others are refused (DNS rebinding). '*' accepts all, "
        "'*.example.com' all subdomains.",
    )


class MetricsSettings(_Section):
    """Where `airtrace ingest` and `airtrace worker` serve /metrics (the API serves it on its own port)."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to bind.")
    port: int = Field(9108, ge=0, le=65535, description="Port to bind; 0: do not serve metrics.")


class LogSettings(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum level.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # otherwise an empty AIRTRACE_HOME would mean the current directory
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("airtrace", appauthor=False)),
        description="Directory for everything that the embedded mode stores.",
    )
    database: DatabaseSettings = DatabaseSettings()
    milvus: MilvusSettings = MilvusSettings()
    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    catalog: CatalogSettings = CatalogSettings()
    matching: MatchingSettings = MatchingSettings()
    panns: PannsSettings = PannsSettings()
    api: ApiSettings = ApiSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @property
    def needs_home(self) -> bool:
        """Whether the database or the vectors are left to the embedded mode, which keeps them in the home."""
        return self.database.dsn is None or self.milvus.uri is None

    def require(self, command: str, *keys: str) -> None:
        """Checks that the settings name the servers that a command of the full mode uses.

        Raises:
            SettingsError: one of the keys ("kafka.bootstrap") is empty.
        """
        if not all(reduce(getattr, key.split("."), self) for key in keys):
            *others, last = (variable(key) for key in keys)
            names = f"{', '.join(others)} and {last}" if others else last
            raise SettingsError(f"`{command}` needs {names}")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = [init_settings, env_settings]
        if folder := os.environ.get("AIRTRACE_SECRETS"):
            sources.append(
                NestedSecretsSettingsSource(
                    file_secret_settings, secrets_dir=folder, secrets_prefix="", secrets_nested_delimiter="__"
                )
            )
        if file := os.environ.get("AIRTRACE_CONFIG"):
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=file))
        return tuple(sources)


def load(**flags: Any) -> Settings:
    """Loads the settings of this process; flags that are None are ignored.

    Raises:
        SettingsError: a value is out of bounds, a key is unknown, or AIRTRACE_CONFIG names no file.
    """
    _refuse_unknown_variables()
    file = os.environ.get("AIRTRACE_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsError(f"AIRTRACE_CONFIG names {file}, which is not a file")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{key}: {first['msg']}") from error
    except Exception as error:  # PyYAML's parse errors and those of pydantic-settings share no base class
        raise SettingsError(f"settings cannot be read: {' '.join(str(error).split())}") from error


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.upper().replace(".", "__")


def variables(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[str]:
    """The names of all environment variables that are settings."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from variables(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def _refuse_unknown_variables() -> None:
    known = set(variables())
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known and not name.startswith(NOT_SETTINGS):
            raise SettingsError(f"{name} is not a setting: see configs/settings.md for their names")
