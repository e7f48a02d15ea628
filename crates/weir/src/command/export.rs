//! `weir export FOLDER`: everything of an installation in a folder, which is also its backup.

use super::copying::{Shown, amount, lost_lines};
use super::output::{Out, print};
use super::store_config;
use crate::app::{self, master_key};
use crate::cli::Export;
use crate::config::{Config, Variables};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::process::ExitCode;
use weir_core::{Clock as _, SystemClock, SystemSecrets};
use weir_store::copy::{ExportFolder, Exported, export};
use weir_store::{DatabaseUrl, Places, Store, new_id};

/// What a folder with an own place for this command's work is called, below that of the export.
const WORK: &str = "work";
/// The master key's file, in an export with keys as in a data folder.
pub(super) const KEY_FILE: &str = "master.key";

/// Exports and prints a summary; exit code 1 when files were missing or damaged.
pub(super) async fn run(arguments: Export, variables: &Variables) -> Result<ExitCode> {
    let config = store_config(&arguments.settings, variables)?;
    app::must_have_data(&config)?;
    let database = &config.places.database;
    // An export changes nothing, so it does not bring tables up to date either.
    let pending = Store::pending_migrations(database).await;
    if !pending.with_context(|| format!("cannot look at the database {database}"))?.is_empty() {
        bail!(
            "the database {database} is not up to date with this version: export with the version of Weir that runs on \
             it, or run 'weir migrate' first"
        );
    }
    app::make_private_folder(&arguments.folder)?;
    let folder = ExportFolder::open(&arguments.folder, SystemClock.now())?;
    let places = places(&config, &arguments);
    let lock = app::lock_at(&places.directory, "weir export")?;
    let store = Store::open(&places, lock, SystemClock.now()).await?;
    let key = if arguments.with_keys { Some(master_key::existing(&config, &store).await?) } else { None };

    let shown = Shown::new();
    let id = new_id(&SystemClock, &SystemSecrets);
    let done = export(&store, &folder, &id, SystemClock.now(), &|step| shown.step(step)).await;
    shown.end();
    store.close().await;
    drop(store);
    if places.directory != config.places.directory {
        fs_err::remove_dir_all(&places.directory)?;
    }
    let done = done?;
    let key_file = arguments.folder.join(KEY_FILE);
    match &key {
        Some(key) => key.write(&key_file)?,
        None if key_file.exists() => {
            eprintln!("weir: {} is there from an earlier export with keys", key_file.display());
        }
        None => {}
    }
    print(&said(&arguments, &done, key.is_some()));
    Ok(if done.manifest.lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The store's places. What several nodes share is exported beside them: then the data folder, which a node of this
/// machine has locked, has no part in it.
fn places(config: &Config, arguments: &Export) -> Places {
    let shared =
        matches!(config.places.database, DatabaseUrl::Postgres(_)) && config.places.blobs.is_shared();
    let mut places = config.places.clone();
    if shared {
        places.directory = arguments.folder.join(WORK);
    }
    places
}

fn said(arguments: &Export, done: &Exported, with_key: bool) -> Out {
    let manifest = &done.manifest;
    let rows: u64 = manifest.tables.iter().map(|file| file.rows).sum();
    let folder = arguments.folder.display();
    Out::new(
        arguments.json,
        || {
            json!({
                "folder": folder.to_string(),
                "export": manifest.export,
                "rows": rows,
                "files": manifest.files,
                "documents": manifest.documents,
                "copied": done.copied,
                "lost": manifest.lost,
                "masterKey": manifest.master_key_fingerprint,
                "withKey": with_key,
            })
        },
        || {
            let mut text = format!(
                "exported to {folder}: {rows} rows, {}, {} index documents; {} are new\n",
                amount(manifest.files),
                manifest.documents.count,
                amount(done.copied),
            );
            if let Some(fingerprint) = manifest.master_key_fingerprint.as_ref().filter(|_| !with_key) {
                text.push_str(&format!(
                    "the master key {fingerprint} is not in it: keep that apart, nothing sealed opens without it\n"
                ));
            }
            if !manifest.lost.is_empty() {
                text.push_str(&format!(
                    "{} files are missing or damaged here and are not in the export:\n{}",
                    manifest.lost.len(),
                    lost_lines(&manifest.lost)
                ));
            }
            text
        },
    )
}
