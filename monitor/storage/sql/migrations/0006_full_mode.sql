-- Many processes over Kafka: who reads which stream, what a worker has seen of it, and events for other systems.

-- A stream is read by the process that holds its lease, until it runs out. The epoch grows with every claim and never
-- falls: windows carry it, and an older epoch than the newest seen is of a process that has lost the stream.
create table leases (
    stream_id  bigint primary key references streams (id),
    epoch      bigint not null default 0 check (epoch >= 0),
    holder     uuid,  -- null: free
    expires_at timestamptz not null default '-infinity'
);
create index leases_holder on leases (holder);

-- The live ingest processes, so that each knows its share.
create table ingest_processes (
    id         uuid primary key,
    name       text not null,  -- host and process id, for people
    expires_at timestamptz not null
);

alter table progress add column epoch bigint not null default 0;

-- Events for other systems, written with the rows they describe and deleted once they are sent.
create table outbox (
    id         bigint generated always as identity primary key,
    event      uuid not null unique,
    stream_id  bigint not null references streams (id),
    body       jsonb not null,
    written_at timestamptz not null default now()
);
