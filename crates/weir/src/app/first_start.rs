//! First start on an empty data folder: account, administrator, key, the domain `local` and the repository
//! `main` over one store for each public registry of the built-in formats. A later version adds the store
//! of a new format once, if nobody edited `main`. Every step may be repeated after a cut.

use crate::config::Config;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_core::policy::PolicyDocument;
use weir_core::{
    AccountId, Arn, Caller, ConnectionName, DomainName, Error, Principal, PrincipalKind, RepositoryName,
};
use weir_registry::format::KnownConnection;
use weir_registry::repository::RepositoryChange;
use weir_registry::{DomainRef, Registry, RepositoryRef};
use weir_store::{DbError, Store};

/// Where this stands in the table of settings.
const SETTING: &str = "first-start";
const DOMAIN: &str = "local";
const MAIN: &str = "main";

/// What first start has made so far.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    account: String,
    /// Connections whose store was made; each is made once and never again.
    connections: Vec<String>,
    /// The upstreams `main` was given; others mean that somebody edited it.
    upstreams: Vec<String>,
}

/// Makes what is missing; says on standard error what to type next after a first start.
pub(crate) async fn prepare(config: &Config, registry: &Registry, address: &str) -> Result<()> {
    let stored = registry.store().read().await?.get_setting(SETTING).await?;
    match stored {
        None => begin(config, registry, address).await,
        Some(text) => add_new_stores(registry, serde_json::from_str(&text)?).await,
    }
}

async fn begin(config: &Config, registry: &Registry, address: &str) -> Result<()> {
    let key = registry.bootstrap_administrator(&config.account).await?;
    let credentials = config.data.join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\nregion = {}\n",
        key.access_key_id, key.secret_access_key, config.registry.region
    );
    super::write_private_file(&credentials, text.as_bytes())?;

    let setup = Setup::new(registry, &config.account)?;
    made_or_there(registry.create_domain(&setup.caller, &setup.domain.name, None, Vec::new()).await)?;
    let main = setup.repository(MAIN)?;
    let change = RepositoryChange {
        description: Some("everything: what was published here and public packages".into()),
        upstreams: None,
    };
    made_or_there(registry.create_repository(&setup.caller, &main, change, Vec::new()).await)?;
    let mut made =
        Made { account: config.account.as_str().to_owned(), connections: Vec::new(), upstreams: Vec::new() };
    setup.add_stores(&mut made).await?;
    save(registry.store(), &made).await?;
    // Absolute, since whoever types the lines below may do so in another folder.
    let credentials = std::path::absolute(&credentials).unwrap_or(credentials);
    eprint!("{}", next_steps(address, &credentials.display().to_string()));
    Ok(())
}

async fn add_new_stores(registry: &Registry, mut made: Made) -> Result<()> {
    let is_new = |connection: &&KnownConnection| !made.connections.iter().any(|name| name == connection.name);
    if !known_connections().any(|connection| is_new(&connection)) {
        return Ok(());
    }
    let setup = Setup::new(registry, &AccountId::parse("account", &made.account)?)?;
    let main = registry.describe_repository(&setup.caller, &setup.repository(MAIN)?).await;
    let untouched = match main {
        Ok(main) => {
            main.connection.is_none()
                && main
                    .upstreams
                    .iter()
                    .map(RepositoryName::as_str)
                    .eq(made.upstreams.iter().map(String::as_str))
        }
        Err(Error::NotFound { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if untouched {
        setup.add_stores(&mut made).await?;
    } else {
        // Edited: the offer was made once and is not repeated.
        made.connections.extend(known_connections().map(|connection| connection.name.to_owned()));
        made.connections.sort();
        made.connections.dedup();
    }
    Ok(save(registry.store(), &made).await?)
}

/// The first connection of each format: the others are rarely wanted by everyone.
fn known_connections() -> impl Iterator<Item = &'static KnownConnection> {
    crate::formats::FORMATS.iter().filter_map(|format| format.connections().first())
}

async fn save(store: &Store, made: &Made) -> Result<(), DbError> {
    let text = serde_json::to_string(made).expect("texts can be written as JSON");
    store.write(move |session| Box::pin(async move { session.put_setting(SETTING, &text).await })).await
}

/// What was made before a cut is there already.
fn made_or_there<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) | Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Acts as the installation itself, which has no key.
struct Setup<'a> {
    registry: &'a Registry,
    caller: Caller,
    domain: DomainRef,
}

impl<'a> Setup<'a> {
    fn new(registry: &'a Registry, account: &AccountId) -> Result<Self> {
        let everything =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        let principal = Principal {
            id: "WEIRFIRSTSTART".to_owned(),
            account: account.clone(),
            kind: PrincipalKind::User,
            name: "first-start".to_owned(),
            arn: Arn::principal(account, PrincipalKind::User, "first-start"),
            policy: Arc::new(PolicyDocument::parse(everything)?),
            scope: None,
        };
        let domain = DomainRef { name: DomainName::parse("domain", DOMAIN)?, owner: Some(account.clone()) };
        Ok(Self { registry, caller: Caller::Principal(Arc::new(principal)), domain })
    }

    fn repository(&self, name: &str) -> Result<RepositoryRef> {
        Ok(RepositoryRef {
            domain: self.domain.clone(),
            repository: RepositoryName::parse("repository", name)?,
        })
    }

    /// Makes the stores that were never made and appends them to the upstreams of `main`.
    async fn add_stores(&self, made: &mut Made) -> Result<()> {
        for connection in known_connections() {
            if made.connections.iter().any(|name| name == connection.name) {
                continue;
            }
            let store = self.repository(connection.store_repository)?;
            let change = RepositoryChange {
                description: Some(format!("packages of {}", connection.name)),
                upstreams: None,
            };
            made_or_there(self.registry.create_repository(&self.caller, &store, change, Vec::new()).await)?;
            let name = ConnectionName::parse("external-connection", connection.name)?;
            made_or_there(self.registry.associate_connection(&self.caller, &store, &name).await)?;
            made.connections.push(connection.name.to_owned());
            made.upstreams.push(connection.store_repository.to_owned());
        }
        let upstreams = made
            .upstreams
            .iter()
            .map(|name| RepositoryName::parse("upstream", name))
            .collect::<Result<_, _>>()?;
        let change = RepositoryChange { description: None, upstreams: Some(upstreams) };
        self.registry.update_repository(&self.caller, &self.repository(MAIN)?, change).await?;
        Ok(())
    }
}

/// What a person types next.
fn next_steps(address: &str, credentials: &str) -> String {
    let here = "--domain local --repository main";
    format!(
        "\nWeir is set up in a new data folder: domain 'local', repository 'main', administrator key in {credentials}\n\n\
         With the AWS CLI:\n  \
         export AWS_ENDPOINT_URL_CODEARTIFACT={address} AWS_SHARED_CREDENTIALS_FILE={credentials}\n  \
         aws codeartifact login --tool npm {here}\n\n\
         Without it:\n  weir login npm --endpoint {address} {here}\n\n\
         The same with pip instead of npm, and 'weir login' also with uv, poetry and twine.\n\
         Then: npm install, npm publish, pip install, twine upload. 'weir --help' shows what else there is.\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn upstreams(setup: &Setup<'_>) -> Vec<String> {
        let main = setup.repository(MAIN).unwrap();
        let main = setup.registry.describe_repository(&setup.caller, &main).await.unwrap();
        main.upstreams.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn first_start_makes_main_over_the_stores_and_a_new_store_is_added_once_if_main_was_not_edited() {
        let folder = tempfile::tempdir().unwrap();
        let (http, config) = crate::app::started(folder.path(), &[]).await;
        let registry = &http.registry;
        let setup = Setup::new(registry, &config.account).unwrap();
        assert_eq!(upstreams(&setup).await, ["npm-store", "pypi-store"]);
        let credentials = fs_err::read_to_string(folder.path().join("credentials")).unwrap();
        assert!(credentials.starts_with("[default]\naws_access_key_id = AKIA"));

        prepare(&config, registry, "").await.unwrap();
        assert_eq!(fs_err::read_to_string(folder.path().join("credentials")).unwrap(), credentials);

        // As if npm had come with a later version, once with an edited `main` and once with an untouched one.
        let nothing =
            || Made { account: config.account.as_str().to_owned(), connections: vec![], upstreams: vec![] };
        save(registry.store(), &nothing()).await.unwrap();
        prepare(&config, registry, "").await.unwrap();
        assert_eq!(upstreams(&setup).await, ["npm-store", "pypi-store"], "an edited main is left alone");
        let none = RepositoryChange { description: None, upstreams: Some(Vec::new()) };
        registry.update_repository(&setup.caller, &setup.repository(MAIN).unwrap(), none).await.unwrap();
        prepare(&config, registry, "").await.unwrap();
        assert_eq!(upstreams(&setup).await, [""; 0], "the offer is not repeated");
        save(registry.store(), &nothing()).await.unwrap();
        prepare(&config, registry, "").await.unwrap();
        assert_eq!(upstreams(&setup).await, ["npm-store", "pypi-store"]);
    }

    #[test]
    fn what_to_type_next_names_both_ways() {
        let text = next_steps("http://127.0.0.1:8090", "weir-data/credentials");
        for line in [
            "AWS_ENDPOINT_URL_CODEARTIFACT=http://127.0.0.1:8090 AWS_SHARED_CREDENTIALS_FILE=weir-data/credentials",
            "aws codeartifact login --tool npm --domain local --repository main",
            "weir login npm --endpoint http://127.0.0.1:8090 --domain local --repository main",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
