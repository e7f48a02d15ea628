//! Package records of repositories.

use super::{cursor, ids};
use crate::db::{Row, Session, Value, expand};
use crate::error::DbError;
use crate::rows::{Id, PackageFilter, PackageRow};
use sqlx::AssertSqlSafe;
use weir_core::{Control, Controls, OriginControls, OriginKind, Page, PageRequest, Timestamp};

const TABLE: &str = "packages";
/// How many words of a search count.
const WORDS: usize = 8;

fn package(row: &Row) -> Result<PackageRow, DbError> {
    let learned = controls(row, "learned_publish", "learned_upstream")?;
    let put = controls(row, "put_publish", "put_upstream")?;
    Ok(PackageRow {
        id: row.text("package_id")?,
        repository: row.text("repository_id")?,
        format: row.string("format")?,
        namespace: row.string("namespace")?,
        name: row.string("name")?,
        controls: OriginControls { learned, put },
        first_internal_at: row.optional_time("first_internal_at")?,
        first_external_at: row.optional_time("first_external_at")?,
        metadata: row.optional_string("metadata")?,
        sequence: row.integer("sequence")?,
        created_at: row.time("created_at")?,
    })
}

/// Both columns are null or neither is.
fn controls(row: &Row, publish: &'static str, upstream: &'static str) -> Result<Option<Controls>, DbError> {
    let Some(allowed) = row.optional_parsed(publish, Control::parse)? else { return Ok(None) };
    Ok(Some(Controls { publish: allowed, upstream: row.parsed(upstream, Control::parse)? }))
}

fn publish(controls: Option<Controls>) -> Value<'static> {
    controls.map(|controls| controls.publish.as_str()).into()
}

fn upstream(controls: Option<Controls>) -> Value<'static> {
    controls.map(|controls| controls.upstream.as_str()).into()
}

impl Session {
    /// The records of one name in these repositories: what a search path needs, in one query.
    pub async fn packages_named(
        &mut self,
        repositories: &[Id],
        format: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<PackageRow>, DbError> {
        let sql = "select package_id, repository_id, format, namespace, name, learned_publish,
                          learned_upstream, put_publish, put_upstream, first_internal_at,
                          first_external_at, metadata, sequence, created_at
                   from packages
                   where format = $1 and namespace = $2 and name = $3 and repository_id in ({list})";
        let values = [format.into(), namespace.into(), name.into()];
        self.all_in(TABLE, sql, &values, &ids(repositories)).await?.iter().map(package).collect()
    }

    /// The record of one name in one repository.
    pub async fn package(
        &mut self,
        repository: &str,
        format: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<PackageRow>, DbError> {
        let sql = "select package_id, repository_id, format, namespace, name, learned_publish,
                          learned_upstream, put_publish, put_upstream, first_internal_at,
                          first_external_at, metadata, sequence, created_at
                   from packages
                   where repository_id = $1 and format = $2 and namespace = $3 and name = $4";
        let values = [repository.into(), format.into(), namespace.into(), name.into()];
        self.first(TABLE, sql, &values).await?.as_ref().map(package).transpose()
    }

    /// One by its identifier.
    pub async fn package_by_id(&mut self, id: &str) -> Result<Option<PackageRow>, DbError> {
        let sql = "select package_id, repository_id, format, namespace, name, learned_publish,
                          learned_upstream, put_publish, put_upstream, first_internal_at,
                          first_external_at, metadata, sequence, created_at
                   from packages where package_id = $1";
        self.first(TABLE, sql, &[id.into()]).await?.as_ref().map(package).transpose()
    }

    /// Makes a record, or finds the one of that name; gives back what is there now.
    pub async fn insert_package(&mut self, row: &PackageRow) -> Result<PackageRow, DbError> {
        let sql = "insert into packages (package_id, repository_id, format, namespace, name,
                                         learned_publish, learned_upstream, put_publish, put_upstream,
                                         first_internal_at, first_external_at, metadata, sequence,
                                         created_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                   on conflict (repository_id, format, namespace, name) do nothing
                   returning package_id";
        let values = [
            (&row.id).into(),
            (&row.repository).into(),
            (&row.format).into(),
            (&row.namespace).into(),
            (&row.name).into(),
            publish(row.controls.learned),
            upstream(row.controls.learned),
            publish(row.controls.put),
            upstream(row.controls.put),
            row.first_internal_at.into(),
            row.first_external_at.into(),
            (&row.metadata).into(),
            row.sequence.into(),
            row.created_at.into(),
        ];
        if self.change(TABLE, sql, &values).await?.is_some() {
            return Ok(row.clone());
        }
        let found = self.package(&row.repository, &row.format, &row.namespace, &row.name).await?;
        // A concurrent delete on PostgreSQL; a client that comes again succeeds.
        found.ok_or_else(|| DbError::unavailable("the package was deleted at the same moment"))
    }

    /// Stores the controls learned from the first version.
    pub async fn set_learned_controls(&mut self, id: &str, controls: Controls) -> Result<(), DbError> {
        let sql = "update packages set learned_publish = $2, learned_upstream = $3 where package_id = $1";
        let values = [id.into(), publish(Some(controls)), upstream(Some(controls))];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Stores the controls put by hand.
    pub async fn set_put_controls(&mut self, id: &str, controls: Controls) -> Result<(), DbError> {
        let sql = "update packages set put_publish = $2, put_upstream = $3 where package_id = $1";
        let values = [id.into(), publish(Some(controls)), upstream(Some(controls))];
        self.run(TABLE, sql, &values).await?;
        Ok(())
    }

    /// Notes when the first version of this origin came; later ones change nothing.
    pub async fn note_first(&mut self, id: &str, kind: OriginKind, at: Timestamp) -> Result<(), DbError> {
        let sql = match kind {
            OriginKind::Internal => {
                "update packages set first_internal_at = $2
                 where package_id = $1 and first_internal_at is null"
            }
            OriginKind::External => {
                "update packages set first_external_at = $2
                 where package_id = $1 and first_external_at is null"
            }
        };
        self.run(TABLE, sql, &[id.into(), at.into()]).await?;
        Ok(())
    }

    /// Notes a version that is new to the package, in one statement: what `set_learned_controls`, where nothing was
    /// learned before, `note_first` and `next_sequence` do.
    pub async fn note_version(
        &mut self,
        id: &str,
        learned: Controls,
        kind: OriginKind,
        at: Timestamp,
    ) -> Result<i64, DbError> {
        let sql = match kind {
            OriginKind::Internal => {
                "update packages set learned_publish = coalesce(learned_publish, $2),
                                     learned_upstream = coalesce(learned_upstream, $3),
                                     first_internal_at = coalesce(first_internal_at, $4),
                                     sequence = sequence + 1
                 where package_id = $1 returning package_id, sequence"
            }
            OriginKind::External => {
                "update packages set learned_publish = coalesce(learned_publish, $2),
                                     learned_upstream = coalesce(learned_upstream, $3),
                                     first_external_at = coalesce(first_external_at, $4),
                                     sequence = sequence + 1
                 where package_id = $1 returning package_id, sequence"
            }
        };
        let values = [id.into(), publish(Some(learned)), upstream(Some(learned)), at.into()];
        self.counted(sql, &values).await
    }

    async fn counted(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<i64, DbError> {
        match self.change(TABLE, sql, values).await? {
            Some(row) => row.integer("sequence"),
            None => Err(DbError::unavailable("the package was deleted at the same moment")),
        }
    }

    /// Stores the format's facts of the package, as JSON.
    pub async fn set_package_metadata(&mut self, id: &str, metadata: &str) -> Result<(), DbError> {
        let sql = "update packages set metadata = $2 where package_id = $1";
        self.run(TABLE, sql, &[id.into(), metadata.into()]).await?;
        Ok(())
    }

    /// Counts a change of the package and gives its number. On PostgreSQL others who change the same
    /// package wait here for the end of this transaction.
    pub async fn next_sequence(&mut self, id: &str) -> Result<i64, DbError> {
        let sql = "update packages set sequence = sequence + 1 where package_id = $1
                   returning package_id, sequence";
        self.counted(sql, &[id.into()]).await
    }

    /// Deletes a record with its versions and tags; contents that nobody names any more go too.
    pub async fn delete_package(&mut self, id: &str) -> Result<(), DbError> {
        let contents = "select distinct content_id from package_versions where package_id = $1";
        let contents = self.all("package_versions", contents, &[id.into()]).await?;
        self.run(TABLE, "delete from packages where package_id = $1", &[id.into()]).await?;
        self.delete_contents_if_unused(&contents).await
    }

    /// One page of a repository's records, by format, namespace and name.
    pub async fn list_packages(
        &mut self,
        repository: &str,
        filter: &PackageFilter,
        page: &PageRequest,
    ) -> Result<Page<PackageRow>, DbError> {
        let [mut format, namespace, name] = cursor::<3>(page)?;
        if let Some(only) = filter.format.as_deref().filter(|_| page.after.is_empty()) {
            // Nothing before it can be wanted.
            format = only;
        }
        let sql = "select package_id, repository_id, format, namespace, name, learned_publish,
                          learned_upstream, put_publish, put_upstream, first_internal_at,
                          first_external_at, metadata, sequence, created_at
                   from packages
                   where repository_id = $1
                     and ($2 is null or format = $2)
                     and ($3 is null or substr(namespace, 1, length($3)) = $3)
                     and ($4 is null or substr(name, 1, length($4)) = $4)
                     and ($5 is null or coalesce(put_publish, learned_publish, 'ALLOW') = $5)
                     and ($6 is null or coalesce(put_upstream, learned_upstream, 'ALLOW') = $6)
                     and (format, namespace, name) > ($7, $8, $9)
                   order by format, namespace, name
                   limit $10";
        let values = [
            repository.into(),
            (&filter.format).into(),
            (&filter.namespace_prefix).into(),
            (&filter.name_prefix).into(),
            filter.publish.map(Control::as_str).into(),
            filter.upstream.map(Control::as_str).into(),
            format.into(),
            namespace.into(),
            name.into(),
            (page.size + 1).into(),
        ];
        let rows = self.all(TABLE, sql, &values).await?;
        let found = rows.iter().map(package).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(found, page.size, |row| {
            vec![row.format.clone(), row.namespace.clone(), row.name.clone()]
        }))
    }

    /// Names (namespace, name) in these repositories of which every word is somewhere in the name, the
    /// namespace, or the summary and keywords of a version; sorted, each once, and how many there are.
    /// No words find everything; the ninth word and further ones are passed over.
    pub async fn search_packages(
        &mut self,
        repositories: &[Id],
        format: &str,
        words: &str,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<(String, String)>, u64), DbError> {
        if repositories.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let patterns: Vec<String> = words.split_whitespace().take(WORDS).map(contains).collect();
        let mut values: Vec<Value<'_>> = vec![format.into()];
        let mut conditions = String::new();
        for pattern in &patterns {
            values.push(pattern.into());
            conditions.push_str(&CONDITION.replace("$word", &format!("${}", values.len())));
        }
        // Of these two texts only the conditions vary: a literal with `$2`, `$3`, … put in.
        let found = format!("from packages p where format = $1 and repository_id in ({{list}}){conditions}");
        let (list, values) = expand("{list}", &values, &ids(repositories));
        let found = found.replace("{list}", sqlx::SqlSafeStr::into_sql_str(list).as_str());
        let count = format!("select count(*) as total from (select distinct namespace, name {found}) names");
        let total = self.first(TABLE, AssertSqlSafe(count), &values).await?;
        let total = total.map_or(Ok(0), |row| row.size("total"))?;
        let (at_limit, at_offset) = (values.len() + 1, values.len() + 2);
        let names = format!(
            "select distinct namespace collate \"C\" as namespace, name collate \"C\" as name {found}
             order by name, namespace limit ${at_limit} offset ${at_offset}"
        );
        let mut values = values;
        values.extend([Value::from(limit), Value::from(offset)]);
        let rows = self.all(TABLE, AssertSqlSafe(names), &values).await?;
        let names = rows.iter().map(|row| Ok((row.string("namespace")?, row.string("name")?)));
        Ok((names.collect::<Result<_, DbError>>()?, total))
    }
}

const CONDITION: &str = " and (lower(p.name) like lower($word) escape '\\'
    or lower(p.namespace) like lower($word) escape '\\'
    or exists (select 1 from package_versions v
               join contents c on c.content_id = v.content_id
               where v.package_id = p.package_id and lower(c.search_text) like lower($word) escape '\\'))";

/// A `like` pattern for texts that contain `word`, its wildcards taken literally.
fn contains(word: &str) -> String {
    let mut pattern = String::with_capacity(word.len() + 2);
    pattern.push('%');
    for character in word.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
