//! Rendered indexes: from memory while nothing they were made of changed, else made off the async threads. What stands
//! in one is the format's business.

use super::cache::{IndexEntry, IndexKey, LARGE};
use super::rendered::Rendered;
use super::{Freshness, PackageView};
use crate::Registry;
use crate::aging::is_past;
use crate::scope::Scope;
use std::io::Write;
use std::sync::Arc;
use weir_core::{Action, Error, PackageName, Result};

/// Indexes made from up to this many bytes are made where they are asked for: a way to another thread and back
/// would take longer.
const INLINE: usize = 16 << 10;

/// Which representation of a package's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant<'a> {
    /// Its media type.
    pub content_type: &'static str,
    /// The repository's address, as the client sees it; ends in `/`.
    pub base: &'a str,
}

/// Writes the index of a view that has its documents. It is called off the async threads.
pub type Render = fn(&PackageView, Variant<'_>, &mut dyn Write) -> Result<()>;

/// An index document with what the answer must say of it.
#[derive(Debug, Clone)]
pub struct Index {
    /// The document.
    pub rendered: Arc<Rendered>,
    /// `X-Weir-Stale`: how old the oldest unconfirmed public index is, in seconds.
    pub stale_s: Option<i64>,
}

impl Registry {
    /// The rendered index of a package: from memory while nothing it was made of changed, else made by `render`.
    /// NotFound when nothing is listed; when a public registry might list it and does not answer, that error.
    pub async fn index(
        &self,
        scope: &Scope,
        package: &PackageName,
        variant: Variant<'_>,
        freshness: Freshness,
        render: Render,
    ) -> Result<Index> {
        self.authorize_scope(scope, Action::ReadFromRepository)?;
        let (domain, repository) = (&scope.domain.row.id, &scope.repository.row.id);
        let indexes = &self.inner.indexes;
        if freshness == Freshness::Usual
            && let Some(entry) = indexes.index(repository, package, variant)
            && entry.stamps.content == self.inner.generations.content(domain, package)
            && entry.fresh_until.is_none_or(|until| {
                let now = self.now();
                is_past(entry.made_at, now) && now < until
            })
        {
            self.metrics().index_hits.inc();
            return Ok(Index { rendered: entry.rendered.clone(), stale_s: entry.stale_s });
        }
        let key = IndexKey::of(repository, package, variant);
        let turn = indexes.making.of(&key);
        let mine = turn.take().await?;
        if mine.waited
            && let Some(entry) = indexes.index(repository, package, variant)
            && entry.stamps.content == self.inner.generations.content(domain, package)
        {
            return Ok(Index { rendered: entry.rendered.clone(), stale_s: entry.stale_s });
        }
        let made = self.make_index(scope, package, variant, freshness, render).await;
        mine.end(made.map(|entry| {
            let index = Index { rendered: entry.rendered.clone(), stale_s: entry.stale_s };
            indexes.put_index(key, entry);
            index
        }))
    }

    /// Makes an index, or confirms that the one in memory still holds.
    async fn make_index(
        &self,
        scope: &Scope,
        package: &PackageName,
        variant: Variant<'_>,
        freshness: Freshness,
        render: Render,
    ) -> Result<IndexEntry> {
        let now = self.now();
        let view = self.view(scope, package, freshness).await?;
        let cached = self.inner.indexes.index(&scope.repository.row.id, package, variant);
        let same = |entry: &IndexEntry| {
            // Whoever asks for the present state is about to change it, and needs what this repository holds.
            let stamps = match freshness {
                Freshness::Now => entry.stamps == view.stamps,
                Freshness::Usual | Freshness::Known => entry.stamps.content == view.stamps.content,
            };
            stamps && entry.fingerprint == view.fingerprint && entry.changes_at.is_none_or(|at| now < at)
        };
        let rendered = match cached {
            Some(entry) if same(&entry) => entry.rendered.clone(),
            Some(_) | None => {
                if view.verdict.listed().next().is_none() {
                    return Err(view.refusal(None));
                }
                Arc::new(self.render(&view, variant, render).await?)
            }
        };
        Ok(IndexEntry {
            rendered,
            stamps: view.stamps,
            fingerprint: view.fingerprint,
            fresh_until: view.fresh_until,
            made_at: view.made_at,
            changes_at: view.verdict.changes_at,
            stale_s: view.stale_s,
        })
    }

    /// Documents are loaded after its turn has come, so that a request that waits holds none; how many bytes they
    /// are is first an estimate.
    async fn render(&self, view: &PackageView, variant: Variant<'_>, render: Render) -> Result<Rendered> {
        let indexes = &self.inner.indexes;
        let mut bytes = view.rough_bytes();
        let (view, large, turn) = loop {
            // In this order everywhere, or two could wait for each other.
            let large = indexes.turn_for_large(bytes).await;
            let turn = if bytes > INLINE { indexes.turn().await } else { None };
            let most = [INLINE, LARGE].into_iter().find(|most| bytes <= *most).unwrap_or(usize::MAX);
            match self.with_metadata_within(view, most).await? {
                Some(view) => break (view, large, turn),
                // More than was thought: it waits for another turn, without documents and without this one.
                None => bytes = most.saturating_add(1),
            }
        };
        let bytes = view.rough_bytes();
        let large = large.filter(|_| bytes > LARGE);
        self.metrics().index_renders.inc();
        let packers = indexes.packers.clone();
        if bytes <= INLINE {
            return packers.pack(variant.content_type, |out| render(&view, variant, out));
        }
        let (content_type, base) = (variant.content_type, variant.base.to_owned());
        // Held until it is done, also when nobody waits for it any more.
        let make = move || {
            let _held = (large, turn);
            let variant = Variant { content_type, base: &base };
            packers.pack(content_type, |out| render(&view, variant, out))
        };
        tokio::task::spawn_blocking(make).await.map_err(Error::internal)?
    }
}

impl PackageView {
    /// About how many bytes an index is made from.
    fn rough_bytes(&self) -> usize {
        let held: usize = match self.metadata.len() {
            0 => self.records.iter().flatten().map(|(_, versions)| versions.len() * USUAL).sum(),
            _ => self.metadata.values().map(String::len).sum(),
        };
        self.public_bytes() + held
    }

    /// Bytes of the public indexes among them.
    pub(super) fn public_bytes(&self) -> usize {
        self.remotes.values().map(|remote| remote.document.len()).sum()
    }
}

/// About what the document of a held version takes.
const USUAL: usize = 2 << 10;
