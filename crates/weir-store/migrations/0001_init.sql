-- One text for SQLite and PostgreSQL. Identifiers are UUIDv7 text, times are microseconds since the
-- epoch, JSON is text, booleans are boolean. `bytea` columns are BLOBs in SQLite.

create table settings (
    name  text not null primary key,
    value text not null
);

create table accounts (
    account_id text not null primary key,
    created_at bigint not null
);

create table principals (
    principal_id     text not null primary key,
    account_id       text not null references accounts (account_id),
    kind             text not null,
    name             text not null,
    policy           text not null,
    external_issuer  text,
    external_subject text,
    created_at       bigint not null,
    unique (account_id, kind, name)
);

create table access_keys (
    access_key_id text not null primary key,
    principal_id  text not null references principals (principal_id) on delete cascade,
    sealed_secret bytea not null,
    created_at    bigint not null
);

create table domains (
    domain_id      text not null primary key,
    account_id     text not null references accounts (account_id),
    name           text not null,
    encryption_key text not null,
    waiting_time_s bigint,
    created_at     bigint not null,
    unique (account_id, name)
);

create table tokens (
    token_id     text not null primary key,
    token_hash   bytea not null unique,
    principal_id text not null references principals (principal_id) on delete cascade,
    domain_id    text not null references domains (domain_id) on delete cascade,
    description  text not null,
    scope        text,
    created_at   bigint not null,
    expires_at   bigint
);
create index tokens_by_principal on tokens (principal_id);

create table repositories (
    repository_id text not null primary key,
    domain_id     text not null references domains (domain_id),
    name          text not null,
    administrator text not null,
    description   text,
    edited        boolean not null,
    created_at    bigint not null,
    unique (domain_id, name)
);

create table upstreams (
    repository_id text not null references repositories (repository_id) on delete cascade,
    position      bigint not null,
    upstream_id   text not null references repositories (repository_id) on delete cascade,
    primary key (repository_id, position)
);
create index upstreams_by_upstream on upstreams (upstream_id);

create table repository_connections (
    repository_id text not null primary key references repositories (repository_id) on delete cascade,
    connection    text not null
);

-- Addresses of public registries: discovered, or stored with `weir connections set`.
create table connections (
    connection text not null primary key,
    url        text not null,
    source     text not null,
    found_at   bigint not null,
    sealed_settings bytea
);

create table packages (
    package_id        text not null primary key,
    repository_id     text not null references repositories (repository_id) on delete cascade,
    format            text not null,
    namespace         text not null,
    name              text not null,
    learned_publish   text,
    learned_upstream  text,
    put_publish       text,
    put_upstream      text,
    first_internal_at bigint,
    first_external_at bigint,
    -- Package-level facts of the format (npm: readme, maintainers), as JSON.
    metadata          text,
    -- Counts the events of this package, and is npm's `_rev`.
    sequence          bigint not null,
    created_at        bigint not null,
    unique (repository_id, format, namespace, name)
);
create index packages_by_name on packages (format, namespace, name);

-- What a version consists of. Copies and retained versions share it, so they move one row.
create table contents (
    content_id      text not null primary key,
    domain_id       text not null references domains (domain_id),
    -- The format's own document of the version (npm: the manifest), verbatim.
    metadata        text not null,
    -- What the control API tells of it, as JSON (`weir_registry::format::Description`).
    description     text not null,
    -- What a search looks through besides the name: summary and keywords out of `description`.
    search_text     text not null,
    -- The version of the parser that derived `description`.
    parser          bigint not null,
    created_at      bigint not null
);

create table assets (
    content_id text not null references contents (content_id) on delete cascade,
    name       text not null,
    -- 'held', 'promised' (known, not fetched) or 'evicted'.
    state      text not null,
    size       bigint,
    md5        bytea,
    sha1       bytea,
    sha256     bytea,
    sha512     bytea,
    -- Of a promised asset: where it lies and what its index promised, as JSON.
    expected   text,
    url        text,
    primary key (content_id, name)
);
create index assets_by_blob on assets (sha256);

create table package_versions (
    version_id       text not null primary key,
    package_id       text not null references packages (package_id) on delete cascade,
    content_id       text not null references contents (content_id),
    -- Normal form, identity and look-up.
    version_key      text not null,
    -- As published.
    version          text not null,
    status           text not null,
    revision         text not null,
    origin_kind      text not null,
    -- The repository or the connection by which it entered the domain.
    origin_entry     text not null,
    flags            text not null,
    publish_time     bigint not null,
    publish_time_source text not null,
    -- When it came to this repository.
    published_at     bigint not null,
    updated_at       bigint not null,
    unique (package_id, version_key)
);
create index package_versions_by_content on package_versions (content_id);

create table tags (
    package_id text not null references packages (package_id) on delete cascade,
    tag        text not null,
    version    text not null,
    primary key (package_id, tag)
);

-- Blobs that are named by assets, once per domain.
create table blobs (
    domain_id text not null references domains (domain_id),
    sha256    bytea not null,
    size      bigint not null,
    -- False until the bytes are known to be on the disk's platter.
    synced    boolean not null,
    created_at bigint not null,
    primary key (domain_id, sha256)
);

-- Index documents of public registries.
create table documents (
    domain_id     text not null references domains (domain_id) on delete cascade,
    connection    text not null,
    path          text not null,
    -- Null where the registry said that there is none.
    sha256        bytea,
    size          bigint,
    etag          text,
    last_modified text,
    fetched_at    bigint not null,
    checked_at    bigint not null,
    primary key (domain_id, connection, path)
);

-- The first-seen digest of an external file whose index promises none.
create table pins (
    domain_id  text not null references domains (domain_id) on delete cascade,
    connection text not null,
    coordinate text not null,
    sha256     bytea not null,
    seen_at    bigint not null,
    primary key (domain_id, connection, coordinate)
);

-- Tags of AWS resources, by ARN.
create table resource_tags (
    arn   text not null,
    key   text not null,
    value text not null,
    primary key (arn, key)
);

-- The outbox: one row per change of a package version, delivered later.
create table events (
    event_id   text not null primary key,
    domain_id  text not null,
    created_at bigint not null,
    body       text not null
);

-- Who changed what.
create table audit (
    audit_id   text not null primary key,
    created_at bigint not null,
    principal  text not null,
    action     text not null,
    resource   text not null,
    detail     text not null
);

-- The bytes of versions that were deleted, for `immutable-versions`.
create table deleted_versions (
    package_id  text not null references packages (package_id) on delete cascade,
    version_key text not null,
    -- SHA-256 of its files in hex, sorted, separated by spaces.
    digests     text not null,
    deleted_at  bigint not null,
    primary key (package_id, version_key)
);
