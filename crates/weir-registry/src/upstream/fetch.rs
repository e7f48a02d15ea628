//! A file of a public version: fetched once for all who wait, verified, kept, and its rows committed before
//! anybody gets its last bytes.

use super::Connection;
use super::arrival::{Arrived, Limits, digests_of, receive, too_large};
use super::client::{FetchError, Kind, accept};
use super::flight::{Download, FlightKey, FlightReader, Progress};
use super::large::LargeTurn;
use crate::Registry;
use crate::change::Outdated;
use crate::format::{Description, FetchedFile, Format, Inspection, RemoteAsset};
use crate::keep::{held_blobs, name_blobs};
use crate::limits::Place;
use crate::retain::{Context, revision};
use crate::topology::{DomainState, RepositoryState, lock};
use futures_util::FutureExt as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use weir_core::digest::{Digests, Expected};
use weir_core::{
    AssetName, Caller, ConnectionName, Controls, Digest, Error, Flags, Origin, PackageName, PublishTime,
    Result, Version, VersionStatus,
};
use weir_store::rows::{AssetRow, AssetState, ContentRow, Id, VersionRow};
use weir_store::{BlobKey, Durability, Session};

/// How long a file that was begun for a HEAD waits for somebody who wants its bytes; then they go. A HEAD
/// retains nothing, and whoever sends one mostly comes again.
const UNASKED: Duration = Duration::from_secs(30);

/// A file of a public version, and the version it belongs to.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) domain: Arc<DomainState>,
    /// The repository whose connection leads to it.
    pub(crate) holder: Arc<RepositoryState>,
    pub(crate) connection: ConnectionName,
    pub(crate) package: PackageName,
    pub(crate) version: Version,
    /// The format's document of the version.
    pub(crate) metadata: String,
    pub(crate) description: Description,
    pub(crate) parser: i64,
    pub(crate) flags: Flags,
    pub(crate) publish_time: PublishTime,
    /// All files of the version; `asset` is one of them.
    pub(crate) assets: Vec<RemoteAsset>,
    pub(crate) asset: usize,
}

impl Wanted {
    pub(crate) fn file(&self) -> &RemoteAsset {
        &self.assets[self.asset]
    }

    /// What the version is told to be, with what reading the file told.
    fn told(&self, format: &dyn Format, inspection: Option<&Inspection>) -> (String, Description) {
        let Some(inspection) = inspection else { return (self.metadata.clone(), self.description.clone()) };
        let told = format.describe(&self.package, &inspection.metadata);
        let readme = told.readme.or_else(|| inspection.readme.clone());
        (inspection.metadata.clone(), Description { readme, ..told })
    }

    pub(super) fn coordinate(&self) -> String {
        let package = &self.package;
        format!(
            "{}/{}/{}/{}/{}",
            package.format,
            package.namespace_or_empty(),
            package.name,
            self.version.key(),
            self.file().name
        )
    }
}

impl Registry {
    /// Joins or starts the download of a file; `asked` gets a row when it is done. Without anybody who asks for
    /// a row, none is written. Who starts it has it counted.
    pub(crate) async fn fly(
        &self,
        wanted: Wanted,
        asked: Option<&Id>,
        caller: &Caller,
    ) -> Result<FlightReader> {
        let connection = self.upstream_connection(&wanted.connection).await?;
        let key: FlightKey =
            (wanted.domain.row.id.clone(), wanted.connection.to_string(), wanted.coordinate());
        // Whoever asked gets a row, and so does the repository whose connection leads there.
        let wants: Vec<&Id> = asked.map_or_else(Vec::new, |asked| vec![&wanted.holder.row.id, asked]);
        loop {
            let (download, mine) = self.inner.upstream.flights.join(&key);
            let mut reader = FlightReader::new(download.clone());
            let registered = wants.is_empty() || download.register(&wants);
            if mine {
                // Set once, by the one who starts it.
                let _ = download.holder.set(wanted.holder.row.id.clone());
                self.start(wanted, connection, download, caller);
                return Ok(reader);
            }
            if registered {
                return Ok(reader);
            }
            // Its rows were just written without ours: wait for the end and retain it as a held version.
            if reader.done().await.is_ok() {
                let holder = download.holder.get().unwrap_or(&wanted.holder.row.id);
                let row = self.held_row(holder, &wanted.package, wanted.version.key()).await?;
                for repository in wants.iter().filter_map(|id| wanted.domain.repository_by_id(id)) {
                    self.retain_held(&wanted.domain, repository, &wanted.package, &row).await?;
                }
                return Ok(reader);
            }
        }
    }

    /// Starts a download in a task of its own, so that a client that leaves early does not stop it.
    fn start(&self, wanted: Wanted, connection: Arc<Connection>, download: Arc<Download>, caller: &Caller) {
        let place = match self.place_for_download(caller) {
            Ok(place) => place,
            Err(full) => {
                lock(&download.interested).take();
                download.progress.send_replace(Progress::Failed(full));
                return;
            }
        };
        let registry = self.clone();
        tokio::spawn(async move {
            registry.download(wanted, connection, &download).await;
            drop(place);
        });
    }

    /// A place among those of the caller, and among all.
    fn place_for_download(
        &self,
        caller: &Caller,
    ) -> Result<(Option<Place>, OwnedSemaphorePermit), FetchError> {
        let own = self
            .fetch_place(caller)
            .map_err(|(retry_after, why)| FetchError::Throttled { retry_after, why })?;
        let all = self.inner.upstream.downloads.clone().try_acquire_owned().map_err(|_| {
            let most = self.inner.settings.max_fetches;
            FetchError::unavailable(format!("{most} files are being fetched already (max-fetches)"))
        })?;
        Ok((own, all))
    }

    async fn download(&self, wanted: Wanted, connection: Arc<Connection>, download: &Download) {
        // A panic must not leave readers waiting for ever.
        let fetched = AssertUnwindSafe(self.fetch_file(&wanted, &connection, download)).catch_unwind().await;
        let fetched = fetched
            .unwrap_or_else(|_| Err(FetchError::unavailable("this server failed while it fetched the file")));
        let end = match fetched {
            Ok((size, digest)) => {
                self.metrics().files_fetched.inc();
                self.metrics().bytes_fetched.inc_by(size);
                Progress::Done { size, digest }
            }
            Err(failure) => {
                if let FetchError::Bad(why) = &failure {
                    self.metrics().files_refused.inc();
                    tracing::error!(connection = %wanted.connection, package = %wanted.package,
                        version = %wanted.version, why, "refused a file of a public registry");
                }
                Progress::Failed(failure)
            }
        };
        lock(&download.interested).take();
        download.progress.send_replace(end);
    }

    async fn fetch_file(
        &self,
        wanted: &Wanted,
        connection: &Arc<Connection>,
        download: &Download,
    ) -> Result<(u64, Digest), FetchError> {
        let file = wanted.file();
        let (mut incoming, lease) = self.incoming(wanted, connection).await?;
        let announced = incoming.announced();
        if let (Some(announced), Some(promised)) = (announced, file.expected.size)
            && announced != promised
        {
            return Err(FetchError::Bad(format!(
                "{announced} bytes are announced where {promised} were promised"
            )));
        }
        let most = self.inner.settings.max_asset_bytes;
        let size = announced.or(file.expected.size);
        if size.is_some_and(|size| size > most) {
            return Err(too_large(most));
        }
        download.progress.send_replace(Progress::Running { written: 0, size });
        let limits = Limits { most, promised: size };
        let arrived = receive(&mut incoming, download, self.inner.store.spool(), size, limits).await?;
        if let Some(announced) = announced
            && announced != arrived.size()
        {
            return Err(FetchError::unavailable(format!(
                "{} bytes came of {announced} announced",
                arrived.size()
            )));
        }
        self.verify(wanted, &file.expected, &arrived).await?;
        drop(incoming);
        // Another node that has somebody who wants the bytes must not wait for one to come here.
        let lease = lease.filter(|_| download.is_wanted());
        if !download.wanted_within(UNASKED).await {
            return Err(FetchError::unavailable("only its headers were asked for"));
        }
        let (size, digest) = (arrived.size(), arrived.digests().sha256);
        let inspection = self.inspect(wanted, &arrived).await.map_err(ours)?;
        if let Arrived::InMemory { bytes, .. } = &arrived {
            download.gathered(bytes.clone());
        }
        self.keep_fetched(wanted, arrived, inspection, download).await.map_err(ours)?;
        drop(lease);
        if self.inner.settings.retain_whole_version {
            self.fetch_the_rest(wanted);
        }
        Ok((size, digest))
    }

    /// What the file itself tells, where its format reads such files. One that cannot be read is kept all the
    /// same: it is what its index promised.
    async fn inspect(&self, wanted: &Wanted, arrived: &Arrived) -> Result<Option<Inspection>> {
        let format = self.format_named(wanted.package.format)?;
        let file = wanted.file();
        if !format.inspects(&file.name) {
            return Ok(None);
        }
        let (mut reader, size, digests) = (arrived.reader()?, arrived.size(), arrived.digests().clone());
        let (package, version) = (wanted.package.clone(), wanted.version.clone());
        let (metadata, asset) = (wanted.metadata.clone(), file.name.clone());
        let inspected = tokio::task::spawn_blocking(move || {
            format.inspect(FetchedFile {
                package: &package,
                version: &version,
                metadata: &metadata,
                asset: &asset,
                size,
                digests: &digests,
                file: &mut *reader,
            })
        });
        match inspected.await.map_err(Error::internal)? {
            Ok(inspection) => Ok(inspection),
            Err(error) => {
                tracing::warn!(connection = %wanted.connection, file = %file.name, %error,
                    "a file of a public registry cannot be read");
                Ok(None)
            }
        }
    }

    /// `retain-whole-version`: the other files of the version are fetched too, in the background.
    fn fetch_the_rest(&self, wanted: &Wanted) {
        for asset in (0..wanted.assets.len()).filter(|asset| *asset != wanted.asset) {
            let (registry, other) = (self.clone(), Wanted { asset, ..wanted.clone() });
            tokio::spawn(async move {
                let holder = other.holder.row.id.clone();
                let held = registry.held_row(&holder, &other.package, other.version.key()).await;
                let name = AssetName::parse(other.file().name.as_str());
                let (Ok(row), Ok(name)) = (held, name) else { return };
                let here = registry.held_asset(&row.content, &name).await;
                if !here.is_ok_and(|asset| asset.is_some_and(|asset| asset.is_held()))
                    && let Err(error) = registry.fly(other, Some(&holder), &Caller::Anonymous).await
                {
                    tracing::warn!(%error, "a file of a retained version could not be fetched");
                }
            });
        }
    }

    /// Compares with what the index promised, or with the digest that was seen first.
    async fn verify(
        &self,
        wanted: &Wanted,
        expected: &Expected,
        arrived: &Arrived,
    ) -> Result<(), FetchError> {
        if let Some(mismatch) = expected.mismatch(arrived.digests(), arrived.size()) {
            return Err(FetchError::Bad(mismatch));
        }
        if expected.has_digest() {
            return Ok(());
        }
        let (domain, connection) = (wanted.domain.row.id.clone(), wanted.connection.clone());
        let (coordinate, digest, now) = (wanted.coordinate(), arrived.digests().sha256, self.now());
        let pinned = self
            .inner
            .store
            .write(move |session| {
                Box::pin(async move {
                    Ok::<_, Error>(session.put_pin(&domain, &connection, &coordinate, &digest, now).await?)
                })
            })
            .await
            .map_err(ours)?;
        if pinned == digest {
            return Ok(());
        }
        Err(FetchError::Bad(format!(
            "SHA-256 is {digest} where {pinned} was seen first; if the change is right: weir connections unpin {} {}",
            wanted.connection, wanted.package
        )))
    }

    /// Keeps the bytes and commits the rows of the holder and of all who asked so far.
    async fn keep_fetched(
        &self,
        wanted: &Wanted,
        arrived: Arrived,
        mut inspection: Option<Inspection>,
        download: &Download,
    ) -> Result<()> {
        let (store, domain) = (&self.inner.store, &wanted.domain.row.id);
        let mut files = vec![held_row(&wanted.file().name, arrived.size(), arrived.digests().clone(), false)];
        let mut in_memory = Vec::new();
        let key = BlobKey::Asset { domain: domain.clone(), digest: arrived.digests().sha256 };
        match arrived {
            Arrived::InMemory { bytes, .. } => in_memory.push((key, bytes)),
            Arrived::Spooled(spooled) => store.blobs().keep(&key, spooled, Durability::Later).await?,
        }
        let derived = inspection.as_mut().map(|i| std::mem::take(&mut i.derived)).unwrap_or_default();
        for (name, bytes) in derived {
            let digests = digests_of(&bytes);
            let key = BlobKey::Asset { domain: domain.clone(), digest: digests.sha256 };
            files.push(held_row(&name, bytes.len() as u64, digests, true));
            in_memory.push((key, bytes));
        }
        if !in_memory.is_empty() {
            store.blobs().keep_bytes(store.spool(), in_memory, Durability::Later).await?;
        }
        let kept = Kept { files, inspection };
        let digests: Vec<Digest> = held_blobs(&kept.files).into_iter().map(|(digest, _)| digest).collect();
        self.ready_to_name(&wanted.domain.row.id, &digests).await?;
        loop {
            let batch = {
                let mut interested = lock(&download.interested);
                match &mut *interested {
                    Some(list) => std::mem::take(list),
                    None => Vec::new(),
                }
            };
            self.commit_fetched(wanted, &kept, &batch).await?;
            let mut interested = lock(&download.interested);
            // Whoever came during the commit gets a row too; then the list is closed.
            if interested.as_ref().is_none_or(Vec::is_empty) {
                *interested = None;
                return Ok(());
            }
        }
    }

    async fn commit_fetched(&self, wanted: &Wanted, kept: &Kept, asked: &[Id]) -> Result<()> {
        let format = self.format_named(wanted.package.format)?;
        let context = Context::new(self, &wanted.domain.row, &wanted.package);
        let holder = wanted.holder.row.clone();
        let others: Vec<_> = asked
            .iter()
            .filter(|id| **id != holder.id)
            .filter_map(|id| wanted.domain.repository_by_id(id))
            .map(|repository| repository.row.clone())
            .collect();
        let others_of_version = wanted.assets.iter().enumerate().filter(|(place, _)| *place != wanted.asset);
        let promised = others_of_version.map(|(_, asset)| AssetRow {
            content: "".into(),
            name: asset.name.to_string(),
            state: AssetState::Promised { expected: asset.expected.clone(), url: asset.url.clone() },
            derived: false,
        });
        let promised: Vec<AssetRow> = promised.collect();
        let inspected = kept.inspection.as_ref();
        let (metadata, description) = wanted.told(format, inspected);
        // What its registry did not give as promised is told by the file itself from now on.
        let was_withdrawn = !self.inner.upstream.withdrawn.of(&wanted.domain.row.id, self.now()).is_empty();
        let changes_index = inspected.is_some_and(|inspection| inspection.changes_index || was_withdrawn);
        let held = kept.files.clone();
        let revision = revision(&metadata, held.iter().filter_map(held_digests));
        let content = ContentRow {
            id: context.new_id(),
            domain: context.domain.id.clone(),
            metadata,
            description: serde_json::to_string(&description).map_err(Error::internal)?,
            parser: wanted.parser,
            created_at: context.at,
        };
        let fetched = Fetched { content, held, promised, format, package: wanted.package.clone() };
        let version = VersionRow {
            id: context.new_id(),
            package: "".into(),
            content: fetched.content.id.clone(),
            key: wanted.version.key().clone(),
            text: wanted.version.as_str().into(),
            status: if wanted.flags.unlisted { VersionStatus::Unlisted } else { VersionStatus::Published },
            revision,
            origin: Origin::External { connection: wanted.connection.clone() },
            flags: wanted.flags.clone(),
            publish_time: wanted.publish_time,
            published_at: context.at,
            updated_at: context.at,
        };
        let count = wanted.assets.len();
        let (domain_id, package) = (context.domain.id.clone(), context.package.clone());
        let outdated = match changes_index {
            true => Outdated::Content(domain_id, package),
            false => Outdated::Holdings(domain_id, package),
        };
        let rows = others.len() as u64;
        let synced = self.inner.store.blobs().is_safe_when_kept();
        // What was fetched can be fetched again after a power cut.
        self.change_for(Durability::Later, outdated, move |session| {
            Box::pin(async move {
                name_blobs(session, &context.domain.id, &fetched.held, synced, context.at).await?;
                let (record, is_new) = context.record_of(session, &holder.id).await?;
                let held = match is_new {
                    true => None,
                    false => session.package_version(&record.id, &version.key).await?,
                };
                let original = match held {
                    Some(original)
                        if original.origin != version.origin || !original.status.is_downloadable() =>
                    {
                        return Err(Error::unavailable(
                            "the version was changed here while its file was on the way; ask again",
                        ));
                    }
                    Some(original) => {
                        fetched.add_to(session, &original.content).await?;
                        original
                    }
                    None => {
                        fetched.insert(session).await?;
                        let version = VersionRow { package: record.id.clone(), ..version };
                        context
                            .add_version(session, &holder, &record, &version, Controls::INGESTED, count)
                            .await?;
                        version
                    }
                };
                for repository in &others {
                    if context.retain(session, repository, &original, count).await? {
                        continue;
                    }
                    // It may hold the version with a content of its own, when the holder's was deleted since.
                    let record = context.ensure_record(session, &repository.id).await?;
                    if let Some(own) = session.package_version(&record.id, &original.key).await?
                        && own.content != original.content
                        && own.origin == original.origin
                    {
                        fetched.add_to(session, &own.content).await?;
                    }
                }
                Ok::<_, Error>(())
            })
        })
        .await?;
        self.metrics().versions_retained.inc_by(rows + 1);
        Ok(())
    }

    /// Asks the registry behind a connection, with a body (its media type and bytes) or without; `None` when
    /// it answers 404.
    pub(crate) async fn ask_connection(
        &self,
        connection: &ConnectionName,
        path: &str,
        body: Option<(&str, bytes::Bytes)>,
    ) -> Result<Option<bytes::Bytes>> {
        const MOST: u64 = 32 * 1024 * 1024;
        let target = self.upstream_connection(connection).await?;
        let mut headers = accept("application/json");
        let method = if body.is_some() { Method::POST } else { Method::GET };
        if let Some(value) = body.as_ref().and_then(|(content_type, _)| content_type.parse().ok()) {
            headers.insert(CONTENT_TYPE, value);
        }
        let asked = "an answer";
        let body = body.map(|(_, bytes)| bytes);
        let large = LargeTurn::default();
        let receiver = target.receiver(self, &large);
        let ask = || async {
            let (method, headers, body) = (method.clone(), headers.clone(), body.clone());
            let answer = target.request(self, method, path, Kind::Document, headers, body).await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(Some(None));
            }
            let document = answer.document(MOST, receiver).await?;
            Ok(document.map(|(body, _)| Some(body)))
        };
        receiver.ask(ask).await.map_err(|failure| failure.of(connection, asked))
    }
}

/// A fetched file and what was made out of it, in the blob store.
struct Kept {
    /// The file itself is the first.
    files: Vec<AssetRow>,
    inspection: Option<Inspection>,
}

/// What one transaction writes of the version that a fetched file belongs to.
struct Fetched {
    /// For a version that nobody held.
    content: ContentRow,
    held: Vec<AssetRow>,
    promised: Vec<AssetRow>,
    format: &'static dyn Format,
    package: PackageName,
}

impl Fetched {
    async fn insert(&self, session: &mut Session) -> Result<()> {
        let assets = self.held.iter().chain(&self.promised);
        let assets: Vec<AssetRow> =
            assets.map(|asset| AssetRow { content: self.content.id.clone(), ..asset.clone() }).collect();
        Ok(session.insert_content(&self.content, &assets).await?)
    }

    /// Adds the file to a version that is held; where its format's versions get files later, also the others
    /// that its registry lists by now.
    async fn add_to(&self, session: &mut Session, content: &Id) -> Result<()> {
        for asset in &self.held {
            session.put_asset(&AssetRow { content: content.clone(), ..asset.clone() }).await?;
        }
        if !self.format.follows_new_files() {
            return Ok(());
        }
        let gone = || Error::internal(format!("content {content} is gone"));
        let old = session.content(content).await?.ok_or_else(gone)?;
        let metadata = self.format.merge_metadata(&old.metadata, &self.content.metadata)?;
        if metadata == old.metadata {
            return Ok(());
        }
        let told: Description = serde_json::from_str(&old.description).map_err(Error::internal)?;
        let new: Description = serde_json::from_str(&self.content.description).map_err(Error::internal)?;
        let readme = told.readme.or(new.readme);
        let description = Description { readme, ..self.format.describe(&self.package, &metadata) };
        let description = serde_json::to_string(&description).map_err(Error::internal)?;
        session.set_content_metadata(content, &metadata, &description).await?;
        let known = session.assets_of(std::slice::from_ref(content)).await?;
        for asset in &self.promised {
            if !known.iter().any(|other| other.name == asset.name) {
                session.put_asset(&AssetRow { content: content.clone(), ..asset.clone() }).await?;
            }
        }
        Ok(())
    }
}

/// The row of a file that is held; its content is known later.
fn held_row(name: &AssetName, size: u64, digests: Digests, derived: bool) -> AssetRow {
    let state = AssetState::Held { size, digests };
    AssetRow { content: "".into(), name: name.to_string(), state, derived }
}

fn held_digests(asset: &AssetRow) -> Option<(String, Digests)> {
    match &asset.state {
        AssetState::Held { digests, .. } => Some((asset.name.clone(), digests.clone())),
        AssetState::Promised { .. } | AssetState::Evicted { .. } => None,
    }
}

/// A failure of the disk or database, while a public registry's file was on its way.
pub(super) fn ours(error: impl std::fmt::Display) -> FetchError {
    tracing::error!(%error, "a fetched file could not be kept");
    FetchError::Ours
}
