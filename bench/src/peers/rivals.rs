//! Other registries that cache: Verdaccio for npm, proxpi for Python, each set up as its documentation
//! advises for many clients, with the fixture behind it.

use super::Place;
use super::process::Process;
use crate::fixture::free_port;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;
use weir_testkit::Tool;

/// Starts Verdaccio and gives its address.
pub(super) async fn verdaccio(place: &Place<'_>, folder: &Path) -> Result<(Process, String)> {
    let (node, program) = (Tool::Node22.find(), Tool::Verdaccio.find());
    let node = node.context("Verdaccio needs node 22, which is not here")?;
    let program = program.context("Verdaccio is not here")?;
    let port = free_port()?;
    let configuration = serde_json::json!({
        "storage": folder.join("storage"),
        "auth": { "htpasswd": { "file": folder.join("htpasswd") } },
        "uplinks": { "fixture": {
            "url": format!("{}/npm/", place.fixture_url()),
            "maxage": "30m", "timeout": "60s", "max_fails": 100,
            "agent_options": { "keepAlive": true, "maxSockets": 40, "maxFreeSockets": 10 },
        } },
        "packages": { "**": { "access": "$all", "proxy": "fixture" } },
        "server": { "keepAliveTimeout": 60 },
        "web": { "enable": false },
        "log": { "type": "stdout", "format": "json", "level": "error" },
    });
    // What is JSON is YAML too.
    let file = folder.join("config.yaml");
    fs_err::write(&file, configuration.to_string())?;
    let mut verdaccio = Command::new(node);
    // The program is a script of node's; the machine's own node may be too old for it.
    verdaccio.arg(fs_err::canonicalize(program)?).arg("--config").arg(&file);
    verdaccio.args(["--listen", &format!("127.0.0.1:{port}")]);
    Ok((Process::start(verdaccio, folder, port).await?, format!("http://127.0.0.1:{port}")))
}

/// Starts proxpi and gives its address.
pub(super) async fn proxpi(place: &Place<'_>, folder: &Path) -> Result<(Process, String)> {
    let program = Tool::Proxpi.find().context("proxpi is not here")?;
    let port = free_port()?;
    let mut gunicorn = Command::new(program);
    gunicorn.args(["--preload", "--bind", &format!("127.0.0.1:{port}"), "--workers", "2"]);
    gunicorn.args(["--worker-class", "gthread", "--threads", "8", "--keep-alive", "60"]);
    gunicorn.args(["--log-level", "warning", "proxpi.server:app"]);
    gunicorn.env("PROXPI_INDEX_URL", format!("{}/pypi/simple/", place.fixture_url()));
    gunicorn.env("PROXPI_CACHE_DIR", folder.join("cache"));
    gunicorn.env("PROXPI_LOGGING_LEVEL", "WARNING").env("PROXPI_DOWNLOAD_TIMEOUT", "30");
    Ok((Process::start(gunicorn, folder, port).await?, format!("http://127.0.0.1:{port}")))
}
