//! When public versions were first seen whose registry does not tell when they were published.

use crate::db::Session;
use crate::error::DbError;
use std::collections::BTreeMap;
use weir_core::{ConnectionName, Timestamp};

const TABLE: &str = "first_seen";

impl Session {
    /// The versions of a package (normal forms) and when each was first seen.
    pub async fn first_seen(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        coordinate: &str,
    ) -> Result<BTreeMap<String, Timestamp>, DbError> {
        let sql = "select coordinate, versions from first_seen
                   where domain_id = $1 and connection = $2 and coordinate = $3";
        let values = [domain.into(), connection.as_str().into(), coordinate.into()];
        let Some(row) = self.first(TABLE, sql, &values).await? else { return Ok(BTreeMap::new()) };
        let micros: BTreeMap<String, i64> = row.json("versions")?;
        let moment = |at| Timestamp::from_microsecond(at).map_err(|error| row.broken("versions", error));
        micros.into_iter().map(|(version, at)| Ok((version, moment(at)?))).collect()
    }

    /// Notes when versions were seen. Of one that is noted already the earlier moment stays.
    pub async fn note_first_seen(
        &mut self,
        domain: &str,
        connection: &ConnectionName,
        coordinate: &str,
        seen: &BTreeMap<String, Timestamp>,
    ) -> Result<(), DbError> {
        self.take_turn(&format!("first_seen {domain} {connection} {coordinate}")).await?;
        let mut all = self.first_seen(domain, connection, coordinate).await?;
        for (version, at) in seen {
            let first = all.entry(version.clone()).or_insert(*at);
            *first = (*first).min(*at);
        }
        let micros: BTreeMap<&String, i64> =
            all.iter().map(|(version, at)| (version, at.as_microsecond())).collect();
        let text = serde_json::to_string(&micros).expect("texts and numbers are always JSON");
        let sql = "insert into first_seen (domain_id, connection, coordinate, versions)
                   values ($1, $2, $3, $4)
                   on conflict (domain_id, connection, coordinate) do update set versions = excluded.versions";
        let values = [domain.into(), connection.as_str().into(), coordinate.into(), text.as_str().into()];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }
}
