//! Small documents that go with a file of a version: the `.metadata` of a wheel (PEP 658), its provenance
//! (PEP 740). What was made out of a held file is served from here; what a public registry promises is
//! fetched, compared and kept like its indexes. Asking for one retains nothing.

use crate::Registry;
use crate::aging::{later, still};
use crate::format::RemoteAsset;
use crate::open::{OpenedAsset, Want, absent_asset};
use crate::scope::Scope;
use crate::topology::{lock_read, lock_write};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use weir_core::verdict::Source;
use weir_core::{AssetName, Error, Origin, PackageName, Result, Timestamp};
use weir_store::rows::Id;

/// Promises of companions (address and digest) that their registry did not keep, by domain, and until when they
/// are not believed: indexes name them no more, so that clients go by the file itself.
#[derive(Default)]
pub(crate) struct Withdrawn {
    by_domain: RwLock<HashMap<Id, HashMap<String, Timestamp>>>,
}

/// More than that in one domain, and all are tried anew.
const MOST_WITHDRAWN: usize = 10_000;
/// How long a promise is not believed; an index that changes meanwhile makes a new one.
const WITHDRAWN_FOR: Duration = Duration::from_secs(600);

/// What tells promises apart.
pub(crate) fn promise(url: &str, sha256: Option<&str>) -> String {
    format!("{} {url}", sha256.unwrap_or("-"))
}

impl Withdrawn {
    /// The promises that are not believed now.
    pub(crate) fn of(&self, domain: &Id, now: Timestamp) -> Arc<HashSet<String>> {
        let table = lock_read(&self.by_domain);
        let promises =
            table.get(domain).into_iter().flatten().filter(|(_, until)| still(now, **until, WITHDRAWN_FOR));
        Arc::new(promises.map(|(promise, _)| promise.clone()).collect())
    }

    fn add(&self, domain: &Id, promise: String, until: Timestamp) {
        let mut table = lock_write(&self.by_domain);
        let promises = table.entry(domain.clone()).or_default();
        if promises.len() >= MOST_WITHDRAWN {
            promises.clear();
        }
        promises.insert(promise, until);
    }
}

impl Registry {
    /// Opens a document that goes with a file of a version (normal form). Errors as of
    /// [`Registry::open_asset`]; BadUpstream when a public registry does not give what it promised.
    pub async fn open_companion(
        &self,
        scope: &Scope,
        package: &PackageName,
        version_key: &str,
        companion: &AssetName,
    ) -> Result<OpenedAsset> {
        let (view, decision) = self.offered(scope, package, version_key).await?;
        let absent = || absent_asset(&view, &decision, companion);
        let (metadata, connection) = match decision.source {
            Source::Held { node, version } => {
                let row = view.held_row(node, version).ok_or_else(absent)?;
                if let Some(asset) = self.held_asset(&row.content, companion).await?
                    && let Some(opened) = self.open_blob(&scope.domain, row, &asset, Want::Bytes).await?
                {
                    return Ok(opened);
                }
                let connection = match &row.origin {
                    Origin::External { connection } => connection.clone(),
                    Origin::Internal { .. } => return Err(absent()),
                };
                view.node_leading_to(&connection).ok_or_else(absent)?;
                (self.document_of(&view, &decision, row).await?, connection)
            }
            Source::Public { .. } => {
                let connection = view.connection_of(&decision).ok_or_else(absent)?.clone();
                (view.metadata(&decision).ok_or_else(absent)?.to_owned(), connection)
            }
        };
        let promised = self.format_named(package.format)?.companion(&metadata, companion);
        let promised = promised.ok_or_else(absent)?;
        let domain = &scope.domain.row.id;
        match self.promised_document(domain, &connection, &promised).await {
            Ok(Some((body, etag))) => Ok(OpenedAsset::in_memory(body, etag, decision.time.at)),
            Ok(None) if !promised.expected.has_digest() => Err(absent()),
            Ok(None) => {
                self.withdraw(domain, package, &promised);
                Err(Error::bad_upstream(format!(
                    "{connection} promises {companion} and has none of that name"
                )))
            }
            Err(Error::BadUpstream { message }) => {
                self.withdraw(domain, package, &promised);
                Err(Error::BadUpstream { message })
            }
            Err(error) => Err(error),
        }
    }

    fn withdraw(&self, domain: &Id, package: &PackageName, promised: &RemoteAsset) {
        tracing::error!(%package, file = %promised.name, "a public registry does not give what it promised");
        self.metrics().files_refused.inc();
        let sha256 = promised.expected.sha256.map(|digest| digest.hex());
        let until = later(self.now(), WITHDRAWN_FOR);
        self.inner.upstream.withdrawn.add(domain, promise(&promised.url, sha256.as_deref()), until);
        self.inner.generations.content_changed(domain, package);
    }
}
