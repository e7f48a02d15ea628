-- Work that one node does for all, and until when nobody else takes it up (the database's clock).
create table leases (
    name       text not null primary key,
    holder     text not null,
    expires_at bigint not null
);

-- 'kept'; 'doomed' while its bytes are being erased; 'gone' for a while after that, so that a transaction that
-- began before names no bytes that are not there.
alter table blobs add column state text not null default 'kept';
-- Since when nothing names it; null while something does, or nobody looked.
alter table blobs add column unnamed_since bigint;
-- When its bytes were last read and found to be what they are named.
alter table blobs add column verified_at bigint;
create index blobs_unnamed on blobs (unnamed_since) where unnamed_since is not null;
create index blobs_unsynced on blobs (domain_id) where not synced;
-- What is needed to know whether a blob is named stands in the index.
drop index assets_by_blob;
create index assets_by_blob on assets (sha256, content_id) where state = 'held';
create index documents_by_blob on documents (domain_id, sha256);

-- When this was applied, by which version of Weir.
alter table migrations add column applied_by text not null default '';
