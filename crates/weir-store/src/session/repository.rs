//! Repositories, their upstreams and their external connections.

use super::{account, connection, cursor, ids};
use crate::db::{Row, Session, expand};
use crate::error::DbError;
use crate::rows::{Id, RepositoryFilter, RepositoryRow};
use std::collections::HashMap;
use weir_core::{AccountId, ConnectionName, Page, PageRequest, RepositoryName};

const TABLE: &str = "repositories";
const UPSTREAMS: &str = "upstreams";
const CONNECTIONS: &str = "repository_connections";

/// A row without its upstreams and connection.
fn repository(row: &Row) -> Result<RepositoryRow, DbError> {
    Ok(RepositoryRow {
        id: row.text("repository_id")?,
        domain: row.text("domain_id")?,
        name: row.parsed("name", |text| RepositoryName::parse("repository", text).ok())?,
        administrator: row.parsed("administrator", account)?,
        description: row.optional_string("description")?,
        edited: row.boolean("edited")?,
        created_at: row.time("created_at")?,
        upstreams: Vec::new(),
        connection: None,
    })
}

impl Session {
    /// Makes a repository with its upstreams and connection. `DbError::Unique` where the domain has one
    /// of that name.
    pub async fn insert_repository(&mut self, row: &RepositoryRow) -> Result<(), DbError> {
        let sql = "insert into repositories (repository_id, domain_id, name, administrator, description,
                                             edited, created_at)
                   values ($1, $2, $3, $4, $5, $6, $7)";
        let values = [
            (&row.id).into(),
            (&row.domain).into(),
            row.name.as_str().into(),
            row.administrator.as_str().into(),
            (&row.description).into(),
            row.edited.into(),
            row.created_at.into(),
        ];
        self.run(TABLE, sql, &values).await?;
        self.insert_upstreams(&row.id, &row.upstreams).await?;
        self.set_repository_connection(&row.id, row.connection.as_ref()).await
    }

    async fn insert_upstreams(&mut self, id: &str, upstreams: &[Id]) -> Result<(), DbError> {
        let sql = "insert into upstreams (repository_id, position, upstream_id) values ($1, $2, $3)";
        for (position, upstream) in upstreams.iter().enumerate() {
            self.run(UPSTREAMS, sql, &[id.into(), position.into(), upstream.into()]).await?;
        }
        Ok(())
    }

    /// All repositories of a domain with upstreams and connections, by name: the graph, in three queries.
    pub async fn repositories(&mut self, domain: &str) -> Result<Vec<RepositoryRow>, DbError> {
        let sql = "select repository_id, domain_id, name, administrator, description, edited, created_at
                   from repositories where domain_id = $1 order by name collate \"C\"";
        let rows = self.all(TABLE, sql, &[domain.into()]).await?;
        let mut repositories = rows.iter().map(repository).collect::<Result<Vec<_>, _>>()?;
        let upstreams = "select u.repository_id, u.upstream_id
                         from upstreams u
                         join repositories r on r.repository_id = u.repository_id
                         where r.domain_id = $1 order by u.repository_id, u.position";
        let upstreams = self.all(UPSTREAMS, upstreams, &[domain.into()]).await?;
        let connections = "select c.repository_id, c.connection
                           from repository_connections c
                           join repositories r on r.repository_id = c.repository_id
                           where r.domain_id = $1";
        let connections = self.all(CONNECTIONS, connections, &[domain.into()]).await?;
        complete(&mut repositories, &upstreams, &connections)?;
        Ok(repositories)
    }

    /// Changes what is given; `Some(None)` takes the description away.
    pub async fn update_repository(
        &mut self,
        id: &str,
        description: Option<Option<String>>,
        upstreams: Option<&[Id]>,
    ) -> Result<(), DbError> {
        if let Some(description) = description {
            let sql = "update repositories set description = $2 where repository_id = $1";
            self.run(TABLE, sql, &[id.into(), (&description).into()]).await?;
        }
        if let Some(upstreams) = upstreams {
            self.run(UPSTREAMS, "delete from upstreams where repository_id = $1", &[id.into()]).await?;
            self.insert_upstreams(id, upstreams).await?;
        }
        Ok(())
    }

    /// Gives it an external connection, or none.
    pub async fn set_repository_connection(
        &mut self,
        id: &str,
        connection: Option<&ConnectionName>,
    ) -> Result<(), DbError> {
        let Some(connection) = connection else {
            let sql = "delete from repository_connections where repository_id = $1";
            self.run(CONNECTIONS, sql, &[id.into()]).await?;
            return Ok(());
        };
        let sql = "insert into repository_connections (repository_id, connection) values ($1, $2)
                   on conflict (repository_id) do update set connection = excluded.connection";
        self.run(CONNECTIONS, sql, &[id.into(), connection.as_str().into()]).await?;
        Ok(())
    }

    /// Notes that somebody changed it, so that Weir leaves it alone.
    pub async fn mark_edited(&mut self, id: &str) -> Result<(), DbError> {
        let sql = "update repositories set edited = $2 where repository_id = $1";
        self.run(TABLE, sql, &[id.into(), true.into()]).await?;
        Ok(())
    }

    /// Deletes it with its packages and versions; contents that nobody names any more go too. Where it
    /// was an upstream, the gap closes.
    pub async fn delete_repository(&mut self, id: &str) -> Result<(), DbError> {
        let contents = "select distinct v.content_id
                        from package_versions v
                        join packages p on p.package_id = v.package_id
                        where p.repository_id = $1";
        let contents = self.all("package_versions", contents, &[id.into()]).await?;
        self.run(TABLE, "delete from repositories where repository_id = $1", &[id.into()]).await?;
        self.delete_contents_if_unused(&contents).await
    }

    /// One page, by name and identifier.
    pub async fn list_repositories(
        &mut self,
        filter: &RepositoryFilter,
        page: &PageRequest,
    ) -> Result<Page<RepositoryRow>, DbError> {
        let [name, id] = cursor::<2>(page)?;
        if filter.domains.is_empty() {
            return Ok(Page { items: Vec::new(), next_token: None });
        }
        let sql = "select repository_id, domain_id, name, administrator, description, edited, created_at
                   from repositories
                   where ($1 is null or administrator = $1)
                     and ($2 is null or substr(name, 1, length($2)) = $2)
                     and (name collate \"C\", repository_id collate \"C\") > ($3, $4)
                     and domain_id in ({list})
                   order by name collate \"C\", repository_id collate \"C\"
                   limit $5";
        let values = [
            filter.administrator.as_ref().map(AccountId::as_str).into(),
            (&filter.name_prefix).into(),
            name.into(),
            id.into(),
            (page.size + 1).into(),
        ];
        let (sql, values) = expand(sql, &values, &ids(&filter.domains));
        let rows = self.all(TABLE, sql, &values).await?;
        let mut found = rows.iter().map(repository).collect::<Result<Vec<_>, _>>()?;
        let listed: Vec<Id> = found.iter().map(|row| row.id.clone()).collect();
        let upstreams = "select repository_id, upstream_id from upstreams
                         where repository_id in ({list}) order by repository_id, position";
        let upstreams = self.all_in(UPSTREAMS, upstreams, &[], &ids(&listed)).await?;
        let connections = "select repository_id, connection from repository_connections
                           where repository_id in ({list})";
        let connections = self.all_in(CONNECTIONS, connections, &[], &ids(&listed)).await?;
        complete(&mut found, &upstreams, &connections)?;
        Ok(Page::cut(found, page.size, |row| vec![row.name.to_string(), row.id.to_string()]))
    }
}

/// Puts upstreams and connections where they belong.
fn complete(
    repositories: &mut [RepositoryRow],
    upstreams: &[Row],
    connections: &[Row],
) -> Result<(), DbError> {
    let places: HashMap<Id, usize> =
        repositories.iter().enumerate().map(|(place, row)| (row.id.clone(), place)).collect();
    for row in upstreams {
        if let Some(&place) = places.get(&row.text("repository_id")?) {
            repositories[place].upstreams.push(row.text("upstream_id")?);
        }
    }
    for row in connections {
        if let Some(&place) = places.get(&row.text("repository_id")?) {
            repositories[place].connection = Some(row.parsed("connection", connection)?);
        }
    }
    Ok(())
}
