//! The master key: found or made, and compared with the one this database was begun with.

use crate::app::write_private_file;
use crate::config::{Config, MasterKeyText};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use weir_core::{Secrets as _, SystemSecrets};
use weir_registry::sealed::MasterKey;
use weir_store::{DbError, Engine, Store};

/// Where the fingerprint stands in the table of settings.
const FINGERPRINT: &str = weir_store::copy::MASTER_KEY_FINGERPRINT;

/// The key; refuses when it is missing or another than the one that sealed what is stored.
pub(crate) async fn open(config: &Config, store: &Store) -> Result<MasterKey> {
    let stored = store.read().await?.get_setting(FINGERPRINT).await?;
    let place = place(config);
    let key = match (find(config)?, &stored) {
        (Some(found), _) => found.key,
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

/// The key that sealed what is stored, where it is found; none is made.
pub(crate) async fn existing(config: &Config, store: &Store) -> Result<FoundKey> {
    let stored = store.read().await?.get_setting(FINGERPRINT).await?;
    let place = place(config);
    let Some(found) = find(config)? else {
        bail!(
            "the master key is missing: {place} does not exist. Put it back, or name it with --master-key-file or \
             WEIR_MASTER_KEY"
        );
    };
    if let Some(stored) = stored.filter(|stored| stored != found.fingerprint()) {
        bail!(
            "the master key of {place} is the wrong one: it is {}, and this database was begun with {stored}",
            found.fingerprint()
        );
    }
    Ok(found)
}

/// Where the key comes from, for messages.
pub(crate) fn place(config: &Config) -> String {
    match (&config.master_key, &config.master_key_file) {
        (Some(_), _) => "WEIR_MASTER_KEY".to_owned(),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => default_path(config).display().to_string(),
    }
}

fn default_path(config: &Config) -> PathBuf {
    config.data.join("master.key")
}

/// A key with its text, for those who put it elsewhere.
pub(crate) struct FoundKey {
    key: MasterKey,
    text: MasterKeyText,
}

impl FoundKey {
    fn parse(text: &str, place: &str) -> Result<Self> {
        let text = text.trim();
        let mut bytes = [0; 32];
        if hex::decode_to_slice(text, &mut bytes).is_err() {
            bail!("the master key of {place} is not 64 hex digits");
        }
        Ok(Self { key: MasterKey::from_bytes(bytes), text: MasterKeyText(text.to_owned()) })
    }

    /// What names it without telling it.
    pub(crate) fn fingerprint(&self) -> &str {
        self.key.fingerprint()
    }

    /// Writes it to a file that only its owner may read.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_private_file(path, format!("{}\n", self.text.0).as_bytes())
    }
}

/// The key that is configured, or the one in the data folder if there is one.
pub(crate) fn find(config: &Config) -> Result<Option<FoundKey>> {
    let place = place(config);
    match (&config.master_key, &config.master_key_file) {
        (Some(_), Some(_)) => bail!("master-key-file and WEIR_MASTER_KEY are both set: set one of them"),
        (Some(text), None) => FoundKey::parse(&text.0, &place).map(Some),
        (None, Some(path)) => FoundKey::parse(&fs_err::read_to_string(path)?, &place).map(Some),
        (None, None) => read(&default_path(config)),
    }
}

/// The key of a file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<FoundKey>> {
    match fs_err::read_to_string(path) {
        Ok(text) => FoundKey::parse(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
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
