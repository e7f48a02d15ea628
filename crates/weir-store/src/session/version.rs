//! Versions in repositories.

use super::{connection, cursor, ids};
use crate::db::{Row, Session};
use crate::error::DbError;
use crate::rows::{Id, VersionFilter, VersionRow};
use weir_core::{
    Flags, Origin, OriginKind, Page, PageRequest, PublishTime, RepositoryName, TimeSource, Timestamp,
    VersionStatus,
};

const TABLE: &str = "package_versions";

fn version(row: &Row) -> Result<VersionRow, DbError> {
    Ok(VersionRow {
        id: row.text("version_id")?,
        package: row.text("package_id")?,
        content: row.text("content_id")?,
        key: row.text("version_key")?,
        text: row.text("version")?,
        status: row.parsed("status", VersionStatus::parse)?,
        revision: row.string("revision")?,
        origin: origin(row)?,
        flags: row.json("flags")?,
        publish_time: PublishTime {
            at: row.time("publish_time")?,
            source: row.parsed("publish_time_source", time_source)?,
        },
        published_at: row.time("published_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn origin(row: &Row) -> Result<Origin, DbError> {
    match row.parsed("origin_kind", origin_kind)? {
        OriginKind::Internal => {
            let parse = |text: &str| RepositoryName::parse("repository", text).ok();
            Ok(Origin::Internal { repository: row.parsed("origin_entry", parse)? })
        }
        OriginKind::External => Ok(Origin::External { connection: row.parsed("origin_entry", connection)? }),
    }
}

fn origin_kind(text: &str) -> Option<OriginKind> {
    [OriginKind::Internal, OriginKind::External].into_iter().find(|kind| kind.as_str() == text)
}

fn origin_entry(origin: &Origin) -> &str {
    match origin {
        Origin::Internal { repository } => repository.as_str(),
        Origin::External { connection } => connection.as_str(),
    }
}

fn time_source(text: &str) -> Option<TimeSource> {
    [TimeSource::Registry, TimeSource::FirstSeen, TimeSource::Published]
        .into_iter()
        .find(|source| source_word(*source) == text)
}

fn source_word(source: TimeSource) -> &'static str {
    match source {
        TimeSource::Registry => "registry",
        TimeSource::FirstSeen => "first-seen",
        TimeSource::Published => "published",
    }
}

fn flags_text(flags: &Flags) -> String {
    serde_json::to_string(flags).expect("texts and booleans are always JSON")
}

impl Session {
    /// All versions of these packages, by package and key.
    pub async fn versions_of(&mut self, packages: &[Id]) -> Result<Vec<VersionRow>, DbError> {
        let sql = "select version_id, package_id, content_id, version_key, version, status, revision,
                          origin_kind, origin_entry, flags, publish_time, publish_time_source,
                          published_at, updated_at
                   from package_versions where package_id in ({list})
                   order by package_id collate \"C\", version_key collate \"C\"";
        self.all_in(TABLE, sql, &[], &ids(packages)).await?.iter().map(version).collect()
    }

    /// One version, by its normal form.
    pub async fn package_version(&mut self, package: &str, key: &str) -> Result<Option<VersionRow>, DbError> {
        let sql = "select version_id, package_id, content_id, version_key, version, status, revision,
                          origin_kind, origin_entry, flags, publish_time, publish_time_source,
                          published_at, updated_at
                   from package_versions where package_id = $1 and version_key = $2";
        self.first(TABLE, sql, &[package.into(), key.into()]).await?.as_ref().map(version).transpose()
    }

    /// Makes a version. `DbError::Unique` where the package has one of that key.
    pub async fn insert_version(&mut self, row: &VersionRow) -> Result<(), DbError> {
        let sql = "insert into package_versions (version_id, package_id, content_id, version_key, version,
                                                 status, revision, origin_kind, origin_entry, flags,
                                                 publish_time, publish_time_source, published_at,
                                                 updated_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let flags = flags_text(&row.flags);
        let values = [
            (&row.id).into(),
            (&row.package).into(),
            (&row.content).into(),
            (&row.key).into(),
            (&row.text).into(),
            row.status.as_str().into(),
            (&row.revision).into(),
            row.origin.kind().as_str().into(),
            origin_entry(&row.origin).into(),
            (&flags).into(),
            row.publish_time.at.into(),
            source_word(row.publish_time.source).into(),
            row.published_at.into(),
            row.updated_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Changes the status.
    pub async fn set_version_status(
        &mut self,
        id: &str,
        status: VersionStatus,
        at: Timestamp,
    ) -> Result<(), DbError> {
        let sql = "update package_versions set status = $2, updated_at = $3 where version_id = $1";
        self.run(TABLE, sql, &[id.into(), status.as_str().into(), at.into()]).await?;
        Ok(())
    }

    /// Changes what may change after publication.
    pub async fn set_version_flags(&mut self, id: &str, flags: &Flags, at: Timestamp) -> Result<(), DbError> {
        let sql = "update package_versions set flags = $2, updated_at = $3 where version_id = $1";
        self.run(TABLE, sql, &[id.into(), (&flags_text(flags)).into(), at.into()]).await?;
        Ok(())
    }

    /// Points it to another content, under a new revision.
    pub async fn set_version_content(
        &mut self,
        id: &str,
        content: &str,
        revision: &str,
        at: Timestamp,
    ) -> Result<(), DbError> {
        let sql = "update package_versions set content_id = $2, revision = $3, updated_at = $4
                   where version_id = $1";
        self.run(TABLE, sql, &[id.into(), content.into(), revision.into(), at.into()]).await?;
        Ok(())
    }

    /// Deletes it; its content stays (`delete_content_if_unused`).
    pub async fn delete_version(&mut self, id: &str) -> Result<(), DbError> {
        self.run(TABLE, "delete from package_versions where version_id = $1", &[id.into()]).await?;
        Ok(())
    }

    /// One page of a package's versions.
    pub async fn list_versions(
        &mut self,
        package: &str,
        filter: &VersionFilter,
        page: &PageRequest,
    ) -> Result<Page<VersionRow>, DbError> {
        let [rank, key] = cursor::<2>(page)?;
        let rank = match rank {
            "" => i64::MIN,
            text => text.parse().map_err(|_| DbError::Cursor)?,
        };
        let sql = "select version_id, package_id, content_id, version_key, version, status, revision,
                          origin_kind, origin_entry, flags, publish_time, publish_time_source,
                          published_at, updated_at
                   from package_versions
                   where package_id = $1
                     and ($2 is null or status = $2)
                     and ($3 is null or origin_kind = $3)
                     and ((case when $4 then -published_at else 0 end), version_key collate \"C\") > ($5, $6)
                   order by (case when $4 then -published_at else 0 end), version_key collate \"C\"
                   limit $7";
        let values = [
            package.into(),
            filter.status.map(VersionStatus::as_str).into(),
            filter.origin_kind.map(OriginKind::as_str).into(),
            filter.newest_first.into(),
            rank.into(),
            key.into(),
            (page.size + 1).into(),
        ];
        let rows = self.all(TABLE, sql, &values).await?;
        let found = rows.iter().map(version).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(found, page.size, |row| {
            let rank = if filter.newest_first { -row.published_at.as_microsecond() } else { 0 };
            vec![rank.to_string(), row.key.to_string()]
        }))
    }
}
