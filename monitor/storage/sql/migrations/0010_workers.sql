-- The workers that are running, and whether they keep up. Each writes its row every few seconds, and deletes it when it
-- stops. A row that was not written for a while belongs to a worker that was killed.
create table workers (
    id               uuid primary key,
    name             text not null,  -- host and process id, for people
    started_at       timestamptz not null default now(),
    seen_at          timestamptz not null default now(),
    state            text not null check (state in ('ok', 'full', 'behind')),
    streams          integer not null check (streams >= 0),
    capacity_streams double precision,  -- null: not known yet
    costly_step      text,
    costly_share     double precision,
    behind_streams   integer not null check (behind_streams >= 0),
    behind_s         double precision not null,
    cpu              double precision  -- share of the machine's CPU time in use; null: not known
);
