//! The external connections of this server: their addresses, where those came from, and their health.

use crate::Registry;
use crate::audit::{known, no_resource};
use crate::change::Outdated;
use crate::format::Format;
use crate::settings::ConnectionSettings;
use crate::upstream::{hide_user_info, parse_address};
use std::collections::{BTreeMap, BTreeSet};
use weir_core::error::Resource;
use weir_core::{Action, Caller, ConnectionName, Error, Result, Timestamp};
use weir_store::rows::{AuditRow, ConnectionRow};

/// A connection as `weir connections` shows it.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its name.
    pub name: ConnectionName,
    /// The format it speaks.
    pub format: String,
    /// Its address without user info; `None` where none is known.
    pub url: Option<String>,
    /// Who told the address: `setting`, `npm config get registry`, `weir connections set`.
    pub source: Option<String>,
    /// When the address was found, if it is stored.
    pub found_at: Option<Timestamp>,
    /// `up`, `down`, `probing` or `unknown`.
    pub health: &'static str,
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// What its last failure was.
    pub last_failure: Option<String>,
    /// How many repositories are connected to it.
    pub repositories: u64,
    /// What to do, where no address is known.
    pub advice: Option<String>,
}

impl Registry {
    /// The format a connection speaks: that of a public one, or as it was declared. `None` when there is no
    /// connection of that name.
    pub fn connection_format(&self, name: &ConnectionName) -> Option<&'static dyn Format> {
        let formats = &self.inner.formats;
        let known = formats.iter().find(|f| f.connections().iter().any(|k| k.name == name.as_str()));
        if let Some(format) = known {
            return Some(*format);
        }
        let declared = self.inner.settings.connections.get(name.as_str())?.format.as_deref()?;
        self.format(declared)
    }

    /// The names of all connections that a repository can be associated with.
    pub fn connection_names(&self) -> Vec<String> {
        let public = self.inner.formats.iter().flat_map(|f| f.connections()).map(|k| k.name.to_owned());
        let declared = self.inner.settings.connections.keys().cloned();
        public.chain(declared).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// All connections: those of the built-in formats, declared and stored ones.
    pub async fn list_connections(&self, caller: &Caller) -> Result<Vec<ConnectionInfo>> {
        self.authorize_connections(caller)?;
        let mut session = self.inner.store.read().await?;
        let rows: BTreeMap<_, _> =
            session.list_connections().await?.into_iter().map(|row| (row.name.to_string(), row)).collect();
        drop(session);
        let used = self.uses_of_connections().await?;
        let mut infos = Vec::new();
        for text in self.connection_names() {
            let name = ConnectionName::parse("external-connection", &text)?;
            let count = used.get(&text).copied().unwrap_or(0);
            infos.push(self.connection_info(&name, rows.get(&text), count));
        }
        Ok(infos)
    }

    /// How many repositories are connected to each.
    async fn uses_of_connections(&self) -> Result<BTreeMap<String, u64>> {
        let mut session = self.inner.store.read().await?;
        let mut used: BTreeMap<String, u64> = BTreeMap::new();
        for domain in session.list_domains(None).await? {
            for repository in session.repositories(&domain.id).await? {
                if let Some(connection) = repository.connection {
                    *used.entry(connection.to_string()).or_default() += 1;
                }
            }
        }
        Ok(used)
    }

    /// What is shown of a connection whose address was just stored.
    async fn stored_info(&self, name: &ConnectionName, row: &ConnectionRow) -> Result<ConnectionInfo> {
        let used = self.uses_of_connections().await?.get(name.as_str()).copied().unwrap_or(0);
        Ok(self.connection_info(name, Some(row), used))
    }

    fn connection_info(
        &self,
        name: &ConnectionName,
        row: Option<&ConnectionRow>,
        repositories: u64,
    ) -> ConnectionInfo {
        let configured = self.inner.settings.connections.get(name.as_str()).and_then(|s| s.url.clone());
        let (url, source) = match (configured, row) {
            (Some(url), _) => (Some(without_user_info(name, &url)), Some("setting".to_owned())),
            (None, Some(row)) => (Some(row.url.clone()), Some(row.source.clone())),
            (None, None) => (None, None),
        };
        let health = self.inner.upstream.breaker(name).health(self.now());
        ConnectionInfo {
            name: name.clone(),
            format: self.connection_format(name).map(|f| f.name().to_string()).unwrap_or_default(),
            found_at: row.map(|row| row.found_at),
            advice: url.is_none().then(|| self.advice(name)),
            url,
            source,
            health: health.state,
            answered_at: health.answered_at,
            last_failure: health.last_failure,
            repositories,
        }
    }

    /// Stores address and settings of a connection.
    pub async fn set_connection(
        &self,
        caller: &Caller,
        name: &ConnectionName,
        mut settings: ConnectionSettings,
    ) -> Result<ConnectionInfo> {
        self.authorize_connections(caller)?;
        self.check_connection_name(name)?;
        self.refuse_where_configured(name)?;
        let url = settings.url.take().ok_or_else(|| Error::invalid("url", "is required"))?;
        let mut url = parse_address(name, &url).map_err(|why| Error::invalid("url", why))?;
        self.refuse_own_address(name, &url).map_err(|e| Error::invalid("url", e.to_string()))?;
        hide_user_info(&mut url, &mut settings);
        let audit = self.connection_audit(caller, name, "set");
        let source = "weir connections set";
        let row = self.store_connection(name, url.as_str(), source, settings, audit).await?;
        self.stored_info(name, &row).await
    }

    /// Forgets a stored or discovered address.
    pub async fn delete_connection(&self, caller: &Caller, name: &ConnectionName) -> Result<()> {
        self.authorize_connections(caller)?;
        self.check_connection_name(name)?;
        let audit = self.connection_audit(caller, name, "deleted");
        let gone = name.clone();
        self.change(Outdated::Connection(name.clone()), move |session| {
            Box::pin(async move {
                session.delete_connection(&gone).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await
    }

    /// Asks the package manager of this machine again and stores what it says.
    pub async fn rediscover_connection(
        &self,
        caller: &Caller,
        name: &ConnectionName,
    ) -> Result<ConnectionInfo> {
        self.authorize_connections(caller)?;
        self.check_connection_name(name)?;
        self.refuse_where_configured(name)?;
        let audit = self.connection_audit(caller, name, "rediscovered");
        let known = self.inner.store.read().await?.connection(name).await?;
        let row = self.discover_address(name, known, Some(audit)).await?;
        self.stored_info(name, &row).await
    }

    /// What would be stored beside a setting would wait unseen for the day when that goes.
    fn refuse_where_configured(&self, name: &ConnectionName) -> Result<()> {
        if self.inner.settings.connections.get(name.as_str()).is_none_or(|settings| settings.url.is_none()) {
            return Ok(());
        }
        Err(Error::conflict(
            Resource::Repository,
            name.as_str(),
            format!(
                "the address of {name} is a setting (flag, variable or file) of this server and wins; change it there"
            ),
        ))
    }

    /// Forgets first-seen digests of a package on a connection; audited. Returns how many.
    pub async fn unpin(
        &self,
        caller: &Caller,
        name: &ConnectionName,
        domain: &crate::DomainRef,
        package: &str,
    ) -> Result<u64> {
        self.authorize_connections(caller)?;
        let format = self.check_connection_name(name)?;
        let domain = self.find_domain(caller, domain).await?;
        let (namespace, plain) = match package.trim_start_matches('@').split_once('/') {
            Some((namespace, plain)) => (Some(namespace), plain),
            None => (None, package),
        };
        let package = format.parse_name(namespace, plain)?;
        let prefix = format!("{}/{}/{}/", package.format, package.namespace_or_empty(), package.name);
        let audit = self.connection_audit(caller, name, &format!("unpinned {package}"));
        let (id, connection) = (domain.row.id.clone(), name.clone());
        self.inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    let count = session.delete_pins(&id, &connection, &prefix).await?;
                    session.insert_audit(&audit).await?;
                    Ok::<_, Error>(count)
                })
            })
            .await
    }

    fn authorize_connections(&self, caller: &Caller) -> Result<()> {
        let owner = known(caller)?.account.clone();
        let refused = || Error::denied("weir:ManageConnections is needed");
        self.authorize(caller, Action::ManageConnections, &no_resource(), &owner, refused)
    }

    fn check_connection_name(&self, name: &ConnectionName) -> Result<&'static dyn Format> {
        self.connection_format(name).ok_or_else(|| {
            Error::not_found(
                Resource::Repository,
                name.as_str(),
                format!(
                    "there is no external connection '{name}'; there are: {}. Others are declared in weir.toml \
                     ([external-connections.\"NAME\"] with url and format)",
                    self.connection_names().join(", ")
                ),
            )
        })
    }

    fn connection_audit(&self, caller: &Caller, name: &ConnectionName, what: &str) -> AuditRow {
        self.audit(caller, Action::ManageConnections, name, &serde_json::json!({ "change": what }))
    }
}

fn without_user_info(name: &ConnectionName, url: &str) -> String {
    match parse_address(name, url) {
        Ok(mut url) => {
            hide_user_info(&mut url, &mut ConnectionSettings::default());
            url.to_string()
        }
        Err(_) => "(not a URL)".to_owned(),
    }
}
