//! The counters of the spine, as fields of a struct; the binary registers them for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry as Counters;

/// The counters.
#[derive(Debug, Default, Clone)]
pub struct Metrics {
    /// Index requests answered from memory.
    pub index_hits: Counter,
    /// Indexes rendered.
    pub index_renders: Counter,
    /// Requests sent to public registries.
    pub upstream_requests: Counter,
    /// Of these, the ones that were not answered.
    pub upstream_failures: Counter,
    /// Index documents served although a public registry could not confirm them.
    pub stale_served: Counter,
    /// Files fetched from public registries and kept.
    pub files_fetched: Counter,
    /// Bytes fetched from public registries in files.
    pub bytes_fetched: Counter,
    /// Files of public registries that were not what their index promised; nothing was kept.
    pub files_refused: Counter,
    /// Times that stored bytes were found damaged when they were asked for.
    pub damage_found: Counter,
    /// Versions published.
    pub versions_published: Counter,
    /// Versions retained from upstream.
    pub versions_retained: Counter,
    /// Blobs erased since nothing named them.
    pub blobs_reclaimed: Counter,
    /// Their bytes.
    pub bytes_reclaimed: Counter,
    /// Blobs whose bytes were lost or not what they are named.
    pub blobs_damaged: Counter,
    /// Of these, the ones that were fetched again.
    pub blobs_repaired: Counter,
}

impl Metrics {
    /// Registers the counters under the names `/metrics` shows.
    pub fn register(&self, counters: &mut Counters) {
        let mut add =
            |name: &str, help: &str, counter: &Counter| counters.register(name, help, counter.clone());
        add("weir_index_hits", "Index requests answered from memory", &self.index_hits);
        add("weir_index_renders", "Indexes rendered", &self.index_renders);
        add("weir_upstream_requests", "Requests sent to public registries", &self.upstream_requests);
        add(
            "weir_upstream_failures",
            "Requests that public registries did not answer",
            &self.upstream_failures,
        );
        add("weir_stale_served", "Index documents served unconfirmed", &self.stale_served);
        add("weir_files_fetched", "Files fetched from public registries", &self.files_fetched);
        add("weir_bytes_fetched", "Bytes of files fetched from public registries", &self.bytes_fetched);
        add("weir_files_refused", "Fetched files that were not as promised", &self.files_refused);
        add("weir_damage_found", "Times that stored bytes were found damaged", &self.damage_found);
        add("weir_versions_published", "Versions published", &self.versions_published);
        add("weir_versions_retained", "Versions retained from upstream", &self.versions_retained);
        add("weir_blobs_reclaimed", "Blobs erased since nothing named them", &self.blobs_reclaimed);
        add("weir_bytes_reclaimed", "Bytes of blobs erased since nothing named them", &self.bytes_reclaimed);
        add("weir_blobs_damaged", "Blobs whose bytes were lost or damaged", &self.blobs_damaged);
        add("weir_blobs_repaired", "Damaged blobs that were fetched again", &self.blobs_repaired);
    }
}
