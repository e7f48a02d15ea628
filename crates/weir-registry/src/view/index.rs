//! Rendered indexes: from memory while nothing they were made of changed, else made off the async threads. What stands
//! in one is the format's business.

use super::cache::{IndexEntry, IndexKey};
use super::rendered::Rendered;
use super::{Facts, Freshness, PackageView};
use crate::Registry;
use crate::aging::is_past;
use crate::scope::Scope;
use crate::upstream::large::{LARGE, LargeTurn};
use std::io::Write;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
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
        let large = LargeTurn::default();
        let view = self.view_to_render(scope, package, freshness, &large).await?;
        let cached = self.inner.indexes.index(&scope.repository.row.id, package, variant);
        let same = |entry: &IndexEntry| {
            // Whoever asks for the present state is about to change it, and needs what this repository holds.
            let stamps = match freshness {
                Freshness::Now => entry.stamps == view.stamps,
                Freshness::Usual | Freshness::Known => entry.stamps.content == view.stamps.content,
            };
            stamps && entry.fingerprint == view.fingerprint && entry.changes_at.is_none_or(|at| now < at)
        };
        let (rendered, facts) = match cached {
            Some(entry) if same(&entry) => (entry.rendered.clone(), view.facts.clone()),
            Some(_) | None => {
                let (rendered, facts) = self.render(scope, view, &large, variant, render).await?;
                (Arc::new(rendered), facts)
            }
        };
        Ok(IndexEntry {
            rendered,
            stamps: facts.stamps,
            fingerprint: facts.fingerprint,
            fresh_until: facts.fresh_until,
            made_at: facts.made_at,
            changes_at: facts.verdict.changes_at,
            stale_s: facts.stale_s,
        })
    }

    /// Documents are loaded after its turn has come, so that a request that waits holds none; how many bytes they
    /// are is first an estimate. The facts are those that the index was made of.
    async fn render(
        &self,
        scope: &Scope,
        mut view: Arc<PackageView>,
        large: &LargeTurn,
        variant: Variant<'_>,
        render: Render,
    ) -> Result<(Rendered, Arc<Facts>)> {
        let indexes = &self.inner.indexes;
        let mut bytes = view.rough_bytes();
        let (view, turns) = loop {
            if view.verdict.listed().next().is_none() {
                return Err(view.refusal(None));
            }
            // In this order everywhere, or two could wait for each other.
            let mut to_render_large = None;
            if bytes > LARGE {
                (view, to_render_large) = self.turn_for_large(scope, view, large).await?;
                bytes = bytes.max(view.rough_bytes());
            }
            let turn = if bytes > INLINE { indexes.turn().await } else { None };
            let most = [INLINE, LARGE].into_iter().find(|most| bytes <= *most).unwrap_or(usize::MAX);
            match self.with_metadata_within(&view, most).await? {
                Some(view) => break (view, (large.take(), to_render_large, turn)),
                // More than was thought: it waits for another turn, without documents and without this one.
                None => bytes = most.saturating_add(1),
            }
        };
        let facts = view.facts.clone();
        let bytes = view.rough_bytes();
        self.metrics().index_renders.inc();
        let packers = indexes.packers.clone();
        if bytes <= INLINE {
            let rendered = packers.pack(variant.content_type, |out| render(&view, variant, out))?;
            return Ok((rendered, facts));
        }
        let (large, to_render_large, turn) = turns;
        let to_render_large = to_render_large.filter(|_| bytes > LARGE);
        let (content_type, base) = (variant.content_type, variant.base.to_owned());
        // Held until it is done, also when nobody waits for it any more.
        let make = move || {
            let _held = (large, to_render_large, turn);
            let variant = Variant { content_type, base: &base };
            packers.pack(content_type, |out| render(&view, variant, out))
        };
        let rendered = tokio::task::spawn_blocking(make).await.map_err(Error::internal)??;
        Ok((rendered, facts))
    }

    /// Waits for a turn to render a large index. Unless its public documents are among the few that may be in memory,
    /// they are let go meanwhile, and read again.
    async fn turn_for_large(
        &self,
        scope: &Scope,
        view: Arc<PackageView>,
        large: &LargeTurn,
    ) -> Result<(Arc<PackageView>, Option<OwnedSemaphorePermit>)> {
        let indexes = &self.inner.indexes;
        if let Some(turn) = indexes.turn_for_large_now() {
            return Ok((view, Some(turn)));
        }
        if large.is_held() || view.public_bytes() == 0 {
            return Ok((view, indexes.turn_for_large().await));
        }
        let facts = view.facts.clone();
        drop(view);
        let turn = indexes.turn_for_large().await;
        // Nobody is asked now, for whom another might be waiting that waits for this turn.
        let read = LargeTurn::of_renderer();
        let again = self.view_to_render(scope, &facts.package, Freshness::Known, &read).await?;
        if again.fingerprint == facts.fingerprint {
            return Ok((again, turn));
        }
        // It is another by now, or could not be kept.
        drop((again, turn));
        let view = self.view_to_render(scope, &facts.package, Freshness::Usual, large).await?;
        let turn = indexes.turn_for_large().await;
        Ok((view, turn))
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
