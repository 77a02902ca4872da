-- What streams sound like and which tracks they resemble, by PANNs. Separate from matches, which say what was played.

-- Ten seconds of a stream. music, speech: the highest probability of any of AudioSet's classes of that kind.
create table passages (
    stream_id bigint not null references streams (id),
    starts    bigint not null,
    ends      bigint not null,
    kind      text not null check (kind in ('music', 'speech', 'music_under_speech', 'silence', 'other')),
    music     real not null check (music between 0 and 1),
    speech    real not null check (speech between 0 and 1),
    labels    jsonb not null,  -- the likeliest classes: [[name, probability], ...]
    "similar" jsonb not null,  -- tracks that it resembles enough: [[id, cosine], ...]
    version   text not null,
    checksum  text not null,
    primary key (stream_id, starts),
    check (ends > starts)
);
create index passages_starts on passages (starts);

-- Passages in a row that resemble one track: a cover, another recording, a sound-alike. Somebody must listen to decide.
create table similars (
    id          uuid primary key,
    stream_id   bigint not null references streams (id),
    track_id    bigint references tracks (id) on delete set null,
    track       jsonb not null,  -- as of a match
    version     text not null,
    checksum    text not null,
    starts      bigint not null,
    ends        bigint not null,
    score_sum   double precision not null,
    scored      integer not null check (scored > 0),
    review      text not null default 'pending' check (review in ('pending', 'confirmed', 'dismissed')),
    note        text,
    found_at    timestamptz not null default now(),
    reviewed_at timestamptz,
    check (ends > starts),
    check ((reviewed_at is null) = (review = 'pending'))
);
create index similars_stream on similars (stream_id, ends desc);
create index similars_review on similars (review, starts desc);
create index similars_track on similars (track_id);
