//! Makes a view: what the repositories of the chain hold, what public indexes offer, and the verdict.

use super::cache::Stamps;
use super::{Facts, Failure, Following, Freshness, PackageView};
use crate::Registry;
use crate::format::{Format, RemotePackage, RemoteVersion};
use crate::scope::Scope;
use crate::upstream::known::KnownIndex as Known;
use crate::upstream::large::LargeTurn;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use weir_core::path::{HeldVersion, Node, Record, Stop, search_path};
use weir_core::verdict::{KnownIndex, Outcome, PublicIndex, PublicVersion, Source, VersionOrder, decide};
use weir_core::{Digest, Error, Origin, PackageName, PublishTime, Result, TimeSource, Timestamp};
use weir_store::rows::{AssetRow, Id, PackageRow, VersionRow};

/// Documents of so many held versions are read at a time: as rows they are in memory once more.
const AT_ONCE: usize = 256;

type HeldRecord = (PackageRow, Vec<VersionRow>);

impl Registry {
    pub(super) async fn load_view(
        &self,
        scope: &Scope,
        package: &PackageName,
        freshness: Freshness,
        stamps: Stamps,
        large: &LargeTurn,
    ) -> Result<PackageView> {
        let format = self.format_named(package.format)?;
        let graph = if format.has_upstreams() {
            scope.domain.graph(&scope.repository)
        } else {
            vec![(scope.repository.clone(), Vec::new())]
        };
        let (records, tags) = self.held_records(&graph, package).await?;
        let mut nodes = Vec::with_capacity(graph.len());
        let mut repositories = Vec::with_capacity(graph.len());
        for ((repository, upstreams), held) in graph.into_iter().zip(&records) {
            nodes.push(Node {
                repository: repository.row.name.clone(),
                upstreams,
                connection: self.connection_for(&repository, package.format).cloned(),
                record: held.as_ref().map(|held| record_of(held, &tags)),
            });
            repositories.push(repository);
        }
        let rules = self.inner.settings.rules;
        let path = search_path(&nodes, 0, &rules);
        let connections = path.stops.iter().filter_map(|stop| match *stop {
            Stop::Connection(node) => Some((node, nodes[node].connection.as_ref()?)),
            Stop::Held(_) => None,
        });
        let connections: Vec<_> = connections.collect();
        let is_only = connections.len() == 1;
        let mut asked = Vec::new();
        for (node, connection) in connections {
            let domain = &scope.domain.row.id;
            asked.push(async move {
                // The one of several must not keep a turn while the others wait for theirs.
                let own = LargeTurn::default();
                let large = if is_only || large.is_held() { large } else { &own };
                (node, self.public_index(domain, connection, format, package, freshness, large).await)
            });
        }
        let answers = futures_util::future::join_all(asked).await;
        let now = self.now();
        let mut offers = Offers::default();
        for (node, answer) in answers {
            offers.add(node, answer, now)?;
        }
        let verdict = decide(&nodes, path, &offers.indexes, &rules, now, &FormatOrder(format));
        let fresh_until = match (offers.fresh_until, verdict.changes_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let following = if format.follows_new_files() {
            Following::of(&nodes, &verdict, &offers.remotes)
        } else {
            Following::default()
        };
        let facts = Facts {
            following,
            package: package.clone(),
            display_name: format.display_name(package),
            nodes,
            records,
            repositories,
            verdict,
            failure: offers.failure,
            fingerprint: Digest::of(&offers.fingerprint),
            stamps,
            stale_s: offers.stale_since.map(|since| now.as_second() - since.as_second()),
            fresh_until,
            made_at: now,
            follows_new_files: format.follows_new_files(),
            withdrawn: self.inner.upstream.withdrawn.of(&scope.domain.row.id, now),
        };
        Ok(PackageView::of(Arc::new(facts), offers.remotes))
    }

    async fn held_records(
        &self,
        graph: &[(Arc<crate::topology::RepositoryState>, Vec<usize>)],
        package: &PackageName,
    ) -> Result<(Vec<Option<HeldRecord>>, Vec<(Id, String, String)>)> {
        let ids: Vec<Id> = graph.iter().map(|(repository, _)| repository.row.id.clone()).collect();
        let mut session = self.inner.store.read().await?;
        let rows = session
            .packages_named(&ids, package.format.as_str(), package.namespace_or_empty(), &package.name)
            .await?;
        let package_ids: Vec<Id> = rows.iter().map(|row| row.id.clone()).collect();
        if package_ids.is_empty() {
            return Ok((vec![None; ids.len()], Vec::new()));
        }
        let versions = session.versions_of(&package_ids).await?;
        let tags = session.tags_of(&package_ids).await?;
        drop(session);
        let mut by_package: HashMap<Id, Vec<VersionRow>> = HashMap::new();
        for version in versions {
            by_package.entry(version.package.clone()).or_default().push(version);
        }
        let mut by_repository: HashMap<Id, HeldRecord> = rows
            .into_iter()
            .map(|row| {
                let versions = by_package.remove(&row.id).unwrap_or_default();
                (row.repository.clone(), (row, versions))
            })
            .collect();
        Ok((ids.iter().map(|id| by_repository.remove(id)).collect(), tags))
    }

    /// The view with the documents of all held versions that it offers.
    pub(super) async fn with_metadata(&self, view: &PackageView) -> Result<PackageView> {
        let loaded = self.with_metadata_within(view, usize::MAX).await?;
        loaded.ok_or_else(|| Error::internal("the documents of a package take more than all memory"))
    }

    /// The same, unless all it is made from takes more than so many bytes: then what was read is let go.
    pub(super) async fn with_metadata_within(
        &self,
        view: &PackageView,
        most_bytes: usize,
    ) -> Result<Option<PackageView>> {
        let mut wanted: Vec<Id> = Vec::new();
        let mut following: Vec<Id> = Vec::new();
        for decision in &view.verdict.versions {
            if let (Source::Held { node, version }, Outcome::Offered { .. }) =
                (decision.source, &decision.outcome)
                && let Some(row) = view.held_row(node, version)
            {
                wanted.push(row.content.clone());
                if matches!(row.origin, Origin::External { .. }) && view.follows_new_files {
                    following.push(row.content.clone());
                }
            }
        }
        let mut view = view.clone();
        let mut bytes = view.public_bytes();
        if !wanted.is_empty() {
            let mut session = self.inner.store.read().await?;
            view.metadata.reserve(wanted.len());
            for some in wanted.chunks(AT_ONCE) {
                let documents = session.contents_metadata(some).await?;
                bytes += documents.iter().map(|(_, document)| document.len()).sum::<usize>();
                if bytes > most_bytes {
                    return Ok(None);
                }
                view.metadata.extend(documents);
            }
            view.files_here = following.iter().map(|content| (content.clone(), HashSet::new())).collect();
            for asset in session.assets_of(&following).await?.into_iter().filter(AssetRow::is_held) {
                view.files_here.entry(asset.content).or_default().insert(asset.name);
            }
        }
        Ok((bytes <= most_bytes).then_some(view))
    }
}

/// What the public registries on a path said.
#[derive(Default)]
struct Offers {
    indexes: BTreeMap<usize, PublicIndex>,
    remotes: BTreeMap<usize, Arc<RemotePackage>>,
    failure: Option<Failure>,
    fingerprint: Vec<u8>,
    stale_since: Option<Timestamp>,
    fresh_until: Option<Timestamp>,
}

impl Offers {
    fn add(&mut self, node: usize, answer: Result<Arc<Known>>, now: Timestamp) -> Result<()> {
        let known = match answer {
            Ok(known) => known,
            Err(error) => {
                let failure = Failure::of(error)?;
                self.indexes.insert(node, PublicIndex::Unavailable(failure.message.clone()));
                self.failure.get_or_insert(failure);
                // What could not be asked is asked again by the next request.
                self.fresh_until = Some(now);
                self.stale_since.get_or_insert(now);
                self.fingerprint.push(0);
                return Ok(());
            }
        };
        if let Some(failure) = &known.failure {
            self.failure.get_or_insert_with(|| failure.clone());
        }
        self.fingerprint.extend_from_slice(known.fingerprint.as_bytes());
        self.fresh_until = Some(self.fresh_until.map_or(known.fresh_until, |old| old.min(known.fresh_until)));
        self.stale_since = match (self.stale_since, known.stale_since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let Some(package) = &known.package else {
            self.indexes.insert(node, PublicIndex::Absent);
            return Ok(());
        };
        let versions = package
            .versions
            .iter()
            .map(|version| PublicVersion {
                key: version.version.key().clone(),
                text: version.version.as_str().into(),
                time: publish_time(version, known.fetched_at),
                flags: version.flags.clone(),
            })
            .collect();
        self.indexes.insert(node, PublicIndex::Known(KnownIndex { versions, tags: package.tags.clone() }));
        self.remotes.insert(node, package.clone());
        Ok(())
    }
}

/// The registry's own time, else when the version was first seen, else when its index was.
pub(crate) fn publish_time(version: &RemoteVersion, seen_at: Timestamp) -> PublishTime {
    match version.published {
        Some(at) => PublishTime { at, source: TimeSource::Registry },
        None => PublishTime { at: version.first_seen.unwrap_or(seen_at), source: TimeSource::FirstSeen },
    }
}

fn record_of((row, versions): &HeldRecord, tags: &[(Id, String, String)]) -> Record {
    Record {
        controls: row.controls,
        first_internal_at: row.first_internal_at,
        first_external_at: row.first_external_at,
        versions: versions
            .iter()
            .map(|version| HeldVersion {
                key: version.key.clone(),
                text: version.text.clone(),
                status: version.status,
                origin: version.origin.clone(),
                time: version.publish_time,
                flags: version.flags.clone(),
            })
            .collect(),
        tags: tags
            .iter()
            .filter(|(package, _, _)| *package == row.id)
            .map(|(_, tag, version)| (tag.as_str().into(), version.as_str().into()))
            .collect(),
    }
}

struct FormatOrder(&'static dyn Format);

impl VersionOrder for FormatOrder {
    fn compare(&self, left: &str, right: &str) -> Ordering {
        self.0.compare_versions(left, right)
    }

    fn is_stable(&self, key: &str) -> bool {
        self.0.is_stable(key)
    }
}
