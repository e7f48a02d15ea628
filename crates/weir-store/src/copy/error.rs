//! Why a copy stopped, and what to do about it.

use crate::blob::BlobError;
use crate::error::DbError;
use crate::lock::LockError;
use std::io;

/// Why an export or an import stopped.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The folder of the export.
    #[error("the folder of the export: {0}{hint}", hint = hint(.0))]
    Folder(#[from] io::Error),
    /// Another export or import uses the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database of the installation.
    #[error("{0}{hint}", hint = database_hint(.0))]
    Database(#[from] DbError),
    /// The blob store that is written does not take bytes, or that which is read does not answer.
    #[error("{0}{hint}", hint = blob_hint(.0))]
    Blobs(#[from] BlobError),
    /// The folder belongs to something else.
    #[error("{folder} holds something else than an export ('{name}'): name an empty or a new folder")]
    OtherFolder {
        /// The folder.
        folder: String,
        /// What is there.
        name: String,
    },
    /// The backup of another installation must not be replaced.
    #[error("{folder} holds the export of another installation, of another master key: name another folder")]
    OtherInstallation {
        /// The folder.
        folder: String,
    },
    /// There is no export there.
    #[error("{folder} holds no export: there is no manifest.json in it; 'weir export {folder}' writes one")]
    NoExport {
        /// The folder.
        folder: String,
    },
    /// A file of the export is not what was exported.
    #[error("the export is damaged: {file} {problem}; take another copy of it, or export again")]
    Export {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of a version is missing in the export, or has other bytes.
    #[error(
        "the export is damaged: {file} {problem}. Put a good copy in its place, or remove it and export again into \
         the same folder, then import again, which goes on; with --skip-damaged the import goes on without such files"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The export holds something of which this version does not know.
    #[error(
        "the export was written by weir {by} and holds {what}, which this version does not know: import it with weir {by} or later"
    )]
    Newer {
        /// The version that wrote it.
        by: String,
        /// What is not known.
        what: String,
    },
    /// The installation is in use.
    #[error("the database is not empty: an import needs a new one, which no server has used yet")]
    NotEmpty,
    /// Rows of another export are there.
    #[error(
        "the database holds the beginning of another import, of export {export} begun at {begun}: finish that one, or \
         begin with an empty database"
    )]
    OtherImport {
        /// That export.
        export: String,
        /// When its import was begun.
        begun: String,
    },
    /// Somebody else imports into the same database.
    #[error("the database was changed meanwhile: is another 'weir import' running? Let one of them finish")]
    Overtaken,
    /// The rows that arrived are not those that were sent.
    #[error(
        "table {table} holds {found} rows after the import, not {expected}: begin with an empty database"
    )]
    Count {
        /// The table.
        table: &'static str,
        /// How many are there.
        found: u64,
        /// How many should be there.
        expected: u64,
    },
}

fn hint(error: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            "; make room there, or choose another folder, and run the command again: it goes on where it stopped"
        }
        PermissionDenied | ReadOnlyFilesystem => "; let this user write there, or choose another folder",
        _ => "",
    }
}

fn database_hint(error: &DbError) -> &'static str {
    match error {
        DbError::Unavailable { .. } => "; when it does run the command again: it goes on where it stopped",
        DbError::Unique { .. }
        | DbError::Inconsistent { .. }
        | DbError::TooOld { .. }
        | DbError::Cursor
        | DbError::Driver { .. } => "",
    }
}

fn blob_hint(error: &BlobError) -> &'static str {
    match error {
        BlobError::Io(error) => hint(error),
        BlobError::Objects(_) => "; when it answers again run the command again: it goes on where it stopped",
        BlobError::Corrupt { .. } | BlobError::Damaged { .. } | BlobError::Newer { .. } => "",
    }
}
