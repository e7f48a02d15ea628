//! What versions consist of: the format's document and the assets. Several versions may share one.

use super::{cursor, ids};
use crate::db::{Row, Session, Value};
use crate::error::DbError;
use crate::rows::{AssetRow, AssetState, ContentRow, Id};
use serde::{Deserialize, Serialize};
use weir_core::digest::{Digests, Expected};
use weir_core::{Digest, Page, PageRequest};

const TABLE: &str = "contents";
const ASSETS: &str = "assets";

fn content(row: &Row) -> Result<ContentRow, DbError> {
    Ok(ContentRow {
        id: row.text("content_id")?,
        domain: row.text("domain_id")?,
        metadata: row.string("metadata")?,
        description: row.string("description")?,
        parser: row.integer("parser")?,
        created_at: row.time("created_at")?,
    })
}

fn asset(row: &Row) -> Result<AssetRow, DbError> {
    let state = match row.parsed("state", |text| State::ALL.into_iter().find(|s| s.as_str() == text))? {
        State::Held => AssetState::Held { size: row.size("size")?, digests: digests(row)? },
        State::Evicted => AssetState::Evicted { size: row.size("size")?, digests: digests(row)? },
        State::Promised => {
            let promise: Promise = row.json("expected")?;
            let expected = promise.read().ok_or_else(|| row.broken("expected", "holds no digests"))?;
            AssetState::Promised { expected, url: row.string("url")? }
        }
    };
    Ok(AssetRow {
        content: row.text("content_id")?,
        name: row.string("name")?,
        state,
        derived: row.boolean("derived")?,
    })
}

fn digests(row: &Row) -> Result<Digests, DbError> {
    Ok(Digests {
        md5: row.array("md5")?,
        sha1: row.array("sha1")?,
        sha256: row.digest("sha256")?,
        sha512: row.array("sha512")?,
    })
}

#[derive(Clone, Copy)]
enum State {
    Held,
    Promised,
    Evicted,
}

impl State {
    const ALL: [Self; 3] = [Self::Held, Self::Promised, Self::Evicted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Promised => "promised",
            Self::Evicted => "evicted",
        }
    }
}

/// `Expected` as stored: digests in hex.
#[derive(Serialize, Deserialize)]
struct Promise {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Promise {
    fn write(expected: &Expected) -> String {
        let promise = Self {
            sha512: expected.sha512.map(hex::encode),
            sha256: expected.sha256.map(|digest| digest.hex()),
            sha1: expected.sha1.map(hex::encode),
            md5: expected.md5.map(hex::encode),
            size: expected.size,
        };
        serde_json::to_string(&promise).expect("texts and numbers are always JSON")
    }

    fn read(self) -> Option<Expected> {
        fn array<const N: usize>(text: Option<String>) -> Option<Option<[u8; N]>> {
            let Some(text) = text else { return Some(None) };
            let mut bytes = [0; N];
            hex::decode_to_slice(text, &mut bytes).ok()?;
            Some(Some(bytes))
        }
        Some(Expected {
            sha512: array(self.sha512)?,
            sha256: array(self.sha256)?.map(Digest::from_bytes),
            sha1: array(self.sha1)?,
            md5: array(self.md5)?,
            size: self.size,
        })
    }
}

/// What a search looks through: of the description (JSON) the summary and the keywords.
fn search_text(description: &str) -> String {
    #[derive(Deserialize, Default)]
    struct Words {
        #[serde(default)]
        summary: Option<String>,
        #[serde(default)]
        keywords: Vec<String>,
    }
    let words: Words = serde_json::from_str(description).unwrap_or_default();
    words.summary.into_iter().chain(words.keywords).collect::<Vec<_>>().join(" ")
}

impl Session {
    /// Makes a content with its assets.
    pub async fn insert_content(&mut self, row: &ContentRow, assets: &[AssetRow]) -> Result<(), DbError> {
        let sql = "insert into contents (content_id, domain_id, metadata, description, search_text, parser,
                                         created_at)
                   values ($1, $2, $3, $4, $5, $6, $7)";
        let search_text = search_text(&row.description);
        let values = [
            (&row.id).into(),
            (&row.domain).into(),
            (&row.metadata).into(),
            (&row.description).into(),
            (&search_text).into(),
            row.parser.into(),
            row.created_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        for asset in assets {
            self.put_asset(asset).await?;
        }
        Ok(())
    }

    /// One by its identifier, its assets apart.
    pub async fn content(&mut self, id: &str) -> Result<Option<ContentRow>, DbError> {
        let sql = "select content_id, domain_id, metadata, description, parser, created_at
                   from contents where content_id = $1";
        self.first(TABLE, sql, &[id.into()]).await?.as_ref().map(content).transpose()
    }

    /// The formats' documents of these contents, in no particular order.
    pub async fn contents_metadata(&mut self, contents: &[Id]) -> Result<Vec<(Id, String)>, DbError> {
        let sql = "select content_id, metadata from contents where content_id in ({list})";
        let rows = self.all_in(TABLE, sql, &[], &ids(contents)).await?;
        rows.iter().map(|row| Ok((row.text("content_id")?, row.string("metadata")?))).collect()
    }

    /// The assets of these contents; those of one content by name.
    pub async fn assets_of(&mut self, contents: &[Id]) -> Result<Vec<AssetRow>, DbError> {
        let sql = "select content_id, name, state, size, md5, sha1, sha256, sha512, expected, url, derived
                   from assets where content_id in ({list})
                   order by content_id collate \"C\", name collate \"C\"";
        self.all_in(ASSETS, sql, &[], &ids(contents)).await?.iter().map(asset).collect()
    }

    /// Of these contents the assets that are files of their own, not made out of others.
    pub async fn files_of(&mut self, contents: &[Id]) -> Result<Vec<AssetRow>, DbError> {
        let mut assets = self.assets_of(contents).await?;
        assets.retain(|asset| !asset.derived);
        Ok(assets)
    }

    /// One asset.
    pub async fn asset(&mut self, content: &str, name: &str) -> Result<Option<AssetRow>, DbError> {
        let sql = "select content_id, name, state, size, md5, sha1, sha256, sha512, expected, url, derived
                   from assets where content_id = $1 and name = $2";
        self.first(ASSETS, sql, &[content.into(), name.into()]).await?.as_ref().map(asset).transpose()
    }

    /// Stores an asset, in place of the one of that name.
    pub async fn put_asset(&mut self, row: &AssetRow) -> Result<(), DbError> {
        let sql = "insert into assets (content_id, name, state, size, md5, sha1, sha256, sha512, expected,
                                       url, derived)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                   on conflict (content_id, name) do update
                   set state = excluded.state, size = excluded.size, md5 = excluded.md5,
                       sha1 = excluded.sha1, sha256 = excluded.sha256, sha512 = excluded.sha512,
                       expected = excluded.expected, url = excluded.url, derived = excluded.derived";
        let (state, size, digests, promise) = match &row.state {
            AssetState::Held { size, digests } => (State::Held, Some(*size), Some(digests), None),
            AssetState::Evicted { size, digests } => (State::Evicted, Some(*size), Some(digests), None),
            AssetState::Promised { expected, url } => {
                (State::Promised, None, None, Some((Promise::write(expected), url)))
            }
        };
        let values = [
            (&row.content).into(),
            (&row.name).into(),
            state.as_str().into(),
            size.map_or(Value::Int(None), Value::from),
            Value::Bytes(digests.map(|d| d.md5.as_slice())),
            Value::Bytes(digests.map(|d| d.sha1.as_slice())),
            Value::Bytes(digests.map(|d| d.sha256.as_bytes().as_slice())),
            Value::Bytes(digests.map(|d| d.sha512.as_slice())),
            promise.as_ref().map(|(expected, _)| expected.as_str()).into(),
            promise.as_ref().map(|(_, url)| url.as_str()).into(),
            Value::Bool(row.derived),
        ];
        self.run(ASSETS, sql, &values).await?;
        Ok(())
    }

    /// One page of a content's assets that are files of their own, by name.
    pub async fn list_assets(
        &mut self,
        content: &str,
        page: &PageRequest,
    ) -> Result<Page<AssetRow>, DbError> {
        let [name] = cursor::<1>(page)?;
        let sql = "select content_id, name, state, size, md5, sha1, sha256, sha512, expected, url, derived
                   from assets where content_id = $1 and name collate \"C\" > $2 and not derived
                   order by name collate \"C\" limit $3";
        let rows = self.all(ASSETS, sql, &[content.into(), name.into(), (page.size + 1).into()]).await?;
        let found = rows.iter().map(asset).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(found, page.size, |row| vec![row.name.clone()]))
    }

    /// Replaces the format's document and what was derived from it.
    pub async fn set_content_metadata(
        &mut self,
        id: &str,
        metadata: &str,
        description: &str,
    ) -> Result<(), DbError> {
        let sql = "update contents set metadata = $2, description = $3, search_text = $4
                   where content_id = $1";
        let search_text = search_text(description);
        let values = [id.into(), metadata.into(), description.into(), (&search_text).into()];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Deletes a content with its assets unless a version names it; whether it did.
    pub async fn delete_content_if_unused(&mut self, id: &str) -> Result<bool, DbError> {
        let sql = "delete from contents where content_id = $1
                   and not exists (select 1 from package_versions v where v.content_id = $1)";
        Ok(self.run(TABLE, sql, &[id.into()]).await? > 0)
    }

    /// As `delete_content_if_unused` for the `content_id` of each of these rows.
    pub(crate) async fn delete_contents_if_unused(&mut self, rows: &[Row]) -> Result<(), DbError> {
        let contents = rows.iter().map(|row| row.text("content_id")).collect::<Result<Vec<Id>, _>>()?;
        let sql = "delete from contents where content_id in ({list})
                   and not exists (select 1 from package_versions v
                                   where v.content_id = contents.content_id)";
        self.run_in(TABLE, sql, &[], &ids(&contents)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_survives_the_round_trip() {
        let expected = Expected { sha1: Some([7; 20]), size: Some(9), ..Expected::default() };
        let text = Promise::write(&expected);
        assert_eq!(text, format!(r#"{{"sha1":"{}","size":9}}"#, "07".repeat(20)));
        let read = serde_json::from_str::<Promise>(&text).expect("JSON").read();
        assert_eq!(read, Some(expected));
        let short = serde_json::from_str::<Promise>(r#"{"md5":"00"}"#).expect("JSON");
        assert_eq!(short.read(), None);
    }

    #[test]
    fn a_search_looks_through_summary_and_keywords_only() {
        let description = r#"{"summary":"a weir","keywords":["dam"],"readme":"long","licenses":[]}"#;
        assert_eq!(search_text(description), "a weir dam");
        assert_eq!(search_text("{}"), "");
        assert_eq!(search_text("not JSON"), "");
    }
}
