//! `manifest.json`: what an export consists of. It is written last and replaced in one step, so a folder holds
//! the export that it names, whole, or none.

use super::table::{Column, Table};
use super::{CopyError, FORMAT};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use weir_core::Digest;

pub(super) const NAME: &str = "manifest.json";
/// Folders of rows are named by this and the export.
pub(super) const ROWS: &str = "rows-";

/// What an export consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout of the export: a later one cannot be read.
    pub format: u32,
    /// Names this export.
    pub export: String,
    /// The version of Weir that wrote it.
    pub weir: String,
    /// When, in RFC 3339.
    pub exported_at: String,
    /// The engine that the rows come from.
    pub engine: String,
    /// The migrations that the database had.
    pub migrations: Vec<String>,
    /// The key that seals secrets in the rows; none where there was no key yet.
    pub master_key_fingerprint: Option<String>,
    /// The folder of the rows.
    pub rows: String,
    /// The files in it.
    pub tables: Vec<TableFile>,
    /// Files of versions.
    pub files: Counted,
    /// Bodies of index documents.
    pub documents: Counted,
    /// Files that the source should have had, whole, and had not.
    pub lost: Vec<Lost>,
}

/// A file of rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableFile {
    /// The table.
    pub name: String,
    /// Its columns, in the order of the values of a line.
    pub columns: Vec<String>,
    /// How many lines it has.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// How many, and how many bytes they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// Bytes in all.
    pub bytes: u64,
}

impl Counted {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A file that is not in the export, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The domain that names it.
    pub domain_id: String,
    /// Its name.
    pub sha256: String,
    /// How many bytes it should have.
    pub size: u64,
    /// What is wrong.
    pub problem: String,
}

/// A file of rows whose table and columns this version knows.
pub(super) struct KnownFile<'a> {
    pub(super) file: &'a TableFile,
    pub(super) table: &'static Table,
    pub(super) columns: Vec<Column>,
}

impl Manifest {
    /// The manifest of a folder; `None` if there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, CopyError> {
        let path = folder.join(NAME);
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = |problem: String| CopyError::Export { file: path.display().to_string(), problem };
        let json: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("is not JSON ({error})")))?;
        // Before the rest is looked at, which a later format may write in another way.
        let format = json["format"].as_u64().unwrap_or(0);
        if format != u64::from(FORMAT) {
            let by = json["weir"].as_str().unwrap_or("another version").to_owned();
            return Err(CopyError::Newer { by, what: format!("format {format} of exports") });
        }
        let manifest: Self =
            serde_json::from_value(json).map_err(|error| damaged(format!("is not a manifest ({error})")))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !manifest.rows.starts_with(ROWS) || !manifest.rows.chars().all(plain) {
            return Err(damaged(format!("names '{}', which is no folder of rows", manifest.rows)));
        }
        Ok(Some(manifest))
    }

    /// The files of rows, in an order in which rows come after those they refer to. Refuses tables and columns that
    /// this version does not know.
    pub(super) fn files(&self) -> Result<Vec<KnownFile<'_>>, CopyError> {
        let newer = |what: String| CopyError::Newer { by: self.weir.clone(), what };
        let mut known = Vec::new();
        for file in &self.tables {
            let table =
                Table::named(&file.name).ok_or_else(|| newer(format!("the table '{}'", file.name)))?;
            let column = |name: &String| {
                let position = table.position(name);
                position
                    .map(|position| table.columns[position])
                    .ok_or_else(|| newer(format!("the column '{name}' of table '{}'", file.name)))
            };
            let columns: Result<Vec<_>, _> = file.columns.iter().map(column).collect();
            known.push(KnownFile { file, table, columns: columns? });
        }
        let order = |name: &str| super::table::TABLES.iter().position(|table| table.name == name);
        known.sort_by_key(|one| order(one.table.name));
        Ok(known)
    }

    /// A digest of all that it says.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("texts and numbers can be written"))
    }

    /// Puts it in place of the earlier one, durably.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        use std::io::Write as _;
        let beside = folder.join(format!("{NAME}.new"));
        let mut file = fs_err::File::create(&beside)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs_err::rename(&beside, folder.join(NAME))?;
        fs_err::File::open(folder)?.sync_all()
    }
}
