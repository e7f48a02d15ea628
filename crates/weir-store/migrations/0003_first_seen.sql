-- When versions of a package were first seen of whose publication their public registry tells no time.
create table first_seen (
    domain_id  text not null references domains (domain_id) on delete cascade,
    connection text not null,
    coordinate text not null,
    -- Normal forms of versions and microseconds, as a JSON object.
    versions   text not null,
    primary key (domain_id, connection, coordinate)
);
