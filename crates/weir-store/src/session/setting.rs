//! Settings that the database keeps, by name.

use crate::db::Session;
use crate::error::DbError;

const TABLE: &str = "settings";

impl Session {
    /// The value of a setting.
    pub async fn get_setting(&mut self, name: &str) -> Result<Option<String>, DbError> {
        let sql = "select value from settings where name = $1";
        let row = self.first(TABLE, sql, &[name.into()]).await?;
        row.map(|row| row.string("value")).transpose()
    }

    /// Sets it, whether it was there or not.
    pub async fn put_setting(&mut self, name: &str, value: &str) -> Result<(), DbError> {
        let sql = "insert into settings (name, value) values ($1, $2)
                   on conflict (name) do update set value = excluded.value";
        self.run(TABLE, sql, &[name.into(), value.into()]).await?;
        Ok(())
    }

    /// Sets it unless it is there already, and gives back what holds.
    pub async fn put_setting_once(&mut self, name: &str, value: &str) -> Result<String, DbError> {
        let sql = "insert into settings (name, value) values ($1, $2) on conflict (name) do nothing";
        self.run(TABLE, sql, &[name.into(), value.into()]).await?;
        Ok(self.get_setting(name).await?.unwrap_or_else(|| value.to_owned()))
    }

    /// Removes it, if it is there.
    pub async fn delete_setting(&mut self, name: &str) -> Result<(), DbError> {
        self.run(TABLE, "delete from settings where name = $1", &[name.into()]).await?;
        Ok(())
    }
}
