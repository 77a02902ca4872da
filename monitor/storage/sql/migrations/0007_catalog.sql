-- A track is its audio (audio_sha256). Its metadata, its status, and the parts that never match.

alter table tracks
    drop constraint tracks_status_check,
    -- failed: its audio could not be embedded by the weights in use (error says why). retiring: its vectors are on
    -- their way out of the index; retired: they are out of it, and all else stays.
    add constraint tracks_status_check check (status in ('pending', 'ready', 'failed', 'retiring', 'retired')),
    add column label         text,
    add column rights_holder text,
    add column iswc          text,
    add column upc           text,
    add column territories   text[] not null default '{}',  -- ISO 3166-1; none means everywhere
    add column valid_from    date,
    add column valid_until   date,
    add column own_id        text,  -- what its owner calls it
    add column fields        jsonb not null default '{}',
    add column error         text,
    add column revision      integer not null default 1,  -- of what is matched: another audio, other exclusions
    add constraint tracks_valid check (valid_until >= valid_from),
    -- The text that a search reads; computed once, not for every row of every search.
    add column searched text generated always as (
        lower(title || ' ' || coalesce(artist, '') || ' ' || coalesce(album, '') || ' ' || coalesce(isrc, '') || ' '
              || coalesce(label, '') || ' ' || coalesce(rights_holder, '') || ' ' || coalesce(iswc, '') || ' '
              || coalesce(upc, '') || ' ' || coalesce(own_id, ''))
    ) stored;
create unique index tracks_own_id on tracks (own_id);
-- Few tracks are not ready, and each start looks for them.
create index tracks_unfinished on tracks (id) where status in ('pending', 'retiring', 'failed');

-- Intervals of a track, in samples, that never match: a sample library's intro, a news sting.
create table exclusions (
    track_id bigint not null references tracks (id) on delete cascade,
    starts   bigint not null check (starts >= 0),
    ends     bigint not null,
    note     text,
    primary key (track_id, starts),
    check (ends > starts)
);

-- Files whose audio is known: the same bytes need not be decoded again.
create table files (
    sha256   bytea primary key check (length(sha256) = 32),
    track_id bigint not null references tracks (id) on delete cascade
);
create index files_track on files (track_id);

-- Vectors of a new model are stored beside the old one's until those are pruned.
alter table fingerprints
    drop constraint fingerprints_pkey,
    add primary key (track_id, detector, checksum),
    add column indexed integer not null default 0;  -- the track's revision that the index has
update fingerprints f set indexed = 1 from tracks t where t.id = f.track_id and t.status = 'ready';

create view known_tracks as
select t.id, t.audio_sha256, t.status, t.title, t.artist, t.album, t.isrc, t.source, t.n_samples, t.added_at, t.label,
       t.rights_holder, t.iswc, t.upc, t.territories, t.valid_from, t.valid_until, t.own_id, t.fields, t.error,
       t.revision, t.searched,
       (select coalesce(jsonb_agg(jsonb_build_array(x.starts, x.ends, x.note) order by x.starts), '[]')
        from exclusions x where x.track_id = t.id) as excluded,
       array(select distinct f.detector from fingerprints f where f.track_id = t.id order by 1) as detectors
from tracks t;
