//! Statements whose outcome nobody looks at before the end of their work: they go to SQLite's thread together with the
//! next one, since each way there and back costs more than the statement. Only the writer has them.

use super::Value;
use sqlx::query::Query;
use sqlx::sqlite::Sqlite;
use sqlx::{AssertSqlSafe, Database};
use std::borrow::Cow;

/// How many go in one text; more would make too many different texts for the cache of prepared statements.
const MOST: usize = 8;

/// Statements that wait, as one text.
#[derive(Default)]
pub(super) struct Later {
    sql: String,
    values: Vec<Owned>,
    count: usize,
    /// Which they are about, each once.
    tables: Vec<&'static str>,
}

/// The tables of statements that run together.
pub(super) struct Tables(Vec<&'static str>);

impl From<Tables> for Cow<'static, str> {
    fn from(Tables(tables): Tables) -> Self {
        match &tables[..] {
            [table] => Self::Borrowed(table),
            tables => Self::Owned(tables.join(" or ")),
        }
    }
}

enum Owned {
    Text(Option<String>),
    Int(Option<i64>),
    Bool(bool),
    Bytes(Option<Vec<u8>>),
}

impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.map(str::to_owned)),
            Value::Int(number) => Self::Int(number),
            Value::Bool(truth) => Self::Bool(truth),
            Value::Bytes(bytes) => Self::Bytes(bytes.map(<[u8]>::to_vec)),
        }
    }
}

impl Later {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= MOST
    }

    pub(super) fn push(&mut self, table: &'static str, sql: &str, values: &[Value<'_>]) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
        if !self.is_empty() {
            self.sql.push_str("; ");
        }
        renumber(sql, self.values.len(), &mut self.sql);
        self.values.extend(values.iter().copied().map(Owned::from));
        self.count += 1;
    }

    /// All that waited, as one query, with the tables that an error of it may be about; none waits any more.
    pub(super) fn take(&mut self) -> (Query<'static, Sqlite, <Sqlite as Database>::Arguments>, Tables) {
        let Self { sql, values, tables, .. } = std::mem::take(self);
        // Safe: literals, with nothing put in but other numbers of parameters.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            query = match value {
                Owned::Text(text) => query.bind(text),
                Owned::Int(number) => query.bind(number),
                Owned::Bool(truth) => query.bind(truth),
                Owned::Bytes(bytes) => query.bind(bytes),
            };
        }
        (query, Tables(tables))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Writes `sql` with the numbers of its parameters raised.
fn renumber(sql: &str, by: usize, text: &mut String) {
    let mut rest = sql;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at + 1);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        text.push_str(before);
        match after[..digits].parse::<usize>() {
            Ok(number) => text.push_str(&(number + by).to_string()),
            Err(_) => text.push_str(&after[..digits]),
        }
        rest = &after[digits..];
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_wait_keep_their_own_parameters() {
        let mut later = Later::default();
        assert!(later.is_empty());
        later.push("a", "insert into a values ($1, $2)", &[1_i64.into(), "x".into()]);
        later.push("b", "update b set c = $2 where d = $1 or e = $2", &[2_i64.into(), "y".into()]);
        assert_eq!(later.sql, "insert into a values ($1, $2); update b set c = $4 where d = $3 or e = $4");
        assert_eq!(later.values.len(), 4);
        for _ in 2..MOST {
            assert!(!later.is_full());
            later.push("a", "delete from a", &[]);
        }
        assert!(later.is_full());
        assert_eq!(Cow::from(later.take().1), "a or b");
        assert!(later.is_empty());
        later.push("a", "delete from a", &[]);
        later.clear();
        assert!(later.is_empty());
    }
}
