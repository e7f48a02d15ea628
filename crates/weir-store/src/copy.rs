//! Copies of a whole installation: `export` writes all rows of one moment and all bytes they name into a folder,
//! `import` brings them into an empty installation of any kind. Both go on where they were cut.
//!
//! A folder holds `manifest.json`, the rows in `rows-EXPORT/TABLE.jsonl`, and `blobs/`, laid out as the blob folder
//! of an installation. What is read of it is verified before it is used.

mod carry;
mod error;
mod export;
mod folder;
mod import;
pub(crate) mod line;
mod manifest;
mod mark;
mod row_file;
pub(crate) mod table;

pub use error::CopyError;
pub use export::{Exported, export};
pub use folder::{ExportFolder, ReadFolder};
pub use import::{Imported, check_target, import};
pub use manifest::{Counted, Lost, Manifest, TableFile};
pub(crate) use mark::Mark;

/// The layout of exports that this version writes and reads.
const FORMAT: u32 = 1;

/// The setting that says which master key sealed what is stored.
pub const MASTER_KEY_FINGERPRINT: &str = "master-key-fingerprint";

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The hashes of the rows are compared with the manifest.
    Verifying,
    /// Rows of a table.
    Rows {
        /// The table.
        table: &'static str,
        /// How many of them are copied.
        done: u64,
        /// How many there are; none where that is not known before the end.
        total: Option<u64>,
    },
    /// Files and index documents.
    Blobs {
        /// How many of them were looked at.
        done: u64,
        /// How many there are.
        total: u64,
        /// Bytes of those that were looked at.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
}

/// Is told of each step. Cheap, since it is called for every file.
pub type Progress<'a> = &'a (dyn Fn(Step) + Sync);
