-- Columns and tables take their field's terms: llr is a log-likelihood ratio, a family consists of relations.

alter table matches rename column evidence to llr;
alter table calibrations rename column open_evidence to open_llr;

-- Events that still wait carry the rows as they were written.
update outbox
set body = jsonb_set(body, '{match}', (body -> 'match') - 'evidence' || jsonb_build_object('llr', body #> '{match,evidence}'))
where body -> 'match' ? 'evidence';

alter table kinships rename to family_relations;
alter table family_relations rename column kin_id to member_id;
alter index kinships_pkey rename to family_relations_pkey;
alter index kinships_kin rename to family_relations_member;
alter table fingerprints rename column related to family_known;
