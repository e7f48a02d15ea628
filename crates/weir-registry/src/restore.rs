//! What a verification does for blobs that versions name and that are not kept: their rows are made again where the
//! bytes are there, they are fetched again where they came from a public registry, and else told by name.

use crate::Registry;
use crate::open::Want;
use crate::scope::Scope;
use crate::scrub::{Finding, LostFile, Scrubber};
use crate::topology::DomainState;
use crate::view::Freshness;
use futures_util::StreamExt as _;
use std::sync::Arc;
use weir_core::verdict::Source;
use weir_core::{AssetName, Caller, Digest, Error, Result};
use weir_store::rows::{BlobRow, BlobState, DomainRow, Id, NamedFile};

/// How many lost files a report names.
const MOST_LOST: usize = 1_000;
/// How many files that are one blob are named.
const MOST_NAMES: usize = 100;

impl Scrubber<'_> {
    /// Looks for blobs that versions name and that are not kept, and brings back what can be.
    pub(crate) async fn restore_all(&self, domains: &[DomainRow]) -> Result<()> {
        for first in 0..=u8::MAX {
            self.check().await?;
            // Of all domains: where there are many, each walk would pass over the files of all others.
            let unkept = self.registry.inner.store.read().await?.unkept_assets(first).await?;
            for (id, digest, size) in unkept {
                let Some(row) = domains.iter().find(|row| row.id == id) else { continue };
                self.check().await?;
                if self.make_row(&id, digest, size).await? {
                    continue;
                }
                let domain = self.registry.domain_state(&row.owner, &row.name).await?;
                // It may have been deleted, and another one made of that name.
                if let Some(domain) = domain.filter(|domain| domain.row.id == id) {
                    self.restore(&domain, digest).await?;
                }
            }
        }
        Ok(())
    }

    /// Makes the row of a blob whose bytes are there; false when they are not.
    async fn make_row(&self, domain: &Id, digest: Digest, size: u64) -> Result<bool> {
        let store = &self.registry.inner.store;
        let row = store.read().await?.blob(domain, &digest).await?;
        match row.map(|row| row.state) {
            // Kept since it was looked for.
            Some(BlobState::Kept) => return Ok(true),
            Some(BlobState::Doomed) => return Ok(false),
            Some(BlobState::Gone) | None => {}
        }
        let expected = BlobRow { digest, size, synced: true, state: BlobState::Kept, unnamed_since: None };
        match self.registry.examine(domain, &expected).await? {
            Finding::Sound => {}
            Finding::Missing | Finding::Rotten => return Ok(false),
        }
        if row.is_some() {
            self.registry.ready_to_name(domain, &[digest]).await?;
        } else {
            let (of, now) = (domain.clone(), self.registry.now());
            let work = store.write(move |session| {
                Box::pin(
                    async move { Ok::<_, Error>(session.doom_unlisted(&of, &[(digest, size)], now).await?) },
                )
            });
            // It is named, so it is kept.
            work.await?;
        }
        self.note(|report| report.rows_made += 1);
        Ok(true)
    }

    /// Fetches a blob again, or tells what is lost with it.
    async fn restore(&self, domain: &Arc<DomainState>, digest: Digest) -> Result<()> {
        let store = &self.registry.inner.store;
        let files = store.read().await?.files_named(&domain.row.id, &digest, MOST_NAMES).await?;
        let mut why = "it was published here, and nobody else has it".to_owned();
        for file in files.iter().filter(|file| file.external) {
            if !self.run.repair {
                why = "'weir verify --repair' fetches it again, and so does the next request".to_owned();
                break;
            }
            match self.registry.fetch_lost(domain, file).await {
                Ok(()) => {
                    let row = store.read().await?.blob(&domain.row.id, &digest).await?;
                    if row.is_some_and(|row| row.state == BlobState::Kept) {
                        self.registry.metrics().blobs_repaired.inc();
                        self.note(|report| report.repaired += 1);
                        return Ok(());
                    }
                    why = "its registry gives other bytes by now".to_owned();
                }
                Err(error) => why = error.to_string(),
            }
        }
        for file in files {
            tracing::error!(domain = %domain.row.name, repository = %file.repository, package = file.package,
                version = file.version, file = file.file, why, "the bytes of a file are lost");
            let lost = LostFile {
                domain: domain.row.name.to_string(),
                repository: file.repository.to_string(),
                format: file.format,
                namespace: Some(file.namespace).filter(|namespace| !namespace.is_empty()),
                package: file.package,
                version: file.version,
                file: file.file,
                sha256: digest.hex(),
                why: why.clone(),
            };
            self.note(|report| {
                report.lost_count += 1;
                if report.lost.len() < MOST_LOST {
                    report.lost.push(lost);
                }
            });
        }
        Ok(())
    }
}

impl Registry {
    /// Fetches a file of a held public version again, on behalf of nobody.
    async fn fetch_lost(&self, domain: &Arc<DomainState>, file: &NamedFile) -> Result<()> {
        let format = self.format(&file.format).ok_or_else(|| Error::internal("no such format"))?;
        let gone = || Error::unavailable("its repository was deleted meanwhile");
        let scope = Scope {
            domain: domain.clone(),
            repository: domain.repository(&file.repository).ok_or_else(gone)?.clone(),
            format: format.name(),
            caller: Caller::Anonymous,
            token: None,
        };
        let namespace = Some(file.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let package = format.parse_name(namespace, &file.package)?;
        let view = self.view_unchecked(&scope, &package, Freshness::Usual).await?;
        let gone = || Error::unavailable("its version was deleted meanwhile");
        let decision = view.verdict.version(&file.key).ok_or_else(gone)?;
        let Source::Held { node, version } = decision.source else { return Err(gone()) };
        let row = view.held_row(node, version).ok_or_else(gone)?;
        // What was made out of a file comes back with that file.
        let names = if file.derived {
            let assets = self.inner.store.read().await?.files_of(std::slice::from_ref(&row.content)).await?;
            let held = assets.into_iter().filter(|asset| asset.is_held());
            held.map(|asset| AssetName::parse(&asset.name)).collect::<Result<Vec<_>>>()?
        } else {
            vec![AssetName::parse(&file.file)?]
        };
        let mut wanted = Vec::new();
        for name in names.iter().filter(|name| !file.derived || format.inspects(name)) {
            let asset = self.held_asset(&row.content, name).await?;
            let state = asset.as_deref().map(|asset| &asset.state);
            let again = self.wanted_again(&scope, &view, decision, row, name, state).await?;
            wanted.push((again, format!("{name} of {}@{}", view.display_name, row.text)));
        }
        // Its documents may be large, and the files long in coming.
        drop(view);
        for (wanted, what) in wanted {
            let opened = self.open_flight(&scope, wanted, &what, Want::Bytes).await?;
            let mut bytes = opened.stream(None);
            while let Some(piece) = bytes.next().await {
                piece.map_err(|error| Error::unavailable(error.to_string()))?;
            }
        }
        Ok(())
    }
}
