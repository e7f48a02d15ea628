//! The bytes of a file: from here, from another repository of the chain, or from a public registry.

use crate::Registry;
use crate::scope::Scope;
use crate::topology::{DomainState, lock_read, lock_write};
use crate::upstream::client::{FetchError, naming};
use crate::upstream::fetch::Wanted;
use crate::upstream::flight::FlightReader;
use crate::view::{Freshness, PackageView};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use prometheus_client::metrics::counter::Counter;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, RwLock};
use weir_core::error::Resource;
use weir_core::verdict::{Decision, Outcome, Source};
use weir_core::{AssetName, Error, Origin, PackageName, Result, Timestamp, Version};
use weir_store::blob::{FileRange, is_damage};
use weir_store::rows::{AssetRow, AssetState, Id, VersionRow};
use weir_store::{Blob, BlobError, BlobKey};

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Its bytes, all or a range: retains it.
    Bytes,
    /// Its headers: retains nothing.
    Head,
}

/// A file, open.
pub struct OpenedAsset {
    /// Size in bytes; `None` while a download is running whose registry and index gave none.
    pub size: Option<u64>,
    /// Strong tag without quotes; `None` while it is being fetched.
    pub etag: Option<String>,
    /// When it came into the world.
    pub last_modified: Option<Timestamp>,
    pub(crate) source: AssetSource,
}

/// Bytes on their way out.
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file, and known to be right.
    File(FileRange),
    /// To come.
    Stream(BoxStream<'static, std::io::Result<Bytes>>),
    /// To come, and lying in a file for the most part.
    Parts(Parts),
}

/// Bytes on their way out, or where they lie.
#[derive(Debug)]
pub enum Part {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File(FileRange),
}

/// The parts of a file, one after the other as they come; an error ends them before the last byte.
pub type Parts = BoxStream<'static, std::io::Result<Part>>;

impl Part {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(part) => part.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reads parts piece by piece, for who cannot send files as such.
pub fn bytes_of(parts: Parts) -> BoxStream<'static, std::io::Result<Bytes>> {
    let pieces = parts.map_ok(|part| match part {
        Part::Bytes(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
        Part::File(part) => part.stream(),
    });
    pieces.try_flatten().boxed()
}

pub(crate) enum AssetSource {
    Stored(Blob, Counter),
    Memory(Bytes),
    Flight(FlightReader),
}

impl OpenedAsset {
    /// A file of the blob store; `damage_found` counts when it turns out on its way that it is damaged.
    pub(crate) fn stored(blob: Blob, etag: String, last_modified: Timestamp, damage_found: Counter) -> Self {
        Self {
            size: Some(blob.size()),
            etag: Some(etag),
            last_modified: Some(last_modified),
            source: AssetSource::Stored(blob, damage_found),
        }
    }

    /// A small document in memory.
    pub(crate) fn in_memory(bytes: Bytes, etag: String, last_modified: Timestamp) -> Self {
        Self {
            size: Some(bytes.len() as u64),
            etag: Some(etag),
            last_modified: Some(last_modified),
            source: AssetSource::Memory(bytes),
        }
    }

    /// The whole file, when it is small and in memory already.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.source {
            AssetSource::Stored(blob, _) => blob.bytes(),
            AssetSource::Memory(bytes) => Some(bytes),
            AssetSource::Flight(_) => None,
        }
    }

    /// All of its bytes. Errors: TooLarge above `limit`; Internal when it cannot be read.
    pub async fn collect(self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut chunks = self.stream(None);
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk.map_err(Error::internal)?);
            if bytes.len() as u64 > limit {
                return Err(Error::too_large(format!("a document may have {limit} bytes here")));
            }
        }
        Ok(bytes)
    }

    /// The bytes of a range (the whole when `None`), as cheaply as they can be had. A failure in the middle of a stream,
    /// such as a wrong digest, ends it with an error before the last byte.
    pub fn content(self, range: Option<Range<u64>>) -> Content {
        if let Some(bytes) = self.bytes() {
            let end = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let range = range.map_or(0..bytes.len(), |range| end(range.start)..end(range.end));
            return Content::Bytes(bytes.slice(range));
        }
        if let AssetSource::Stored(blob, _) = &self.source
            && let Some(part) = blob.in_file(range.clone().unwrap_or(0..blob.size()))
        {
            return Content::File(part);
        }
        match self.source {
            AssetSource::Flight(reader) => Content::Parts(reader.parts(range)),
            AssetSource::Stored(..) | AssetSource::Memory(_) => Content::Stream(self.stream(range)),
        }
    }

    /// The bytes of a range (the whole when `None`). A failure in the middle, such as a wrong digest, ends
    /// the stream with an error before the last byte.
    pub fn stream(self, range: Option<Range<u64>>) -> BoxStream<'static, std::io::Result<Bytes>> {
        match self.source {
            AssetSource::Stored(blob, damage_found) => {
                let size = blob.size();
                let bytes = blob.read(range.unwrap_or(0..size));
                bytes
                    .inspect_err(move |error| {
                        if is_damage(error) {
                            damage_found.inc();
                        }
                    })
                    .boxed()
            }
            AssetSource::Memory(bytes) => {
                let size = bytes.len();
                let end = |at: u64| usize::try_from(at).unwrap_or(size).min(size);
                let range = range.map_or(0..size, |range| end(range.start)..end(range.end));
                futures_util::stream::iter([Ok(bytes.slice(range))]).boxed()
            }
            AssetSource::Flight(reader) => bytes_of(reader.parts(range)),
        }
    }
}

/// Files of contents in memory, so that a warm file asks no database. When full it is emptied.
#[derive(Default)]
pub(crate) struct AssetCache {
    rows: RwLock<HashMap<(Id, AssetName), Arc<AssetRow>>>,
}

const MOST_ASSETS: usize = 20_000;

impl Registry {
    /// Opens a file of a version (normal form) for a package manager. With [`Want::Bytes`] it is retained in
    /// the asked repository before its last byte is released.
    pub async fn open_asset(
        &self,
        scope: &Scope,
        package: &PackageName,
        version_key: &str,
        asset: &AssetName,
        want: Want,
    ) -> Result<OpenedAsset> {
        let held = self.view_of_held_file(scope, package, version_key, asset).await?;
        let (mut view, mut decision) = match held {
            Some(held) => held,
            None => self.offered(scope, package, version_key).await?,
        };
        if !self.may_have(&view, &decision, asset).await? && view.failure.is_none() {
            // So may a file that was added to a version a moment ago.
            view = self.view(scope, package, Freshness::Now).await?;
            decision = offered_in(&view, version_key)?;
        }
        let decision = &decision;
        match decision.source {
            Source::Held { node, version } => {
                self.open_held(scope, view, decision, node, version, asset, want).await
            }
            Source::Public { .. } => {
                let wanted = self.wanted(scope, &view, decision, asset)?;
                let what = format!("{asset} of {}@{}", view.display_name, decision.text);
                // Its documents may be large, and the file long in coming.
                drop(view);
                Box::pin(self.open_flight(scope, wanted, &what, want)).await
            }
        }
    }

    /// The view of a package and the decision on a version (normal form) that it offers; what a public index
    /// does not list yet is asked for again.
    pub(crate) async fn offered(
        &self,
        scope: &Scope,
        package: &PackageName,
        version_key: &str,
    ) -> Result<(Arc<PackageView>, Decision)> {
        let mut view = self.view(scope, package, Freshness::Usual).await?;
        if view.verdict.version(version_key).is_none() && view.failure.is_none() {
            // A version that was published a moment ago must not wait for the index to grow old.
            view = self.view(scope, package, Freshness::Now).await?;
        }
        let decision = offered_in(&view, version_key)?;
        Ok((view, decision))
    }

    /// Whether a version is known to have a file; true for what needs no second look.
    async fn may_have(&self, view: &PackageView, decision: &Decision, asset: &AssetName) -> Result<bool> {
        let format = self.format_named(view.package.format)?;
        if !format.follows_new_files() || view.connection_of(decision).is_none() {
            return Ok(true);
        }
        if let Source::Held { node, version } = decision.source
            && let Some(row) = view.held_row(node, version)
            && self.held_asset(&row.content, asset).await?.is_some()
        {
            return Ok(true);
        }
        let Some(metadata) = view.public_metadata(decision) else { return Ok(true) };
        let version = Version::with_key(&decision.text, &decision.key)?;
        let assets = format.remote_assets(&view.package, &version, metadata)?;
        Ok(assets.iter().any(|found| found.name == *asset))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, used here only")]
    async fn open_held(
        &self,
        scope: &Scope,
        view: Arc<PackageView>,
        decision: &Decision,
        node: usize,
        version: usize,
        asset: &AssetName,
        want: Want,
    ) -> Result<OpenedAsset> {
        let row = view.held_row(node, version);
        let row = row.ok_or_else(|| Error::internal("a verdict names a version that is not there"))?;
        let found = self.held_asset(&row.content, asset).await?;
        let opened = match &found {
            Some(found) => self.open_blob(&scope.domain, row, found, want).await?,
            None if view.public_metadata(decision).is_some() => None,
            None => return Err(absent_asset(&view, decision, asset)),
        };
        let Some(opened) = opened else {
            // Promised, added since, or lost in an unclean stop: the connection can give it.
            let held = found.as_deref().map(|found| &found.state);
            let again = self.wanted_again(scope, &view, decision, row, asset, held).await?;
            let what = format!("{asset} of {}@{}", view.display_name, row.text);
            // Its documents may be large, and the file long in coming.
            drop(view);
            return Box::pin(self.open_flight(scope, again, &what, want)).await;
        };
        if node != 0 && want == Want::Bytes {
            Box::pin(self.retain_held(&scope.domain, &scope.repository, &view.package, row)).await?;
        }
        Ok(opened)
    }

    /// A file of a content, from memory when its bytes are held: that never changes.
    pub(crate) async fn held_asset(&self, content: &Id, asset: &AssetName) -> Result<Option<Arc<AssetRow>>> {
        let key = (content.clone(), asset.clone());
        if let Some(row) = lock_read(&self.inner.assets.rows).get(&key) {
            return Ok(Some(row.clone()));
        }
        let row = self.inner.store.read().await?.asset(content, asset.as_str()).await?.map(Arc::new);
        if let Some(row) = &row
            && matches!(row.state, AssetState::Held { .. })
        {
            let mut rows = lock_write(&self.inner.assets.rows);
            if rows.len() >= MOST_ASSETS {
                rows.clear();
            }
            rows.insert(key, row.clone());
        }
        Ok(row)
    }

    /// The blob of an asset that is held; `None` when its bytes are not here and may be fetched, which is also what
    /// becomes of damaged ones. Errors: Unavailable for those that nobody else has.
    pub(crate) async fn open_blob(
        &self,
        domain: &DomainState,
        row: &VersionRow,
        asset: &AssetRow,
        want: Want,
    ) -> Result<Option<OpenedAsset>> {
        let digests = match &asset.state {
            AssetState::Held { digests, .. } => digests,
            AssetState::Promised { .. } => return Ok(None),
            AssetState::Evicted { .. } => {
                let message = format!("the bytes of {} {} were erased", asset.name, row.text);
                return Err(Error::not_found(Resource::Asset, asset.name.clone(), message));
            }
        };
        let key = BlobKey::Asset { domain: domain.row.id.clone(), digest: digests.sha256 };
        let is_external = matches!(row.origin, Origin::External { .. });
        match self.open_sound(&key, want).await {
            Ok(Some(blob)) => {
                let damage_found = self.metrics().damage_found.clone();
                let (etag, at) = (digests.sha256.hex(), row.publish_time.at);
                Ok(Some(OpenedAsset::stored(blob, etag, at, damage_found)))
            }
            Ok(None) if is_external => Ok(None),
            Ok(None) => Err(lost(asset, row)),
            // What is fetched takes the place of what is damaged.
            Err(error) if error.is_damage() && is_external => Ok(None),
            Err(error) if error.is_damage() => Err(lost(asset, row)),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a blob that may be served; for its bytes a small one is checked here.
    async fn open_sound(&self, key: &BlobKey, want: Want) -> Result<Option<Blob>, BlobError> {
        let found = match self.inner.store.blobs().open_to_serve(key).await {
            Ok(Some(blob)) if want == Want::Bytes => blob.check_first().await.map(Some),
            other => other,
        };
        if found.as_ref().is_err_and(BlobError::is_damage) {
            self.metrics().damage_found.inc();
        }
        found
    }

    /// The document of a held version, with what its public index tells of files that came later.
    pub(crate) async fn document_of(
        &self,
        view: &PackageView,
        decision: &Decision,
        row: &VersionRow,
    ) -> Result<String> {
        let content = self.inner.store.read().await?.content(&row.content).await?;
        let held = content.map(|content| content.metadata).unwrap_or_default();
        match view.public_metadata(decision) {
            Some(public) => self.format_named(view.package.format)?.merge_metadata(&held, public),
            None => Ok(held),
        }
    }

    /// What a download of a held EXTERNAL version's file needs to know whose bytes are not here.
    pub(crate) async fn wanted_again(
        &self,
        scope: &Scope,
        view: &PackageView,
        decision: &Decision,
        row: &VersionRow,
        asset: &AssetName,
        held: Option<&AssetState>,
    ) -> Result<Wanted> {
        let Origin::External { connection } = &row.origin else {
            return Err(Error::internal("an internal version with promised files"));
        };
        let holder = view.node_leading_to(connection).ok_or_else(|| {
            Error::unavailable(format!(
                "{asset} of {} was never fetched, and {connection} cannot be reached from this repository any more",
                row.text
            ))
        })?;
        let format = self.format_named(view.package.format)?;
        let metadata = self.document_of(view, decision, row).await?;
        let version = Version::with_key(&row.text, &row.key)?;
        let assets = format.remote_assets(&view.package, &version, &metadata);
        let assets = assets.map_err(|error| naming(connection, error))?;
        let place = assets.iter().position(|found| found.name == *asset);
        let place = place.ok_or_else(|| absent_asset(view, decision, asset))?;
        let mut assets = assets;
        if let Some(AssetState::Held { size, digests }) = held {
            // What was verified once is the better promise.
            assets[place].expected.size = Some(*size);
            assets[place].expected.sha256 = Some(digests.sha256);
        }
        Ok(Wanted {
            domain: scope.domain.clone(),
            holder: view.repositories[holder].clone(),
            connection: connection.clone(),
            package: view.package.clone(),
            version,
            description: format.describe(&view.package, &metadata),
            metadata,
            parser: format.parser_version(),
            flags: row.flags.clone(),
            publish_time: row.publish_time,
            assets,
            asset: place,
        })
    }

    /// What a download of a public version's file needs to know.
    pub(crate) fn wanted(
        &self,
        scope: &Scope,
        view: &PackageView,
        decision: &Decision,
        asset: &AssetName,
    ) -> Result<Wanted> {
        let Source::Public { node, version } = decision.source else {
            return Err(Error::internal("a held version is not fetched"));
        };
        let broken = || Error::internal("a verdict names a public version that is not there");
        let (remote, found) = view.remote_version(node, version).ok_or_else(broken)?;
        let connection = view.nodes[node].connection.clone().ok_or_else(broken)?;
        let format = self.format_named(view.package.format)?;
        let metadata = remote.text(&found.metadata);
        let assets = format.remote_assets(&view.package, &found.version, metadata);
        let assets = assets.map_err(|error| naming(&connection, error))?;
        let place = assets.iter().position(|a| a.name == *asset);
        let place = place.ok_or_else(|| absent_asset(view, decision, asset))?;
        Ok(Wanted {
            domain: scope.domain.clone(),
            holder: view.repositories[node].clone(),
            connection,
            package: view.package.clone(),
            version: found.version.clone(),
            metadata: metadata.to_owned(),
            description: format.describe(&view.package, metadata),
            parser: format.parser_version(),
            flags: decision.flags.clone(),
            publish_time: decision.time,
            assets,
            asset: place,
        })
    }

    /// Fetches a file. Who asks for it must hold no view: it may be long in coming.
    pub(crate) async fn open_flight(
        &self,
        scope: &Scope,
        wanted: Wanted,
        what: &str,
        want: Want,
    ) -> Result<OpenedAsset> {
        let (connection, at) = (wanted.connection.clone(), wanted.publish_time.at);
        let asked = (want == Want::Bytes).then_some(&scope.repository.row.id);
        let reader = self.fly(wanted, asked, &scope.caller).await?;
        self.opened(reader, &connection, what, at, want).await
    }

    async fn opened(
        &self,
        mut reader: FlightReader,
        connection: &weir_core::ConnectionName,
        what: &str,
        at: Timestamp,
        want: Want,
    ) -> Result<OpenedAsset> {
        let ready = match want {
            Want::Head => reader.headers().await,
            Want::Bytes => reader.first_bytes().await,
        };
        let size = ready.map_err(|failure: FetchError| failure.of(connection, what))?;
        Ok(OpenedAsset { size, etag: None, last_modified: Some(at), source: AssetSource::Flight(reader) })
    }

    /// Makes sure that all files of an offered version are held, and gives the row of the repository that
    /// holds it: what CopyPackageVersions with `includeFromUpstream` copies.
    pub(crate) async fn ensure_held(
        &self,
        scope: &Scope,
        package: &PackageName,
        version_key: &str,
    ) -> Result<VersionRow> {
        let view = self.view(scope, package, Freshness::Usual).await?;
        let decision = view.verdict.version(version_key);
        let Some(decision) = decision.filter(|d| matches!(d.outcome, Outcome::Offered { .. })) else {
            return Err(view.refusal(Some(version_key)));
        };
        let (node, version) = match decision.source {
            Source::Held { node, version } => (node, version),
            Source::Public { node, version } => {
                let (remote, found) = view
                    .remote_version(node, version)
                    .ok_or_else(|| Error::internal("a verdict names a public version that is not there"))?;
                let format = self.format_named(package.format)?;
                let metadata = remote.text(&found.metadata);
                let assets = format.remote_assets(package, &found.version, metadata)?;
                let wanted = assets.iter().map(|asset| self.wanted(scope, &view, decision, &asset.name));
                let wanted: Vec<Wanted> = wanted.collect::<Result<_>>()?;
                let holder = view.repositories[node].row.id.clone();
                // Its documents may be large, and the files long in coming.
                drop(view);
                for wanted in wanted {
                    let (connection, asset) = (wanted.connection.clone(), wanted.file().name.clone());
                    let mut reader = self.fly(wanted, Some(&holder), &scope.caller).await?;
                    reader.done().await.map_err(|f| f.of(&connection, asset.as_str()))?;
                }
                return self.held_row(&holder, package, version_key).await;
            }
        };
        let row = view.held_row(node, version);
        row.cloned().ok_or_else(|| Error::internal("a verdict names a version that is not there"))
    }

    /// The row of a version that a repository holds for sure.
    pub(crate) async fn held_row(
        &self,
        repository: &str,
        package: &PackageName,
        key: &str,
    ) -> Result<VersionRow> {
        let mut session = self.inner.store.read().await?;
        let record = session
            .package(repository, package.format.as_str(), package.namespace_or_empty(), &package.name)
            .await?
            .ok_or_else(|| Error::internal("a fetched package has no record"))?;
        let row = session.package_version(&record.id, key).await?;
        row.ok_or_else(|| Error::internal("a fetched version has no row"))
    }
}

/// The decision on a version that a view offers, or why it does not.
fn offered_in(view: &PackageView, version_key: &str) -> Result<Decision> {
    match view.verdict.version(version_key) {
        Some(decision) if matches!(decision.outcome, Outcome::Offered { .. }) => Ok(decision.clone()),
        Some(_) | None => Err(view.refusal(Some(version_key))),
    }
}

/// What is told of a file that was published here and whose bytes are lost.
fn lost(asset: &AssetRow, row: &VersionRow) -> Error {
    tracing::error!(file = asset.name, version = %row.text, "the bytes of a published file are lost");
    Error::unavailable(format!(
        "the bytes of {} of version {} are lost: the disk or object store of this server damaged them or does not have \
         them any more; publish the same file once more, or restore it from a backup ('weir verify' lists all that is \
         lost)",
        asset.name, row.text
    ))
}

/// Why a version has no such file; of a public one an index that cannot be asked now may know it.
pub(crate) fn absent_asset(view: &PackageView, decision: &Decision, asset: &AssetName) -> Error {
    if let Some(failure) = view.failure.as_ref().filter(|_| view.connection_of(decision).is_some()) {
        return failure.error();
    }
    let version = &decision.text;
    Error::not_found(
        Resource::Asset,
        asset.as_str(),
        format!("{} {}@{version} has no file {asset}", view.package.format, view.display_name),
    )
}
