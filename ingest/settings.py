"""Settings of ingest and of the bus: typed, bounded, with units."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class IngestSettings(BaseModel):
    """How streams are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: float = Field(2.0, ge=0.5, le=10, description="Length of one window of PCM, in seconds.")
    connect_timeout_s: float = Field(
        15, ge=1, le=120, description="Longest wait for the first audio of a connection, in seconds."
    )
    stall_timeout_s: float = Field(
        10, ge=1, le=300, description="Time without any data after which a stream counts as stalled, in seconds."
    )
    backoff_first_s: float = Field(1, ge=0.05, le=60, description="First wait before a reconnect, in seconds.")
    max_backoff_s: float = Field(60, ge=1, le=3600, description="Longest wait before a reconnect, in seconds.")
    max_burst_s: float = Field(45, ge=0, le=300, description="Maximum past audio accepted on connect, in seconds.")
    poll_s: float = Field(1, ge=0.1, le=60, description="Interval at which the list of streams is read, in seconds.")
    lease_s: float = Field(
        15,
        ge=1,
        le=600,
        description="Time within which others take over the streams of a dead `airtrace ingest`, in seconds.",
    )
    buffer_s: float = Field(
        60, ge=5, le=3600, description="Audio per stream kept in memory while the bus is unreachable, in seconds."
    )
    max_spool_mb: int = Field(2048, ge=16, le=1_000_000, description="Maximum disk space of the in-process bus, in MB.")


class KafkaSettings(BaseModel):
    """The Kafka bus of the full mode."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str | None = Field(
        None, description="host:port[,host:port] of the brokers; if empty, the in-process bus is used."
    )
    windows_topic: str = Field("airtrace.windows.v1", min_length=1, description="Topic of windows and gaps.")
    rejected_topic: str = Field(
        "airtrace.rejected.v1",
        min_length=1,
        description="Topic of dead letters: records that cannot be read or processed.",
    )
    matches_topic: str = Field("airtrace.matches.v1", min_length=1, description="Topic of matches and alerts, as JSON.")
    group: str = Field("airtrace-workers", min_length=1, description="Consumer group of the workers.")
    partitions: int = Field(
        8, ge=1, le=10_000, description="Partitions of the topics of windows and of matches when they are created."
    )
    retention_h: float = Field(
        24, ge=0.1, le=8760, description="Retention of the topic of windows when it is created, in hours."
    )
    events_retention_h: float = Field(
        168,
        ge=0.1,
        le=87_600,
        description="Retention of the topics of matches and of dead letters when they are created, in hours.",
    )
    idempotence: bool = Field(
        True,
        description="Whether brokers deduplicate records that are sent twice; false for brokers without producer ids.",
    )
    session_timeout_s: float = Field(
        10, ge=1, le=300, description="Time without a heartbeat after which a worker counts as dead, in seconds."
    )
    batch_records: int = Field(64, ge=1, le=1000, description="Maximum records that a worker takes at a time.")
    batch_wait_s: float = Field(
        0.1, ge=0, le=5, description="How long the first record of a batch waits for more, in seconds."
    )
