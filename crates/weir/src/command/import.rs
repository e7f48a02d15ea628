//! `weir import FOLDER`: brings an export into an empty database and blob store of any kind.

use super::copying::{Shown, amount, lost_lines};
use super::export::KEY_FILE;
use super::output::{Out, print};
use super::store_config;
use crate::app::{self, master_key};
use crate::cli::Import;
use crate::config::{Config, Variables};
use anyhow::{Result, bail};
use serde_json::json;
use std::process::ExitCode;
use weir_core::{Clock as _, SystemClock};
use weir_store::copy::{Imported, Manifest, ReadFolder, check_target, import};
use weir_store::{Engine, Store};

/// What is known of the master key after an import.
enum Key {
    /// Nothing was ever sealed.
    None,
    /// The server will find it where it looks.
    Found,
    /// It came with the export and lies in the data folder now.
    Brought,
    /// The server will want it.
    Wanted { fingerprint: String, in_export: bool },
}

/// Imports and prints a summary; exit code 1 when damaged files were passed over.
pub(super) async fn run(arguments: Import, variables: &Variables) -> Result<ExitCode> {
    let config = store_config(&arguments.settings, variables)?;
    let folder = ReadFolder::open(&arguments.folder, SystemClock.now())?;
    let lock = app::lock(&config, "weir import")?;
    let store = Store::open_unfinished(&config.places, lock, SystemClock.now()).await?;
    let shown = Shown::new();
    let done = async {
        check_target(&store, &folder).await?;
        let key = key(&config, &arguments, folder.manifest(), store.engine())?;
        let skip = arguments.skip_damaged;
        let done = import(&store, &folder, SystemClock.now(), skip, &|step| shown.step(step)).await?;
        anyhow::Ok((done, key))
    };
    let done = done.await;
    shown.end();
    store.close().await;
    let (done, key) = done?;
    print(&said(&arguments, &config, folder.manifest(), &done, &key));
    Ok(if done.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Finds the key that sealed the export's secrets, or puts it into the data folder; refuses another one before
/// anything is written. None is made.
fn key(config: &Config, arguments: &Import, manifest: &Manifest, engine: Engine) -> Result<Key> {
    let Some(fingerprint) = &manifest.master_key_fingerprint else { return Ok(Key::None) };
    if let Some(key) = master_key::find(config)? {
        if key.fingerprint() != fingerprint {
            bail!(
                "the master key of {} is {}, and the export's secrets are sealed with {fingerprint}: name the right one \
                 with --master-key-file or WEIR_MASTER_KEY, or take this one away",
                master_key::place(config),
                key.fingerprint()
            );
        }
        return Ok(Key::Found);
    }
    let path = arguments.folder.join(KEY_FILE);
    let wanted = |in_export| Key::Wanted { fingerprint: fingerprint.clone(), in_export };
    let Some(key) = master_key::read(&path)? else { return Ok(wanted(false)) };
    if key.fingerprint() != fingerprint {
        bail!(
            "{} is the master key {}, and the export's secrets are sealed with {fingerprint}: put the right one there, \
             or remove it",
            path.display(),
            key.fingerprint()
        );
    }
    // Nodes that share a database are given their key.
    if engine == Engine::Postgres {
        return Ok(wanted(true));
    }
    key.write(&config.data.join(KEY_FILE))?;
    Ok(Key::Brought)
}

fn said(arguments: &Import, config: &Config, manifest: &Manifest, done: &Imported, key: &Key) -> Out {
    let database = &config.places.database;
    Out::new(
        arguments.json,
        || {
            json!({
                "database": database.to_string(),
                "blobs": config.places.blobs.to_string(),
                "export": manifest.export,
                "resumed": done.resumed,
                "rows": done.rows,
                "copied": done.copied,
                "present": done.present,
                "damaged": done.damaged,
                "lost": manifest.lost,
                "masterKey": manifest.master_key_fingerprint,
                "masterKeyFound": matches!(key, Key::None | Key::Found | Key::Brought),
            })
        },
        || {
            let verb = if done.resumed { "finished the import" } else { "imported" };
            let mut text = format!(
                "{verb} into {database}: {} rows, {}; {} were there already\n",
                done.rows,
                amount(done.copied),
                amount(done.present),
            );
            text.push_str(&key_line(arguments, config, key));
            for (lost, what) in [
                (&manifest.lost, "were missing or damaged when the export was made"),
                (&done.damaged, "are missing or damaged in the export and were passed over"),
            ] {
                if !lost.is_empty() {
                    text.push_str(&format!("{} files {what}:\n{}", lost.len(), lost_lines(lost)));
                }
            }
            text
        },
    )
}

fn key_line(arguments: &Import, config: &Config, key: &Key) -> String {
    match key {
        Key::None | Key::Found => String::new(),
        Key::Brought => format!("the master key is in {}\n", config.data.join(KEY_FILE).display()),
        Key::Wanted { fingerprint, in_export } => {
            let place = match in_export {
                true => format!(" (it is in {})", arguments.folder.join(KEY_FILE).display()),
                false => String::new(),
            };
            format!(
                "the server will want the master key {fingerprint}{place}: name its file with --master-key-file, or set \
                 WEIR_MASTER_KEY\n"
            )
        }
    }
}
