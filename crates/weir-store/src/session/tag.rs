//! Tags of packages (npm: dist-tags), and tags of AWS resources.

use super::ids;
use crate::db::{Session, Value};
use crate::error::DbError;
use crate::rows::Id;

const TABLE: &str = "tags";
const RESOURCES: &str = "resource_tags";

impl Session {
    /// The tags of these packages: package, tag, version's key; those of one package by tag.
    pub async fn tags_of(&mut self, packages: &[Id]) -> Result<Vec<(Id, String, String)>, DbError> {
        let sql = "select package_id, tag, version from tags where package_id in ({list})
                   order by package_id collate \"C\", tag collate \"C\"";
        let rows = self.all_in(TABLE, sql, &[], &ids(packages)).await?;
        rows.iter()
            .map(|row| Ok((row.text("package_id")?, row.string("tag")?, row.string("version")?)))
            .collect()
    }

    /// Points a tag to a version.
    pub async fn put_tag(&mut self, package: &str, tag: &str, version: &str) -> Result<(), DbError> {
        let sql = "insert into tags (package_id, tag, version) values ($1, $2, $3)
                   on conflict (package_id, tag) do update set version = excluded.version";
        self.run(TABLE, sql, &[package.into(), tag.into(), version.into()]).await?;
        Ok(())
    }

    /// Deletes a tag; false if there is none.
    pub async fn delete_tag(&mut self, package: &str, tag: &str) -> Result<bool, DbError> {
        let sql = "delete from tags where package_id = $1 and tag = $2";
        Ok(self.run(TABLE, sql, &[package.into(), tag.into()]).await? > 0)
    }

    /// The tags (key, value) of a resource, by key.
    pub async fn resource_tags(&mut self, arn: &str) -> Result<Vec<(String, String)>, DbError> {
        let sql = "select arn, key, value from resource_tags where arn = $1 order by key collate \"C\"";
        let rows = self.all(RESOURCES, sql, &[arn.into()]).await?;
        rows.iter().map(|row| Ok((row.string("key")?, row.string("value")?))).collect()
    }

    /// Adds tags to a resource; a key that is there gets the new value.
    pub async fn put_resource_tags(&mut self, arn: &str, tags: &[(String, String)]) -> Result<(), DbError> {
        let sql = "insert into resource_tags (arn, key, value) values ($1, $2, $3)
                   on conflict (arn, key) do update set value = excluded.value";
        for (key, value) in tags {
            self.run(RESOURCES, sql, &[arn.into(), key.into(), value.into()]).await?;
        }
        Ok(())
    }

    /// Takes tags from a resource; keys that are not there are passed over.
    pub async fn delete_resource_tags(&mut self, arn: &str, keys: &[String]) -> Result<(), DbError> {
        let keys: Vec<Value<'_>> = keys.iter().map(Value::from).collect();
        let sql = "delete from resource_tags where arn = $1 and key in ({list})";
        self.run_in(RESOURCES, sql, &[arn.into()], &keys).await?;
        Ok(())
    }

    /// Takes all tags from a resource.
    pub async fn delete_all_resource_tags(&mut self, arn: &str) -> Result<(), DbError> {
        self.run(RESOURCES, "delete from resource_tags where arn = $1", &[arn.into()]).await?;
        Ok(())
    }
}
