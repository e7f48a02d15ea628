//! Real databases and object stores for tests: PostgreSQL and an S3 server, shared by all tests of a run
//! or private to a test that stops and damages them.
//!
//! `cargo xtask test` starts the shared ones. Without it the first test of a process that needs one starts
//! it, for as long as the process lives.

mod objects;
mod postgres;
mod process;

pub use objects::{Bucket, ObjectStore};
pub use postgres::{Postgres, shared_postgres_url};

/// Runs what blocks (a server that starts, a program) off the async threads; a panic goes on in the caller.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The text of a variable that `cargo xtask test` sets.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
