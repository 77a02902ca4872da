-- A play has a speed, so that its place in the track is known at both of its ends; and the figures behind the decision.

alter table matches
    add column track_starts bigint,  -- positions in samples
    add column track_ends   bigint,
    add column speed        double precision not null default 1 check (speed > 0),  -- of the line at its end
    add column evidence     double precision not null default 0,
    add column bridged      bigint not null default 0 check (bridged >= 0),  -- samples in which it was not heard
    add column ambiguous    boolean not null default false,
    add column stopped      boolean not null default false;  -- closed by a stop of the monitor, not by what was heard
update matches set track_starts = greatest(0, starts + track_offset), track_ends = ends + track_offset;
alter table matches
    alter column track_starts set not null,
    alter column track_ends set not null,
    drop column track_offset;
