"""Settings of the listening half: typed, bounded, with units."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class IngestSettings(BaseModel):
    """How streams are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: float = Field(2.0, ge=0.5, le=10, description="Length of one window of PCM, in seconds.")
    connect_timeout_s: float = Field(15, ge=1, le=120, description="Longest wait for the first audio, in seconds.")
    stall_timeout_s: float = Field(10, ge=1, le=300, description="Silence on the wire that is a stall, in seconds.")
    backoff_first_s: float = Field(1, ge=0.05, le=60, description="First wait before a reconnect, in seconds.")
    max_backoff_s: float = Field(60, ge=1, le=3600, description="Longest wait before a reconnect, in seconds.")
    max_burst_s: float = Field(45, ge=0, le=300, description="Most past audio accepted on connect, in seconds.")
    poll_s: float = Field(1, ge=0.1, le=60, description="How often the list of streams is read, in seconds.")
    lease_s: float = Field(
        15, ge=1, le=600, description="Time in which a dead `airtrace ingest` loses its streams to others, in seconds."
    )
    buffer_s: float = Field(
        60, ge=5, le=3600, description="Audio of a stream that waits in memory while its bus is away, in seconds."
    )
    max_spool_mb: int = Field(512, ge=16, le=1_000_000, description="Most disk for windows waiting in-process, in MB.")


class KafkaSettings(BaseModel):
    """Where the windows travel in full mode."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str | None = Field(None, description="host:port[,host:port] of the brokers; empty: the in-process bus.")
    windows_topic: str = Field("airtrace.windows.v1", min_length=1, description="Topic of windows and gaps.")
    rejected_topic: str = Field("airtrace.rejected.v1", min_length=1, description="Topic of records of no use.")
    matches_topic: str = Field("airtrace.matches.v1", min_length=1, description="Topic of matches and alerts, as JSON.")
    group: str = Field("airtrace-workers", min_length=1, description="Consumer group of the workers.")
    partitions: int = Field(8, ge=1, le=10_000, description="Partitions of windows and of matches, when created.")
    retention_h: float = Field(24, ge=0.1, le=8760, description="Retention of windows when created, in hours.")
    events_retention_h: float = Field(
        168, ge=0.1, le=87_600, description="Retention of matches and of rejected records when created, in hours."
    )
    idempotence: bool = Field(
        True, description="Whether the brokers keep a record that is sent twice once; false for those that cannot."
    )
    session_timeout_s: float = Field(10, ge=1, le=300, description="Silence after which a worker counts as dead.")
    batch_records: int = Field(64, ge=1, le=1000, description="Most windows that a worker takes at a time.")
    batch_wait_s: float = Field(0.1, ge=0, le=5, description="How long the first of them waits for more, in seconds.")
