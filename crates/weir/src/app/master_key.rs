//! The master key: found or made, and compared with the one this database was begun with.

use crate::app::write_private_file;
use crate::config::Config;
use anyhow::{Result, bail};
use std::path::PathBuf;
use weir_core::{Secrets as _, SystemSecrets};
use weir_registry::sealed::MasterKey;
use weir_store::{DbError, Engine, Store};

/// Where the fingerprint stands in the table of settings.
const FINGERPRINT: &str = "master-key-fingerprint";

/// The key; refuses when it is missing or another than the one that sealed what is stored.
pub(crate) async fn open(config: &Config, store: &Store) -> Result<MasterKey> {
    let stored = store.read().await?.get_setting(FINGERPRINT).await?;
    let place = place(config);
    let key = match (find(config)?, &stored) {
        (Some(key), _) => key,
        (None, None) if store.engine() == Engine::Postgres => bail!(
            "with PostgreSQL the master key must be given, the same to every node: make one with 'openssl rand -hex 32' \
             and name its file with --master-key-file, or set WEIR_MASTER_KEY"
        ),
        (None, None) => make(config)?,
        (None, Some(fingerprint)) => bail!(
            "the master key is missing: this database was begun with the key {fingerprint}, and {place} does \
             not exist. Put it back, or name it with --master-key-file or WEIR_MASTER_KEY"
        ),
    };
    let fingerprint = key.fingerprint().to_owned();
    let stored = match stored {
        Some(stored) => stored,
        // Of several nodes that start at once the first one's key holds.
        None => store
            .write(move |session| {
                Box::pin(async move { session.put_setting_once(FINGERPRINT, &fingerprint).await })
            })
            .await
            .map_err(|error: DbError| error)?,
    };
    if stored != key.fingerprint() {
        bail!(
            "the master key of {place} is the wrong one: it is {}, and this database was begun with {stored}. Put the \
             right one back, or name it with --master-key-file or WEIR_MASTER_KEY",
            key.fingerprint()
        );
    }
    Ok(key)
}

fn place(config: &Config) -> String {
    match (&config.master_key, &config.master_key_file) {
        (Some(_), _) => "WEIR_MASTER_KEY".to_owned(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => default_path(config).display().to_string(),
    }
}

fn default_path(config: &Config) -> PathBuf {
    config.data.join("master.key")
}

/// The key that is configured, or the one in the data folder if there is one.
fn find(config: &Config) -> Result<Option<MasterKey>> {
    let text = match (&config.master_key, &config.master_key_file) {
        (Some(_), Some(_)) => bail!("master-key-file and WEIR_MASTER_KEY are both set: set one of them"),
        (Some(text), None) => text.0.clone(),
        (None, Some(path)) => fs_err::read_to_string(path)?,
        (None, None) => match fs_err::read_to_string(default_path(config)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    let mut bytes = [0; 32];
    if hex::decode_to_slice(text.trim(), &mut bytes).is_err() {
        bail!("the master key of {} is not 64 hex digits", place(config));
    }
    Ok(Some(MasterKey::from_bytes(bytes)))
}

fn make(config: &Config) -> Result<MasterKey> {
    let mut bytes = [0; 32];
    SystemSecrets.fill(&mut bytes);
    write_private_file(&default_path(config), format!("{}\n", hex::encode(bytes)).as_bytes())?;
    Ok(MasterKey::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Values;
    use std::path::Path;
    use weir_core::SystemClock;

    fn config(data: &Path, master_key: Option<&str>) -> Config {
        let flags = [("data", vec![data.display().to_string()])].into_iter().collect();
        let key = master_key.map(|key| ("WEIR_MASTER_KEY".to_owned(), key.to_owned()));
        Config::build(&Values::read(&flags, &key.into_iter().collect(), None, &[]).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_missing_or_wrong_key_refuses_and_the_right_one_opens() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path(), &SystemClock).await.unwrap();
        let plain = config(folder.path(), None);
        let made = open(&plain, &store).await.unwrap();
        assert_eq!(open(&plain, &store).await.unwrap().fingerprint(), made.fingerprint());

        let path = default_path(&plain);
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        let refusal = open(&plain, &store).await.err().unwrap().to_string();
        assert!(refusal.contains("missing") && refusal.contains(made.fingerprint()), "{refusal}");
        assert!(!path.exists(), "no new key is made over a database that has one");

        let wrong =
            open(&config(folder.path(), Some(&"ab".repeat(32))), &store).await.err().unwrap().to_string();
        assert!(wrong.contains("wrong") && wrong.contains("WEIR_MASTER_KEY"), "{wrong}");
        let broken = open(&config(folder.path(), Some("hunter2")), &store).await.err().unwrap().to_string();
        assert!(broken.contains("64 hex digits") && !broken.contains("hunter2"), "{broken}");
        open(&config(folder.path(), Some(text.trim())), &store).await.unwrap();
    }
}
