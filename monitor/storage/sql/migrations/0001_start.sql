-- The whole path of the first release: catalog, streams, coverage, matches, alerts, the workers' progress.
-- "clock" columns are stream clock values: samples at 32 kHz since the Unix epoch. Times for people are timestamptz.

create table tracks (
    id           bigint generated always as identity primary key,
    audio_sha256 bytea not null unique check (length(audio_sha256) = 32),
    status       text not null check (status in ('pending', 'ready')),
    title        text not null,
    artist       text,
    album        text,
    isrc         text,
    source       text not null,
    n_samples    bigint not null check (n_samples > 0),
    added_at     timestamptz not null default now()
);

create table fingerprints (
    track_id   bigint not null references tracks (id) on delete cascade,
    detector   text not null,
    version    text not null,
    checksum   text not null,
    n_segments integer not null check (n_segments > 0),
    n_audible  integer not null check (n_audible between 0 and n_segments),
    dimensions integer not null check (dimensions > 0),
    vectors    bytea not null,  -- float16 little endian, n_segments x dimensions
    primary key (track_id, detector),
    check (length(vectors) = n_segments * dimensions * 2)
);

create table streams (
    id         bigint generated always as identity primary key,
    name       text not null check (length(name) between 1 and 100),
    url        text not null,
    enabled    boolean not null default true,
    added_at   timestamptz not null default now(),
    removed_at timestamptz
);
create unique index streams_name on streams (name) where removed_at is null;

-- How far a stream has been processed, and where a worker must start to re-read its last minute.
create table progress (
    stream_id     bigint primary key references streams (id),
    position      bigint not null,
    log_partition integer not null,
    log_offset    bigint not null,
    replay_offset bigint not null,
    updated_at    timestamptz not null default now()
);

create table coverage (
    stream_id bigint not null references streams (id),
    starts    bigint not null,
    ends      bigint not null,
    state     text not null check (state in ('covered', 'gap')),
    reason    text check ((reason is null) = (state = 'covered')),
    primary key (stream_id, starts),
    check (ends > starts)
);

create table matches (
    id            uuid primary key,
    stream_id     bigint not null references streams (id),
    track_id      bigint references tracks (id) on delete set null,
    track         jsonb not null,  -- the track's metadata when the match opened: history survives a deletion
    detector      text not null,
    version       text not null,
    state         text not null check (state in ('open', 'closed')),
    starts        bigint not null,
    ends          bigint not null,
    track_offset  bigint not null,  -- position in the track minus stream clock
    score_sum     double precision not null,
    scored        integer not null check (scored > 0),
    opened_at     timestamptz not null default now(),
    changed_at    timestamptz not null default now(),
    check (ends > starts)
);
create index matches_stream on matches (stream_id, starts desc);
create index matches_open on matches (stream_id) where state = 'open';

create table alerts (
    id        bigint generated always as identity primary key,
    match_id  uuid not null unique references matches (id),
    severity  text not null check (severity in ('info', 'warning', 'critical')),
    state     text not null default 'open' check (state in ('open', 'acknowledged', 'resolved', 'dismissed')),
    track     jsonb not null,
    raised_at timestamptz not null default now()
);
create index alerts_state on alerts (state, raised_at desc);
