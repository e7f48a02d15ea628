//! How far an import is, in the setting `import` of the database that it fills. It moves in the transactions that
//! insert rows, so that an import goes on where it was cut; while it is there nobody else opens the store.

use super::CopyError;
use crate::db::Session;
use crate::error::DbError;
use serde::{Deserialize, Serialize};

const SETTING: &str = "import";

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The export.
    pub(crate) export: String,
    /// SHA-256 of its manifest.
    pub(crate) manifest: String,
    /// When it was begun, in RFC 3339.
    pub(crate) begun: String,
    /// What is done already.
    pub(crate) stage: Stage,
}

/// What is done already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// No row was inserted yet.
    Blobs,
    /// All bytes are there, all rows of earlier tables, and those before `offset` of the file of this one.
    Rows { table: String, offset: u64, rows: u64 },
}

impl Mark {
    /// The mark of a database; `None` if no import is unfinished.
    pub(crate) async fn of(session: &mut Session) -> Result<Option<Self>, DbError> {
        let Some(text) = session.get_setting(SETTING).await? else { return Ok(None) };
        let mark = serde_json::from_str(&text).map_err(|error| DbError::Inconsistent {
            table: "settings",
            column: "value",
            id: SETTING.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Some(mark))
    }

    /// Writes the first mark.
    pub(super) async fn begin(&self, session: &mut Session) -> Result<(), DbError> {
        session.put_setting(SETTING, &self.text()).await
    }

    /// Moves the mark of a database on to `next`.
    pub(super) async fn advance(&self, session: &mut Session, next: &Self) -> Result<(), CopyError> {
        let sql = "update settings set value = $3 where name = $1 and value = $2";
        let (from, to) = (self.text(), next.text());
        let moved = session.run("settings", sql, &[SETTING.into(), (&from).into(), (&to).into()]).await?;
        if moved == 1 { Ok(()) } else { Err(CopyError::Overtaken) }
    }

    /// Takes the mark away: the import is finished.
    pub(super) async fn end(&self, session: &mut Session) -> Result<(), CopyError> {
        let sql = "delete from settings where name = $1 and value = $2";
        let text = self.text();
        let ended = session.run("settings", sql, &[SETTING.into(), (&text).into()]).await?;
        if ended == 1 { Ok(()) } else { Err(CopyError::Overtaken) }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can be written")
    }
}
