-- What nodes tell each other to read again. A row is visible to whoever comes after the transaction that wrote it,
-- and sequences do not become visible in order; `transaction_id` says from where to look.
create table changes (
    sequence       bigint generated always as identity primary key,
    transaction_id bigint not null default pg_current_xact_id()::text::bigint,
    created_at     timestamptz not null default now(),
    node           text not null,
    body           text not null
);
create index changes_by_transaction on changes (transaction_id);

-- Names are listed in the order of bytes, as SQLite does by itself; so the index of names serves listings too.
alter table packages
    alter column format type text collate "C",
    alter column namespace type text collate "C",
    alter column name type text collate "C";
