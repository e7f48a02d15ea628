//! The store lock: one process at a time opens a data folder; a second is told who is first.

use fs_err::{File, OpenOptions};
use std::fs::TryLockError;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use weir_core::Timestamp;

/// The lock on a data folder, held until dropped. The operating system lets go of it when the process
/// ends in whatever way, so no lock is ever left behind.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by {holder}; stop that first, or use another data folder", directory.display())]
    Held {
        /// The data folder.
        directory: PathBuf,
        /// `pid N, weir serve, since TIME`.
        holder: String,
    },
    /// The folder or its lock file cannot be used.
    #[error("cannot lock the data folder: {0}")]
    Io(#[from] std::io::Error),
}

impl StoreLock {
    /// Locks `directory`, which is made if it is missing. `command` names the holder to others.
    pub fn acquire(directory: &Path, command: &str, now: Timestamp) -> Result<Self, LockError> {
        fs_err::create_dir_all(directory)?;
        let path = directory.join("lock");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The text is a help only: the lock itself says that the folder is in use.
                let read = (&mut file).take(1000).read_to_string(&mut holder);
                if read.is_err() || holder.is_empty() {
                    holder = "another process".to_owned();
                }
                return Err(LockError::Held {
                    directory: directory.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "pid {}, {command}, since {now:.0}", std::process::id())?;
        Ok(Self { _file: file })
    }
}
