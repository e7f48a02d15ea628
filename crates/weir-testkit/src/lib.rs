//! What Weir's tests are made with: a started server, real databases and object stores for it, a proxy
//! that makes them fail, a fake public registry that counts and can fail, package builders, package managers with a clean home, and requests that no client would send.
//!
//! Helpers here panic with the whole story (output, server log) instead of returning errors, because
//! only tests call them. Tools that are not on the machine make a test skip, visibly; see [`tool`].

pub mod backend;
pub mod client;
pub mod http;
pub mod output;
pub mod package;
pub mod project;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod server;
pub mod sign;
pub mod tool;
pub mod upstream;

pub use backend::{Bucket, ObjectStore, Postgres};
pub use client::{Client, PythonClient};
pub use http::Answer;
pub use output::Output;
pub use package::{Archive, NpmPackage, ZipArchive, ZipEntry};
pub use project::{FixtureProject, fixture_project};
pub use proxy::Proxy;
pub use python::{Distribution, PythonPackage, UploadForm};
pub use server::{AwsCli, Credentials, Python, Weir};
pub use tool::Tool;
pub use upstream::{Fault, PypiSettings, PypiSpeaks, Upstream};

/// Whether tests run the full numbers (`cargo xtask test --long`) instead of small ones.
pub fn long() -> bool {
    std::env::var_os("WEIR_TEST_LONG").is_some_and(|value| value == "1")
}
