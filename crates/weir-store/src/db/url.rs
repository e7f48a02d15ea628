//! Where a database is, as it is set and as it is shown.

use std::path::PathBuf;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of this machine, made if it is missing.
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST/NAME`.
    Postgres(String),
}

/// Without anything secret.
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = match self {
            Self::Sqlite(path) => return write!(f, "{}", path.display()),
            Self::Postgres(url) => url::Url::parse(url).ok(),
        };
        let Some(url) = url else { return f.write_str("postgres://…") };
        write!(f, "postgres://{}", url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_string())
    }
}

/// Which engine a session talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite: one process.
    Sqlite,
    /// PostgreSQL: any number of nodes.
    Postgres,
}

impl DatabaseUrl {
    /// Which engine it names.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Reads a setting: `postgres://…` or `postgresql://…`, else `sqlite:PATH` or a path.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Self::Postgres(text.to_owned());
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_setting_is_a_url_or_a_path() {
        let file = |path: &str| DatabaseUrl::Sqlite(path.into());
        assert_eq!(DatabaseUrl::parse("/a/weir.db"), file("/a/weir.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:weir.db"), file("weir.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///a/weir.db"), file("/a/weir.db"));
        let url = "postgres://weir@127.0.0.1/weir";
        assert_eq!(DatabaseUrl::parse(url), DatabaseUrl::Postgres(url.into()));
    }

    #[test]
    fn a_database_is_shown_without_anything_secret() {
        let shown = |text: &str| format!("{0} {0:?}", DatabaseUrl::parse(text));
        assert_eq!(shown("sqlite:/a/weir.db"), "/a/weir.db /a/weir.db");
        for text in ["postgres://u:hunter2@db:5433/weir", "postgresql://db:5433/weir?user=u&password=hunter2"]
        {
            assert_eq!(shown(text), "postgres://db:5433/weir postgres://db:5433/weir");
        }
        assert_eq!(shown("postgres://u:hunter2@[/weir"), "postgres://… postgres://…");
    }
}
