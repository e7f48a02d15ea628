//! Public registries: where they are, how they are asked, and what is trusted of them.
//!
//! - `client`: one request, with limits and redirects; `address`: which addresses may be asked;
//! - `breaker`: when one stops asking;
//! - `documents`: index documents kept with ETag and age, stale ones served while a registry is down;
//!   `known`: their parsed forms in memory; `body`: how they are unpacked; `large`: how few large ones are in memory;
//!   `unwritten`: how they get to the disk;
//! - [`flight`]: one download, many readers;
//! - `fetch`: a file of a public version, fetched (`incoming`, `arrival`), verified, retained.

mod address;
mod arrival;
mod body;
pub(crate) mod breaker;
pub(crate) mod client;
pub(crate) mod documents;
pub(crate) mod fetch;
pub mod flight;
mod held;
mod incoming;
pub(crate) mod known;
pub(crate) mod large;
mod unwritten;

use crate::Registry;
use crate::aging::{later, still};
use crate::change::Outdated;
use crate::settings::ConnectionSettings;
use crate::topology::{DomainState, RepositoryState, lock_read, lock_write};
use crate::turn::Turns;
use breaker::Breaker;
use client::Clients;
use futures_util::future::BoxFuture;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use url::Url;
use weir_core::{ConnectionName, Digest, Error, FormatName, Result, Timestamp};
use weir_store::rows::{AuditRow, ConnectionRow, Id};

/// How long an address that could not be found is not looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Asks a package manager of this machine for the address it is set up with.
pub trait Discover: Send + Sync + 'static {
    /// Runs the command and gives the lines it prints, the first of which is an address; the error names what is
    /// missing.
    fn discover<'a>(&'a self, command: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<String>>>;
}

/// A [`Discover`] that finds nothing: for tests and for machines without package managers.
pub struct NoDiscovery;

impl Discover for NoDiscovery {
    fn discover<'a>(&'a self, command: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            Err(Error::unavailable(format!("'{}' is not asked on this machine", command.join(" "))))
        })
    }
}

/// All that is known of public registries in this process.
pub(crate) struct Upstream {
    discover: Arc<dyn Discover>,
    connections: RwLock<HashMap<ConnectionName, Arc<Connection>>>,
    breakers: RwLock<HashMap<ConnectionName, Arc<Breaker>>>,
    discovering: tokio::sync::Mutex<()>,
    /// Connections whose address could not be found, and why: asked again after `LOOK_AGAIN`.
    unknown: RwLock<HashMap<ConnectionName, (Timestamp, String)>>,
    pub(crate) indexes: known::KnownIndexes,
    unwritten: unwritten::Unwritten,
    large: large::LargeTurns,
    pub(crate) flights: flight::Flights,
    pub(crate) withdrawn: crate::companion::Withdrawn,
    /// One asks for a companion (domain, connection, address) while others wait.
    pub(crate) companions: Turns<(Id, ConnectionName, String)>,
    /// Places for downloads.
    pub(crate) downloads: Arc<tokio::sync::Semaphore>,
}

/// An external connection whose address is known.
pub(crate) struct Connection {
    pub(crate) name: ConnectionName,
    /// The registry's root; its path ends in `/`.
    pub(crate) url: Url,
    /// Tells its address from others it had: documents are kept by it.
    pub(crate) place: String,
    pub(crate) settings: ConnectionSettings,
    pub(crate) clients: Clients,
    pub(crate) breaker: Arc<Breaker>,
    large: large::LargePlace,
}

impl Connection {
    /// Under which path a document is kept: documents of another address are another registry's, whatever the
    /// connection is called.
    pub(crate) fn document_path(&self, asked: &str) -> String {
        format!("{} {asked}", self.place)
    }

    pub(crate) fn freshness(&self, registry: &Registry) -> Duration {
        self.settings.freshness.map_or(registry.inner.settings.freshness, Duration::from_secs)
    }

    pub(crate) fn negative_freshness(&self, registry: &Registry) -> Duration {
        self.settings
            .negative_freshness
            .map_or(registry.inner.settings.negative_freshness, Duration::from_secs)
    }

    pub(crate) fn max_index_bytes(&self, registry: &Registry) -> u64 {
        self.settings.max_index_bytes.unwrap_or(registry.inner.settings.max_index_bytes)
    }
}

impl Upstream {
    pub(crate) fn new(discover: Arc<dyn Discover>, document_memory_bytes: usize, max_fetches: usize) -> Self {
        Self {
            discover,
            connections: RwLock::default(),
            breakers: RwLock::default(),
            discovering: tokio::sync::Mutex::default(),
            unknown: RwLock::default(),
            indexes: known::KnownIndexes::new(document_memory_bytes),
            unwritten: unwritten::Unwritten::default(),
            large: large::LargeTurns::default(),
            flights: flight::Flights::default(),
            withdrawn: crate::companion::Withdrawn::default(),
            companions: Turns::default(),
            downloads: Arc::new(tokio::sync::Semaphore::new(max_fetches)),
        }
    }

    pub(crate) fn breaker(&self, name: &ConnectionName) -> Arc<Breaker> {
        if let Some(breaker) = lock_read(&self.breakers).get(name) {
            return breaker.clone();
        }
        lock_write(&self.breakers).entry(name.clone()).or_default().clone()
    }

    /// Forgets the connection in memory; its next use reads settings and database again.
    pub(crate) fn forget(&self, name: &ConnectionName) {
        lock_write(&self.connections).remove(name);
        lock_write(&self.breakers).remove(name);
        lock_write(&self.unknown).remove(name);
        self.indexes.forget(name);
    }

    /// Forgets all connections; parsed indexes stay, which tell by themselves how old they are.
    pub(crate) fn forget_connections(&self) {
        lock_write(&self.connections).clear();
        lock_write(&self.unknown).clear();
    }
}

impl Registry {
    /// The connection with its address: from the settings, the database, or the package manager of this
    /// machine, in that order (`weir.md` 2). Unavailable, with the line to write, when none is known.
    pub(crate) async fn upstream_connection(&self, name: &ConnectionName) -> Result<Arc<Connection>> {
        if let Some(found) = lock_read(&self.inner.upstream.connections).get(name) {
            return Ok(found.clone());
        }
        // One look-up at a time, so that a package manager is asked once for a thousand clients.
        let _one = self.inner.upstream.discovering.lock().await;
        if let Some(found) = lock_read(&self.inner.upstream.connections).get(name) {
            return Ok(found.clone());
        }
        // Read before the look-up, so that an address that changes meanwhile is not kept.
        let generation = self.inner.generations.topology();
        let now = self.now();
        if let Some((until, why)) = lock_read(&self.inner.upstream.unknown).get(name)
            && still(now, *until, LOOK_AGAIN)
        {
            return Err(Error::unavailable(why.clone()));
        }
        let made = match self.find_address(name).await {
            Ok((settings, url, source)) => self.make_connection(name, settings, &url, &source),
            Err(error) => Err(error),
        };
        if let Err(Error::Unavailable { message, .. }) = &made {
            let entry = (later(now, LOOK_AGAIN), message.clone());
            lock_write(&self.inner.upstream.unknown).insert(name.clone(), entry);
        }
        let connection = Arc::new(made?);
        if self.inner.generations.topology() == generation {
            lock_write(&self.inner.upstream.connections).insert(name.clone(), connection.clone());
        }
        Ok(connection)
    }

    async fn find_address(&self, name: &ConnectionName) -> Result<(ConnectionSettings, String, String)> {
        let configured = self.inner.settings.connections.get(name.as_str()).cloned();
        if let Some(settings) = &configured
            && let Some(url) = settings.url.clone()
        {
            return Ok((settings.clone(), url, "setting".to_owned()));
        }
        let stored = self.inner.store.read().await?.connection(name).await?;
        if let Some(row) = stored {
            let mut settings = self.stored_settings(&row)?;
            if let Some(configured) = configured {
                settings = ConnectionSettings { url: None, ..configured };
            }
            return Ok((settings, row.url, row.source));
        }
        let row = self.discover_address(name, None, None).await?;
        let settings = match configured {
            Some(configured) => configured,
            None => self.stored_settings(&row)?,
        };
        Ok((settings, row.url, row.source))
    }

    pub(crate) fn stored_settings(&self, row: &ConnectionRow) -> Result<ConnectionSettings> {
        let Some(sealed) = &row.sealed_settings else { return Ok(ConnectionSettings::default()) };
        let plain = self.inner.master_key.open(row.name.as_str(), sealed)?;
        serde_json::from_slice(&plain).map_err(Error::internal)
    }

    /// Learns the addresses of the connections of a format that a repository's path leads to, as far as that
    /// can be: a client that asks for the endpoint is about to point the package manager of this machine here,
    /// and then it could not be asked any more.
    pub(crate) async fn learn_addresses(
        &self,
        domain: &DomainState,
        repository: &Arc<RepositoryState>,
        format: FormatName,
    ) {
        for (node, _) in domain.graph(repository) {
            if let Some(connection) = self.connection_for(&node, format)
                && let Err(error) = self.upstream_connection(connection).await
            {
                tracing::debug!(%connection, %error, "no address is known yet");
            }
        }
    }

    /// Learns the addresses of all connections that repositories have: in the background, right after the
    /// start.
    pub async fn learn_all_addresses(&self) -> Result<()> {
        let mut session = self.inner.store.read().await?;
        let mut connections = BTreeSet::new();
        for domain in session.list_domains(None).await? {
            let repositories = session.repositories(&domain.id).await?;
            connections.extend(repositories.into_iter().filter_map(|repository| repository.connection));
        }
        drop(session);
        for connection in connections {
            if let Err(error) = self.upstream_connection(&connection).await {
                tracing::info!(%connection, %error, "no address is known yet");
            }
        }
        Ok(())
    }

    /// Asks the package manager of this machine, and stores what it says where nothing is known, or still what was
    /// known (`over`) when it was asked to: an address that somebody set meanwhile stays. Gives what is stored then.
    pub(crate) async fn discover_address(
        &self,
        name: &ConnectionName,
        over: Option<ConnectionRow>,
        audit: Option<AuditRow>,
    ) -> Result<ConnectionRow> {
        let mut known = self.inner.formats.iter().flat_map(|format| format.connections());
        let known = known.find(|known| known.name == name.as_str() && !known.discovery.is_empty());
        let Some(known) = known else {
            return Err(Error::unavailable(format!("no address is known for {name}; {}", self.advice(name))));
        };
        let said = self.inner.upstream.discover.discover(known.discovery).await.map_err(|why| {
            Error::unavailable(format!("no address is known for {name} ({why}); {}", self.advice(name)))
        })?;
        let source = known.told_by.to_owned();
        let (address, file_hosts) =
            said.split_first().map_or(("", &[][..]), |(first, rest)| (&**first, rest));
        let mut url = parse_address(name, address)
            .map_err(|why| Error::unavailable(format!("{source} says: {why}; {}", self.advice(name))))?;
        self.refuse_own_address(name, &url)?;
        if is_repository_of_a_domain(&url) {
            return Err(Error::unavailable(format!(
                "{source} says {url}, which is a repository this machine is logged in to and no public registry; {}",
                self.advice(name)
            )));
        }
        let is_origin =
            |line: &&String| known.names_file_hosts && Url::parse(line).is_ok_and(|url| url.has_host());
        let allowed_hosts = file_hosts.iter().filter(is_origin).cloned().collect();
        let mut settings = ConnectionSettings { allowed_hosts, ..ConnectionSettings::default() };
        hide_user_info(&mut url, &mut settings);
        let row = self.connection_row(name, url.as_str(), &source, &settings)?;
        let found = row.clone();
        let stored = self.change(Outdated::Connection(name.clone()), move |session| {
            Box::pin(async move {
                if !session.put_connection_over(&found, over.as_ref()).await? {
                    return Ok(session.connection(&found.name).await?);
                }
                if let Some(audit) = &audit {
                    session.insert_audit(audit).await?;
                }
                Ok(Some(found))
            })
        });
        let stored = stored.await?.ok_or_else(|| {
            Error::unavailable(format!("the address of {name} was changed meanwhile; try again"))
        })?;
        if stored != row {
            tracing::info!(connection = %name, found = row.url, kept = stored.url, source = stored.source,
                "an address that was found is not used, since one was stored meanwhile");
        }
        Ok(stored)
    }

    /// Stores an address with its settings, sealed, and forgets what was in memory.
    pub(crate) async fn store_connection(
        &self,
        name: &ConnectionName,
        url: &str,
        source: &str,
        settings: ConnectionSettings,
        audit: AuditRow,
    ) -> Result<ConnectionRow> {
        let row = self.connection_row(name, url, source, &settings)?;
        let stored = row.clone();
        self.change(Outdated::Connection(name.clone()), move |session| {
            Box::pin(async move {
                session.put_connection(&stored).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(row)
    }

    fn connection_row(
        &self,
        name: &ConnectionName,
        url: &str,
        source: &str,
        settings: &ConnectionSettings,
    ) -> Result<ConnectionRow> {
        let sealed_settings = if *settings == ConnectionSettings::default() {
            None
        } else {
            let plain = serde_json::to_vec(settings).map_err(Error::internal)?;
            Some(self.inner.master_key.seal(&*self.inner.secrets, name.as_str(), &plain)?)
        };
        Ok(ConnectionRow {
            name: name.clone(),
            url: url.to_owned(),
            source: source.to_owned(),
            found_at: self.now(),
            sealed_settings,
        })
    }

    fn make_connection(
        &self,
        name: &ConnectionName,
        mut settings: ConnectionSettings,
        url: &str,
        source: &str,
    ) -> Result<Connection> {
        let mut url = parse_address(name, url).map_err(|why| {
            Error::unavailable(format!(
                "the address of {name} ({source}) cannot be used: {why}; {}",
                self.advice(name)
            ))
        })?;
        self.refuse_own_address(name, &url)?;
        hide_user_info(&mut url, &mut settings);
        let clients = Clients::new(&url, &settings, &self.inner.settings)?;
        let breaker = self.inner.upstream.breaker(name);
        let place = Digest::of(url.as_str().as_bytes()).hex()[..16].to_owned();
        let large = large::LargePlace::default();
        Ok(Connection { name: name.clone(), url, place, settings, clients, breaker, large })
    }

    /// After `weir login npm`, npm's own address is Weir: that must not become an upstream.
    pub(crate) fn refuse_own_address(&self, name: &ConnectionName, url: &Url) -> Result<()> {
        let host = url.host_str().unwrap_or("");
        let authority = match url.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let own = self
            .inner
            .settings
            .own_authorities
            .iter()
            .any(|own| own.strip_prefix('.').map_or(*own == authority, |suffix| host.ends_with(suffix)));
        if own {
            return Err(Error::unavailable(format!(
                "the address found for {name} is this server itself; {}",
                self.advice(name)
            )));
        }
        Ok(())
    }

    /// The exact line that gives a connection an address.
    pub(crate) fn advice(&self, name: &ConnectionName) -> String {
        format!(
            "give it one with: weir connections set {name} URL (or start with --external-connection {name}=URL)"
        )
    }
}

/// Reads an address as a package manager writes it: http or https, `sparse+` taken off, ending in `/`.
pub(crate) fn parse_address(name: &ConnectionName, text: &str) -> Result<Url, String> {
    let text = text.trim();
    let text = text.strip_prefix("sparse+").unwrap_or(text);
    let mut url = Url::parse(text).map_err(|e| format!("the address of {name} is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("the address of {name} must begin with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("the address of {name} must have no query and no fragment"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Whether an address is that of a repository in a domain (`/npm/d/acme-000000000000/main/`), of this
/// server's kind or AWS's own: what a login writes.
fn is_repository_of_a_domain(url: &Url) -> bool {
    let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let ends_in_account = |label: &str| {
        label.rsplit_once('-').is_some_and(|(name, account)| {
            !name.is_empty() && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let by_path = segments.windows(2).any(|pair| pair[0] == "d" && ends_in_account(pair[1]));
    let first_label = url.host_str().and_then(|host| host.split('.').next());
    by_path || first_label.is_some_and(ends_in_account)
}

/// Refuses an address that could not be used for a connection: not http or https, no host, a query.
pub fn check_address(name: &ConnectionName, address: &str) -> Result<()> {
    parse_address(name, address).map(drop).map_err(|why| Error::invalid("url", why))
}

/// Moves user info out of the address into the settings that are never shown.
pub(crate) fn hide_user_info(url: &mut Url, settings: &mut ConnectionSettings) {
    let decode = |text: &str| percent_decode(text);
    if !url.username().is_empty() && settings.username.is_none() {
        settings.username = Some(decode(url.username()));
    }
    if let Some(password) = url.password()
        && settings.password.is_none()
    {
        settings.password = Some(decode(password));
    }
    // Both fail only for addresses without a host, which parse_address refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

fn percent_decode(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_login_wrote_is_told_from_a_public_registry() {
        let check = |text: &str| is_repository_of_a_domain(&Url::parse(text).expect("a URL"));
        assert!(check("http://127.0.0.1:8090/npm/d/local-000000000000/main/"));
        assert!(check("https://acme-111122223333.d.codeartifact.eu-west-1.example.test/npm/main/"));
        assert!(!check("https://registry.example.test/"));
        assert!(!check("https://mirror.example.test/npm/d/other/"));
    }

    #[test]
    fn an_address_is_read_as_package_managers_write_it() {
        let name = ConnectionName::parse("connection", "public:npmjs").expect("a name");
        let check = |text: &str| parse_address(&name, text).map(|url| url.to_string());
        assert_eq!(check("sparse+http://127.0.0.1:1/index").as_deref(), Ok("http://127.0.0.1:1/index/"));
        for bad in ["ftp://x/", "notaurl", "http://x/?q", "http://x/#f"] {
            assert!(check(bad).is_err(), "{bad}");
            assert!(check_address(&name, bad).is_err(), "{bad}");
        }
    }
}
