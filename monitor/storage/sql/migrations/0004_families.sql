-- Which tracks are near-identical to which others: a row for either of the two. A family is whatever these lead to, so
-- that a track that is deleted, or has other vectors now, leaves nothing to be put right.

create table kinships (
    track_id bigint not null references tracks (id) on delete cascade,
    kin_id   bigint not null references tracks (id) on delete cascade,
    share    double precision not null check (share between 0 and 1),  -- of the track's sound that its relative has, too
    speed    double precision not null check (speed > 0),  -- how many times as fast as its relative it runs
    part     boolean not null,  -- one of the two is only a part of the other
    primary key (track_id, kin_id),
    check (track_id <> kin_id)
);
create index kinships_kin on kinships (kin_id);

-- Whether the relations of these vectors have been searched: not yet for tracks that were registered before.
alter table fingerprints add column related boolean not null default false;
