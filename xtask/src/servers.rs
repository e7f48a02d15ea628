//! The database and the object store that all tests of one run share, started around `cargo test`. The
//! test kit starts its own in the same way where this does not, as in a plain `cargo test`.

#[path = "../../crates/weir-testkit/src/backend/process.rs"]
mod process;

use crate::tools::Installed;
use anyhow::{Context as _, Result, ensure};
use process::{Cluster, ObjectServer};
use std::path::Path;
use std::process::Command;

/// The running servers; dropping them stops them.
pub(crate) struct Servers {
    postgres: Option<Cluster>,
    objects: Option<ObjectServer>,
}

impl Servers {
    /// Starts those whose programs are here. One that fails is told, and its tests then do without it.
    pub(crate) fn start(tools: &Installed) -> Self {
        let postgres = tools.path("postgresql").map(start_postgres).transpose();
        let objects = tools.path("versitygw").map(start_objects).transpose();
        Self {
            postgres: postgres.inspect_err(|error| told("postgresql", error)).ok().flatten(),
            objects: objects.inspect_err(|error| told("versitygw", error)).ok().flatten(),
        }
    }

    /// The variables by which tests find them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if let Some(postgres) = &self.postgres {
            variables.push(("WEIR_TEST_POSTGRES", postgres.url("weir")));
        }
        if let Some(objects) = &self.objects {
            variables.push(("WEIR_TEST_S3", objects.url()));
            variables.push(("WEIR_TEST_S3_FOLDER", objects.buckets().display().to_string()));
        }
        variables
    }
}

fn told(name: &str, error: &anyhow::Error) {
    eprintln!("server {name}: NOT STARTED, tests that need it start one themselves: {error:#}");
}

fn start_postgres(programs: &Path) -> Result<Cluster> {
    let mut cluster = Cluster::make(programs)?;
    cluster.start(&["max_connections=300".to_owned()])?;
    let mut psql = Command::new(programs.join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--command", "create database weir", &cluster.url("postgres")]);
    let status = psql.status().context("psql could not be started")?;
    ensure!(status.success(), "the database could not be made");
    Ok(cluster)
}

fn start_objects(program: &Path) -> Result<ObjectServer> {
    let mut server = ObjectServer::make(program)?;
    server.start()?;
    Ok(server)
}
