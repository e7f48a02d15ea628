//! The bytes of versions that were deleted, for `immutable-versions`.

use crate::db::Session;
use crate::error::DbError;
use crate::rows::{AssetState, VersionRow};
use weir_core::{Digest, Timestamp};

const TABLE: &str = "deleted_versions";

impl Session {
    /// Remembers the files of a version that is about to be deleted.
    pub async fn note_deleted_version(&mut self, version: &VersionRow, at: Timestamp) -> Result<(), DbError> {
        let assets = self.files_of(std::slice::from_ref(&version.content)).await?;
        let mut digests: Vec<String> = assets
            .iter()
            .filter_map(|asset| match &asset.state {
                AssetState::Held { digests, .. } | AssetState::Evicted { digests, .. } => {
                    Some(digests.sha256.hex())
                }
                AssetState::Promised { .. } => None,
            })
            .collect();
        digests.sort();
        let digests = digests.join(" ");
        let sql = "insert into deleted_versions (package_id, version_key, digests, deleted_at)
                   values ($1, $2, $3, $4)
                   on conflict (package_id, version_key) do update
                   set digests = excluded.digests, deleted_at = excluded.deleted_at";
        let values = [(&*version.package).into(), (&*version.key).into(), digests.as_str().into(), at.into()];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// The digests of the files a deleted version had, sorted; `None` if it was never deleted.
    pub async fn deleted_version(
        &mut self,
        package: &str,
        key: &str,
    ) -> Result<Option<Vec<Digest>>, DbError> {
        let sql =
            "select package_id, digests from deleted_versions where package_id = $1 and version_key = $2";
        let Some(row) = self.first(TABLE, sql, &[package.into(), key.into()]).await? else { return Ok(None) };
        Ok(Some(row.text("digests")?.split(' ').filter_map(Digest::parse).collect()))
    }
}
