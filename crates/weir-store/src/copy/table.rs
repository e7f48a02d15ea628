//! Which rows an installation consists of: every table that is copied, with its columns, in an order in which a
//! row comes after those it refers to. A test holds this against the tables that both engines really have.

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
    Bytes,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    /// The primary key: rows are read in its order.
    pub(crate) key: &'static str,
    /// Which rows are copied; all where it is empty.
    pub(crate) only: &'static str,
}

impl Table {
    /// The table of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// Where a column stands.
    pub(crate) fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|one| one.name == column)
    }

    /// Reads all rows that are copied. The order is that of the index, whatever the collation of the database, so
    /// that no engine sorts a large table.
    pub(crate) fn select(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        let filter = if self.only.is_empty() { String::new() } else { format!("where {} ", self.only) };
        format!("select {} from {} {filter}order by {}", columns.join(", "), self.name, self.key)
    }

    /// Counts the rows that are there after an import, whatever the version that exported them left out.
    pub(crate) fn count(&self) -> String {
        format!("select count(*) as count from {}", self.name)
    }

    /// Inserts so many rows of these columns. Settings that a new database has of its own give way.
    pub(crate) fn insert(&self, columns: &[Column], rows: usize) -> String {
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        let row = |first: usize| {
            let parameters: Vec<_> =
                (first..first + columns.len()).map(|number| format!("${number}")).collect();
            format!("({})", parameters.join(", "))
        };
        let values: Vec<_> = (0..rows).map(|index| row(index * columns.len() + 1)).collect();
        let conflict = match self.name {
            "settings" => " on conflict (name) do update set value = excluded.value",
            _ => "",
        };
        format!("insert into {} ({}) values {}{conflict}", self.name, names.join(", "), values.join(", "))
    }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer }
}

const fn boolean(name: &'static str) -> Column {
    Column { name, kind: Kind::Boolean }
}

const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes }
}

const fn table(name: &'static str, key: &'static str, columns: &'static [Column]) -> Table {
    Table { name, columns, key, only: "" }
}

/// The files that versions name and that have no bytes: a verification found these lost and erased what was left.
pub(super) const UNKEPT: &str = "
    select distinct c.domain_id, a.sha256, a.size
    from assets a
    join contents c on c.content_id = a.content_id
    where a.state = 'held' and a.sha256 is not null
      and not exists (select 1 from blobs b
                      where b.domain_id = c.domain_id and b.sha256 = a.sha256 and b.state = 'kept')
    order by c.domain_id, a.sha256";

/// All tables that are copied.
pub(crate) static TABLES: &[Table] = &[
    Table {
        // Which blob store is its own, which binaries it allows and an unfinished import are of one place.
        only: "name not in ('blob-store', 'import', 'least-migrations', 'least-version')",
        ..table("settings", "name", &[text("name"), text("value")])
    },
    table("accounts", "account_id", &[text("account_id"), integer("created_at")]),
    table(
        "principals",
        "principal_id",
        &[
            text("principal_id"),
            text("account_id"),
            text("kind"),
            text("name"),
            text("policy"),
            text("external_issuer"),
            text("external_subject"),
            integer("created_at"),
        ],
    ),
    table(
        "access_keys",
        "access_key_id",
        &[text("access_key_id"), text("principal_id"), bytes("sealed_secret"), integer("created_at")],
    ),
    table(
        "domains",
        "domain_id",
        &[
            text("domain_id"),
            text("account_id"),
            text("name"),
            text("encryption_key"),
            integer("waiting_time_s"),
            integer("created_at"),
        ],
    ),
    table(
        "tokens",
        "token_id",
        &[
            text("token_id"),
            bytes("token_hash"),
            text("principal_id"),
            text("domain_id"),
            text("description"),
            text("scope"),
            integer("created_at"),
            integer("expires_at"),
        ],
    ),
    table(
        "repositories",
        "repository_id",
        &[
            text("repository_id"),
            text("domain_id"),
            text("name"),
            text("administrator"),
            text("description"),
            boolean("edited"),
            integer("created_at"),
        ],
    ),
    table(
        "upstreams",
        "repository_id, position",
        &[text("repository_id"), integer("position"), text("upstream_id")],
    ),
    table("repository_connections", "repository_id", &[text("repository_id"), text("connection")]),
    table(
        "connections",
        "connection",
        &[text("connection"), text("url"), text("source"), integer("found_at"), bytes("sealed_settings")],
    ),
    table(
        "packages",
        "package_id",
        &[
            text("package_id"),
            text("repository_id"),
            text("format"),
            text("namespace"),
            text("name"),
            text("learned_publish"),
            text("learned_upstream"),
            text("put_publish"),
            text("put_upstream"),
            integer("first_internal_at"),
            integer("first_external_at"),
            text("metadata"),
            integer("sequence"),
            integer("created_at"),
        ],
    ),
    table(
        "contents",
        "content_id",
        &[
            text("content_id"),
            text("domain_id"),
            text("metadata"),
            text("description"),
            text("search_text"),
            integer("parser"),
            integer("created_at"),
        ],
    ),
    table(
        "assets",
        "content_id, name",
        &[
            text("content_id"),
            text("name"),
            text("state"),
            integer("size"),
            bytes("md5"),
            bytes("sha1"),
            bytes("sha256"),
            bytes("sha512"),
            text("expected"),
            text("url"),
            boolean("derived"),
        ],
    ),
    table(
        "package_versions",
        "version_id",
        &[
            text("version_id"),
            text("package_id"),
            text("content_id"),
            text("version_key"),
            text("version"),
            text("status"),
            text("revision"),
            text("origin_kind"),
            text("origin_entry"),
            text("flags"),
            integer("publish_time"),
            text("publish_time_source"),
            integer("published_at"),
            integer("updated_at"),
        ],
    ),
    table("tags", "package_id, tag", &[text("package_id"), text("tag"), text("version")]),
    Table {
        // The others have no bytes, or will have none as soon as a collection comes, which may be in the middle of
        // an export. `UNKEPT` finds those of them that are named.
        only: "state = 'kept'
               and exists (select 1 from assets a
                           join contents c on c.content_id = a.content_id and c.domain_id = blobs.domain_id
                           where a.sha256 = blobs.sha256 and a.state = 'held')",
        ..table(
            "blobs",
            "domain_id, sha256",
            &[
                text("domain_id"),
                bytes("sha256"),
                integer("size"),
                boolean("synced"),
                integer("created_at"),
                text("state"),
                integer("unnamed_since"),
                integer("verified_at"),
            ],
        )
    },
    table(
        "documents",
        "domain_id, connection, path",
        &[
            text("domain_id"),
            text("connection"),
            text("path"),
            bytes("sha256"),
            integer("size"),
            text("etag"),
            text("last_modified"),
            integer("fetched_at"),
            integer("checked_at"),
            text("url"),
        ],
    ),
    table(
        "pins",
        "domain_id, connection, coordinate",
        &[text("domain_id"), text("connection"), text("coordinate"), bytes("sha256"), integer("seen_at")],
    ),
    table(
        "first_seen",
        "domain_id, connection, coordinate",
        &[text("domain_id"), text("connection"), text("coordinate"), text("versions")],
    ),
    table("resource_tags", "arn, key", &[text("arn"), text("key"), text("value")]),
    table("events", "event_id", &[text("event_id"), text("domain_id"), integer("created_at"), text("body")]),
    table(
        "audit",
        "audit_id",
        &[
            text("audit_id"),
            integer("created_at"),
            text("principal"),
            text("action"),
            text("resource"),
            text("detail"),
        ],
    ),
    table(
        "deleted_versions",
        "package_id, version_key",
        &[text("package_id"), text("version_key"), text("digests"), integer("deleted_at")],
    ),
];
