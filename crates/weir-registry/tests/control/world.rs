//! A registry with one domain, an administrator and a format that knows just enough.

use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering as Atomic};
use tempfile::TempDir;
use weir_core::{
    AccountId, AssetName, Caller, Clock, DomainName, Error, Flags, FormatName, PackageName, PrincipalKind,
    RepositoryName, Result, SystemSecrets, Timestamp, Version,
};
use weir_registry::format::{Description, DisplayVersionRule, KnownConnection, NamespaceRule};
use weir_registry::publish::{NewAsset, Publication, Published};
use weir_registry::repository::{RepositoryChange, RepositoryInfo};
use weir_registry::sealed::MasterKey;
use weir_registry::upstream::NoDiscovery;
use weir_registry::{DomainRef, Format, PackageRef, Parts, Registry, RepositoryRef, Scope, Settings};
use weir_store::Store;

pub(crate) const ACCOUNT: &str = "000000000000";

/// Like npm: optional namespaces, tags, one file. `V1` and `v1` are one version.
struct Plain;

const NPM: FormatName = FormatName::new("npm");

impl Format for Plain {
    fn name(&self) -> FormatName {
        NPM
    }

    fn namespace_rule(&self) -> NamespaceRule {
        NamespaceRule::Optional
    }

    fn parse_name(&self, namespace: Option<&str>, name: &str) -> Result<PackageName> {
        PackageName::new(NPM, namespace, name)
    }

    fn parse_version(&self, text: &str) -> Result<Version> {
        Version::with_key(text, &text.to_lowercase())
    }

    fn compare_versions(&self, left: &str, right: &str) -> Ordering {
        left.cmp(right)
    }

    fn is_stable(&self, key: &str) -> bool {
        !key.contains('-')
    }

    fn describe(&self, _: &PackageName, metadata: &str) -> Description {
        Description { summary: Some(metadata.to_owned()), ..Description::default() }
    }

    fn display_version_rule(&self) -> DisplayVersionRule {
        DisplayVersionRule::LatestTag
    }

    fn connections(&self) -> &'static [KnownConnection] {
        const NPMJS: KnownConnection = KnownConnection {
            name: "public:npmjs",
            store_repository: "npm-store",
            discovery: &[],
            names_file_hosts: false,
            told_by: "",
        };
        const OTHER: KnownConnection = KnownConnection {
            name: "public:other",
            store_repository: "other-store",
            discovery: &[],
            names_file_hosts: false,
            told_by: "",
        };
        &[NPMJS, OTHER]
    }
}

/// A clock that moves by a second whenever it is read, and further when told.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Atomic::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.fetch_add(1, Atomic::Relaxed)).expect("in range")
    }
}

pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) admin: Caller,
    pub(crate) clock: Arc<TestClock>,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000)));
        let store = Store::open_folder(folder.path(), &*clock).await.expect("a store");
        let registry = Registry::new(Parts {
            store,
            formats: vec![&Plain],
            settings: Settings::default(),
            clock: clock.clone(),
            secrets: Arc::new(SystemSecrets),
            master_key: MasterKey::from_bytes([7; 32]),
            discover: Arc::new(NoDiscovery),
        });
        let admin = administrator(&registry, ACCOUNT).await;
        let world = Self { registry, admin, clock, _folder: folder };
        let name = domain_name("local");
        world.registry.create_domain(&world.admin, &name, None, Vec::new()).await.expect("a domain");
        world
    }

    /// The administrator of another account.
    pub(crate) async fn stranger(&self) -> Caller {
        administrator(&self.registry, "111111111111").await
    }

    /// A user with this policy.
    pub(crate) async fn user(&self, name: &str, policy: &str) -> Caller {
        let kind = PrincipalKind::User;
        self.registry.create_user(&self.admin, kind, name, policy).await.expect("a user");
        let key = self.registry.create_key(&self.admin, Some(name)).await.expect("a key");
        caller(&self.registry, &key.access_key_id).await
    }

    /// A repository with these upstreams.
    pub(crate) async fn repository(&self, name: &str, upstreams: &[&str]) -> RepositoryInfo {
        let change = change(upstreams);
        let created =
            self.registry.create_repository(&self.admin, &repository(name), change, Vec::new()).await;
        created.expect("a repository")
    }

    /// Publishes a version whose only file is `file.tgz`.
    pub(crate) async fn publish(
        &self,
        to: &str,
        name: &str,
        version: &str,
        bytes: &str,
    ) -> Result<Published> {
        let scope = self.scope(to).await;
        let mut spool = self.registry.spool()?;
        spool.write(Bytes::copy_from_slice(bytes.as_bytes())).await?;
        let file = spool.finish().await?;
        let publication = Publication {
            package: PackageName::new(NPM, None, name)?,
            version: Plain.parse_version(version)?,
            metadata: "{}".to_owned(),
            package_metadata: None,
            description: Description { summary: Some(format!("all about {name}")), ..Description::default() },
            assets: vec![NewAsset { name: AssetName::parse("file.tgz")?, file, derived: false }],
            tags: vec!["latest".to_owned()],
            flags: Flags::default(),
            unfinished: false,
        };
        self.registry.publish(&scope, publication).await
    }

    /// The administrator as a package manager.
    pub(crate) async fn scope(&self, repository: &str) -> Scope {
        let token = self.registry.authorization_token(&self.admin, &domain("local"), None).await;
        let token = token.expect("a token").token;
        self.enter(repository, &token).await.expect("a scope")
    }

    pub(crate) async fn enter(&self, repository: &str, token: &str) -> Result<Scope> {
        self.registry.enter("local", ACCOUNT, repository, NPM, Some(token)).await
    }
}

async fn administrator(registry: &Registry, account: &str) -> Caller {
    let account = AccountId::parse("account", account).expect("valid");
    let key = registry.bootstrap_administrator(&account).await.expect("a key");
    caller(registry, &key.access_key_id).await
}

async fn caller(registry: &Registry, key: &str) -> Caller {
    let (_, principal) = registry.signing_key(key).await.expect("answers").expect("a known key");
    Caller::Principal(principal)
}

pub(crate) fn domain_name(name: &str) -> DomainName {
    DomainName::parse("domain", name).expect("valid")
}

pub(crate) fn repository_name(name: &str) -> RepositoryName {
    RepositoryName::parse("repository", name).expect("valid")
}

pub(crate) fn domain(name: &str) -> DomainRef {
    DomainRef { name: domain_name(name), owner: Some(AccountId::parse("owner", ACCOUNT).expect("valid")) }
}

pub(crate) fn repository(name: &str) -> RepositoryRef {
    RepositoryRef { domain: domain("local"), repository: repository_name(name) }
}

pub(crate) fn package(of: &str, name: &str) -> PackageRef {
    PackageRef { repository: repository(of), package: PackageName::new(NPM, None, name).expect("valid") }
}

pub(crate) fn change(upstreams: &[&str]) -> RepositoryChange {
    let upstreams = upstreams.iter().map(|name| repository_name(name)).collect();
    RepositoryChange { description: None, upstreams: Some(upstreams) }
}

/// The text of an error that must be there.
pub(crate) fn refusal<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was allowed"),
        Err(Error::Internal(source)) => panic!("internal error: {source}"),
        Err(error) => error.to_string(),
    }
}
