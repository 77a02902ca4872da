"""Settings: YAML < secret files < environment (AIRTRACE_) < flags. Unknown keys are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
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
# Read by us before there are settings, or by tests, benchmarks and the demo only.
NOT_SETTINGS = (
    *("AIRTRACE_CONFIG", "AIRTRACE_SECRETS", "AIRTRACE_TEST_", "AIRTRACE_MUSIC_CACHE"),
    *("AIRTRACE_PEERS", "AIRTRACE_CORPUS", "AIRTRACE_BENCH_", "AIRTRACE_FULL_"),
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSettings(_Section):
    """PostgreSQL, where matches, coverage and fingerprints live."""

    dsn: SecretStr | None = Field(None, description="postgresql://user:password@host/database; empty: embedded.")
    max_connections: int = Field(8, ge=2, le=100, description="Most connections of one process.")


class MilvusSettings(_Section):
    """Milvus, where vectors are searched."""

    uri: str | None = Field(None, description="http://host:19530, or a Milvus Lite file; empty: one in the home.")
    token: SecretStr | None = Field(None, description="user:password or API key of the server.")
    index: Literal["auto", "FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "DISKANN"] = Field(
        "auto", description="Kind of index (deploy/README.md); after a change: `airtrace catalog rebuild`."
    )


class CatalogSettings(_Section):
    """What is registered."""

    max_track_h: float = Field(24, gt=0, le=200, description="Longest recording, in hours; longer ones are refused.")


class BacklogPolicy(StrEnum):
    """What happens to a stream that is too far behind."""

    CATCH_UP = "catch_up"
    SKIP = "skip"


class MatchingSettings(_Section):
    """How streams are matched."""

    top_k: int = Field(10, ge=1, le=100, description="Candidates taken from the index per segment.")
    backlog: BacklogPolicy = Field(
        BacklogPolicy.CATCH_UP,
        description="What a worker does about a stream that is too far behind: catch_up, or skip to the newest.",
    )
    max_backlog_s: float = Field(60, ge=5, le=86_400, description="What is too far behind real time, in seconds.")
    memory_s: float = Field(60, ge=20, le=600, description="Audio that a worker remembers per stream, in seconds.")


class PannsSettings(_Section):
    """PANNs, the second detector: what sounds similar, and what kind of sound it is. Needs `airtrace models fetch`."""

    enabled: bool = Field(True, description="Whether PANNs is used at all where its checkpoint is.")
    model: Literal["panns", "panns-16k"] = Field("panns", description="Which of the published checkpoints.")
    checkpoint: Path | None = Field(None, description="Weights of your own in that model's shape; empty: in the home.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one.")
    threads: int = Field(1, ge=1, le=64, description="Processor threads of the network.")
    register_tracks: bool = Field(True, description="Whether new tracks get PANNs vectors when they are registered.")
    listen: bool = Field(True, description="Whether workers label what streams sound like, and look for similar sound.")
    similar_score: float = Field(0.9, gt=0, lt=1, description="Least cosine of a passage that counts as similar.")
    keep_days: int = Field(90, ge=1, le=36_500, description="How long labels of streams are kept, in days.")
    gate: bool = Field(False, description="Whether fingerprints of what sounds like speech alone are not searched.")


class ApiSettings(_Section):
    """The HTTP API and the live page."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8420, ge=0, le=65535, description="Port to listen on; 0: any free one.")
    max_upload_mb: int = Field(2048, ge=1, le=1_000_000, description="Largest upload, in MB.")
    hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="Host names that requests may name; others are refused (DNS rebinding). '*' allows all.",
    )


class MetricsSettings(_Section):
    """Where `airtrace ingest` and `airtrace worker` serve /metrics (the API serves it on its own port)."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(9108, ge=0, le=65535, description="Port to listen on; 0: none.")


class LogSettings(_Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON.")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # else an empty AIRTRACE_HOME would be the current directory
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("airtrace", appauthor=False)),
        description="Directory of everything that Airtrace keeps in embedded mode.",
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
        """Refuses to run a command of the full mode without the servers that it uses.

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
    """The settings of this process; flags that are None are left out.

    Raises:
        SettingsError: a value is out of bounds, a key is unknown, or the file named by AIRTRACE_CONFIG is not there.
    """
    _refuse_unknown_variables()
    file = os.environ.get("AIRTRACE_CONFIG")
    if file and not Path(file).is_file():
        raise SettingsError(f"AIRTRACE_CONFIG names {file}, which is no file")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{key}: {first['msg']}") from error
    except Exception as error:  # PyYAML's parse errors and pydantic-settings' own share no base class
        raise SettingsError(f"settings cannot be read: {' '.join(str(error).split())}") from error


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.upper().replace(".", "__")


def variables(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[str]:
    """The names of all environment variables that set something."""
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
            raise SettingsError(f"{name} sets nothing; see configs/settings.md for the names that do")
