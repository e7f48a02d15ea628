//! What Weir remembers: rows in SQLite or PostgreSQL, and the bytes of files in a folder or an object
//! store. No rule of the registry lives here; callers compose these small methods into transactions.

pub mod blob;
mod cached;
pub mod copy;
pub mod db;
pub mod error;
pub mod id;
pub mod lock;
mod migrate;
pub mod rows;
mod session;
pub mod spool;
mod store;
#[cfg(test)]
mod suite;

pub use blob::{Blob, BlobError, BlobKey, BlobKind, BlobUrl, Blobs, Durability, Facts, Listed};
pub use db::{DatabaseUrl, Engine, Listener, Session};
pub use error::DbError;
pub use id::new_id;
pub use lock::{LockError, StoreLock};
pub use rows::{Id, PackageFilter, RepositoryFilter, VersionFilter};
pub use spool::{Spool, SpoolWriter, Spooled};
pub use store::{OpenError, Places, Store};
