//! Whether a public registry's index of a package is held. Only rows are looked at: no document is read for it, and
//! nobody is asked.

use super::Connection;
use super::known::Key;
use super::unwritten::DocumentKey;
use crate::Registry;
use crate::format::{Document, Remote};
use crate::topology::DomainState;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_core::{ConnectionName, PackageName, Result};
use weir_store::rows::Id;

impl Registry {
    /// Whether an index document of the package with a body is held: only such names are public already. An error
    /// where that cannot be told.
    pub(crate) async fn public_index_is_held(
        &self,
        domain: &DomainState,
        connection: &ConnectionName,
        package: &PackageName,
    ) -> Result<bool> {
        let Some(format) = self.format(package.format.as_str()) else { return Ok(false) };
        let key: Key = (domain.row.id.clone(), connection.clone(), package.clone());
        if let Some(known) = self.inner.upstream.indexes.get(&key) {
            return Ok(known.package.is_some());
        }
        let target = self.upstream_connection(connection).await?;
        let rows =
            Rows { registry: self, domain: &domain.row.id, target: &target, is_held: AtomicBool::new(false) };
        // It finds nothing to read, and so has no say but in what it asks for.
        format.fetch(&rows, package).await?;
        Ok(rows.is_held.into_inner())
    }
}

/// A registry of whose documents none can be had, which notes whether one that was asked for is held.
struct Rows<'a> {
    registry: &'a Registry,
    domain: &'a Id,
    target: &'a Arc<Connection>,
    is_held: AtomicBool,
}

impl Remote for Rows<'_> {
    fn get<'a>(&'a self, path: &'a str, _accept: &'a str) -> BoxFuture<'a, Result<Option<Document>>> {
        Box::pin(async move {
            let key: DocumentKey =
                (self.domain.clone(), self.target.name.clone(), self.target.document_path(path));
            let known = self.registry.known_row(&key).await?;
            if known.is_some_and(|(row, _)| row.body.is_some()) {
                self.is_held.store(true, Ordering::Relaxed);
            }
            Ok(None)
        })
    }
}
