//! Puts the parts together: opens the data folder under its lock, the master key, store and registry,
//! and prepares what first start makes. `serve` is the server; other commands use the same parts.

mod first_start;
pub(crate) mod master_key;

use crate::config::{Config, ConfigError};
use crate::discovery::Discovery;
use crate::http::{Http, Limiter};
use crate::server::{Server, connections_that_fit, stop_signal};
use crate::tls::{self, Certificates};
use anyhow::{Context as _, Result};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use weir_api::Api;
use weir_core::{Clock as _, SystemClock, SystemSecrets};
use weir_registry::{Parts, Registry};
use weir_store::{DatabaseUrl, Store, StoreLock};

/// Runs `weir serve` until it is asked to stop.
pub(crate) async fn serve(config: Config) -> Result<()> {
    let listener = listen(&config.listen).await?;
    let lock = lock(&config, "weir serve")?;
    let certificates = Certificates::open(&config)?;
    let local = listener.local_addr()?;
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let own_authorities = own_authorities(&config, local);
    let registry = open(&config, lock, &own_authorities).await?;
    registry.recover().await?;
    prepare(&config, &registry, &format!("{scheme}://{}", reachable(local))).await?;
    registry.health().await.context("the server is not ready")?;
    if certificates.is_some() && config.tls == crate::config::Tls::SelfSigned {
        eprintln!("TLS: clients must trust {}", tls::authority_path(&config.data).display());
    }

    let http = Arc::new(http(&config, &registry, own_authorities));
    if let Some(certificates) = &certificates {
        tokio::spawn(certificates.clone().follow());
    }
    let server = Server {
        listener,
        certificates,
        http,
        max_connections: connections_that_fit(config.max_connections),
        max_connections_per_address: config.max_connections_per_address,
        client_timeout: config.client_timeout,
        grace: config.shutdown_grace,
    };
    let stop = stop_signal()?;
    // What was logged of the start stands before the line that ends it.
    crate::telemetry::flush_logging();
    say_ready(&format!("{scheme}://{local}"))?;
    let (stopped, stopping) = tokio::sync::oneshot::channel::<()>();
    let background = tokio::spawn({
        let registry = registry.clone();
        // The sender is dropped in any case, so this ends with the server.
        async move { registry.run_background(async { drop(stopping.await) }).await }
    });
    let following = tokio::spawn({
        let registry = registry.clone();
        async move { registry.follow(std::future::pending()).await }
    });
    tokio::spawn({
        // Before a login points the package managers of this machine here: then they cannot be asked any more.
        let registry = registry.clone();
        async move {
            if let Err(error) = registry.learn_all_addresses().await {
                tracing::warn!(%error, "the addresses of public registries could not be looked up");
            }
        }
    });
    server.run(stop).await;
    drop(stopped);
    if let Err(error) = background.await {
        tracing::error!("background work failed: {error}");
    }
    following.abort();
    registry.store().close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Makes what first start makes, one node at a time.
async fn prepare(config: &Config, registry: &Registry, address: &str) -> Result<()> {
    let lease = loop {
        match registry.lease("first-start").await? {
            Some(lease) => break lease,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    first_start::prepare(config, registry, address).await?;
    lease.release().await;
    Ok(())
}

/// What requests meet.
fn http(config: &Config, registry: &Registry, own_authorities: Vec<String>) -> Http {
    Http {
        api: Api::new(registry.clone(), Arc::new(SystemClock), Arc::new(SystemSecrets)),
        registry: registry.clone(),
        faces: config.faces.clone(),
        own_authorities,
        limiter: Limiter::new(config.failed_auth_limit),
        max_publish_bytes: config.max_publish_bytes,
        client_timeout: config.client_timeout,
        metrics_public: config.metrics_public,
    }
}

/// A server after its first start, without a listener, and its configuration.
#[cfg(test)]
pub(crate) async fn started(data: &Path, flags: &[(&'static str, &str)]) -> (Http, Config) {
    let mut given: std::collections::BTreeMap<&'static str, Vec<String>> =
        flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])).collect();
    given.insert("data", vec![data.display().to_string()]);
    let values = crate::config::Values::read(&given, &Default::default(), None, &[]).unwrap();
    let config = Config::build(&values).unwrap();
    let registry = open(&config, lock(&config, "weir serve").unwrap(), &[]).await.unwrap();
    first_start::prepare(&config, &registry, "http://127.0.0.1:8090").await.unwrap();
    (http(&config, &registry, vec!["weir.example.test:443".to_owned()]), config)
}

/// Opens the store and the registry over it, as other commands than `serve` need them.
pub(crate) async fn open_alone(config: &Config, command: &str) -> Result<Registry> {
    must_have_data(config)?;
    let lock = lock(config, command)?;
    open(config, lock, &[]).await
}

/// Refuses where the data of `serve` should be and is not: a wrong folder must not look like an empty one.
pub(crate) fn must_have_data(config: &Config) -> Result<()> {
    if matches!(config.places.database, DatabaseUrl::Sqlite(_)) && !config.data.is_dir() {
        let text = format!("the data folder {} does not exist; 'weir serve' makes it", config.data.display());
        return Err(ConfigError(text).into());
    }
    Ok(())
}

/// Locks the data folder, made if it is missing. `command` names the holder to others.
pub(crate) fn lock(config: &Config, command: &str) -> Result<StoreLock> {
    lock_at(&config.data, command)
}

/// As `lock`, for another folder that has the part of the data folder.
pub(crate) fn lock_at(folder: &Path, command: &str) -> Result<StoreLock> {
    make_private_folder(folder)?;
    Ok(StoreLock::acquire(folder, command, SystemClock.now())?)
}

async fn open(config: &Config, lock: StoreLock, own_authorities: &[String]) -> Result<Registry> {
    let store = Store::open(&config.places, lock, SystemClock.now()).await?;
    let master_key = master_key::open(config, &store).await?;
    let settings =
        weir_registry::Settings { own_authorities: own_authorities.to_vec(), ..config.registry.clone() };
    Ok(Registry::new(Parts {
        store,
        formats: crate::formats::for_registry(),
        settings,
        clock: Arc::new(SystemClock),
        secrets: Arc::new(SystemSecrets),
        master_key,
        discover: Arc::new(Discovery::new(config.data.join("discovery"))),
    }))
}

async fn listen(address: &str) -> Result<TcpListener> {
    let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        let text = format!("'{address}' of listen is not HOST:PORT, such as 127.0.0.1:8090");
        return Err(ConfigError(text).into());
    }
    TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with --listen"))
}

/// The one line on standard output.
#[expect(clippy::print_stdout, reason = "the contract: this line and nothing else goes to standard output")]
fn say_ready(address: &str) -> Result<()> {
    use std::io::Write as _;
    println!("listening on {address}");
    std::io::stdout().flush()?;
    Ok(())
}

/// Where a client on this machine reaches the listener.
fn reachable(local: SocketAddr) -> SocketAddr {
    let loopback: IpAddr =
        if local.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    if local.ip().is_unspecified() { SocketAddr::new(loopback, local.port()) } else { local }
}

/// `HOST:PORT` of this server by all names it knows of itself, and `.SUFFIX` of its virtual hosts. A
/// package manager that was pointed here must not be believed about where the public registries are.
fn own_authorities(config: &Config, local: SocketAddr) -> Vec<String> {
    let port = local.port();
    let mut own = vec![local.to_string(), format!("localhost:{port}")];
    if local.ip().is_unspecified() || local.ip().is_loopback() {
        own.extend([format!("127.0.0.1:{port}"), format!("[::1]:{port}")]);
    }
    if let Some((host, _)) = config.listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()) {
        own.push(format!("{}:{port}", host.to_ascii_lowercase()));
    }
    if let Some(face) = &config.faces.public_url {
        let has_port = face.authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if face.scheme == "https" { 443 } else { 80 };
        own.push(if has_port { face.authority.clone() } else { format!("{}:{port}", face.authority) });
    }
    own.extend(config.faces.host_suffixes.iter().map(|suffix| format!(".d.{suffix}")));
    own.sort();
    own.dedup();
    own
}

/// Makes a folder that only its owner may enter. An empty one that exists is closed to others too; one in
/// use is left as its owner set it.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    if path.is_dir() {
        if fs_err::read_dir(path)?.next().is_none() {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("the folder {} cannot be made", path.display()))
}

/// Writes a file that only its owner may read: beside its place first, so that a cut leaves no half of it.
pub(crate) fn write_private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let removed = fs_err::remove_file(&beside);
    drop(removed);
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(&beside, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Values;
    use std::os::unix::fs::PermissionsExt as _;

    fn config(data: &Path) -> Config {
        let flags = [("data", vec![data.display().to_string()])].into_iter().collect();
        Config::build(&Values::read(&flags, &Default::default(), None, &[]).unwrap()).unwrap()
    }

    #[test]
    fn private_files_and_folders_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_private_folder(&inner).unwrap();
        write_private_file(&inner.join("key"), b"1").unwrap();
        write_private_file(&inner.join("key"), b"2").unwrap();
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&inner.join("key"))), (0o700, 0o600));
        assert_eq!(fs_err::read(inner.join("key")).unwrap(), b"2");
    }

    #[test]
    fn a_second_opener_is_refused_and_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = lock(&config, "weir serve").unwrap();
        let refusal = lock(&config, "weir migrate").unwrap_err().to_string();
        assert!(refusal.contains("weir serve") && refusal.contains("pid"), "{refusal}");
        drop(first);
        lock(&config, "weir migrate").unwrap();
    }

    #[test]
    fn its_own_names_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let own = own_authorities(&config(folder.path()), "127.0.0.1:8090".parse().unwrap());
        assert!(
            own.contains(&"localhost:8090".to_owned()) && own.contains(&"127.0.0.1:8090".to_owned()),
            "{own:?}"
        );
    }
}
