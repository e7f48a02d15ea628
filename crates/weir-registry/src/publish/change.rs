//! The smaller changes package managers make: tags, flags, unpublish.

use super::own_version;
use crate::Registry;
use crate::audit::known;
use crate::change::Outdated;
use crate::event::{Changes, Operation, VersionEvent, record_event};
use crate::retain::Context;
use crate::scope::{PackageRef, Scope};
use crate::view::{Freshness, PackageView};
use weir_core::error::Resource;
use weir_core::{Action, Caller, Error, Flags, OriginKind, PackageName, Result};
use weir_store::rows::{PackageRow, VersionRow};

/// A reason stands on a page beside every file.
const MOST_REASON: usize = 500;

impl Registry {
    /// Sets a tag of the repository's own record; the version (normal form) must be offered here.
    pub async fn set_tag(
        &self,
        scope: &Scope,
        package: &PackageName,
        tag: &str,
        version_key: &str,
    ) -> Result<()> {
        self.authorize_package(scope, Action::PutPackageMetadata, package)?;
        let view = self.view_unchecked(scope, package, Freshness::Usual).await?;
        let Some(decision) = view.verdict.version(version_key).filter(|_| view.verdict.offers(version_key))
        else {
            return Err(view.refusal(Some(version_key)));
        };
        let text = decision.text.clone();
        let context = Context::new(self, &scope.domain.row, package);
        let repository = scope.repository.row.id.clone();
        let audit = self.change_audit(scope, package, &format!("tag {tag} = {text}"))?;
        let tag = tag.to_owned();
        self.change(Outdated::Content(scope.domain.row.id.clone(), package.clone()), move |session| {
            Box::pin(async move {
                let record = context.ensure_record(session, &repository).await?;
                session.put_tag(&record.id, &tag, &text).await?;
                session.next_sequence(&record.id).await?;
                Ok::<_, Error>(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }

    /// Removes a tag of the repository's own record; false when it has none of that name.
    pub async fn remove_tag(&self, scope: &Scope, package: &PackageName, tag: &str) -> Result<bool> {
        self.authorize_package(scope, Action::PutPackageMetadata, package)?;
        let view = self.view_unchecked(scope, package, Freshness::Usual).await?;
        let Some(record) = view.own_record() else { return Ok(false) };
        let id = record.id.clone();
        let audit = self.change_audit(scope, package, &format!("tag {tag} removed"))?;
        let tag = tag.to_owned();
        let removed = self
            .change(Outdated::Content(scope.domain.row.id.clone(), package.clone()), move |session| {
                Box::pin(async move {
                    let removed = session.delete_tag(&id, &tag).await?;
                    if removed {
                        session.next_sequence(&id).await?;
                        session.insert_audit(&audit).await?;
                    }
                    Ok::<_, Error>(removed)
                })
            })
            .await?;
        Ok(removed)
    }

    /// Changes flags of INTERNAL versions (normal forms) the repository holds, such as `npm deprecate`.
    /// Those of EXTERNAL versions follow their registry.
    pub async fn set_flags(
        &self,
        scope: &Scope,
        package: &PackageName,
        changes: Vec<(String, Flags)>,
    ) -> Result<()> {
        self.authorize_package(scope, Action::PutPackageMetadata, package)?;
        let view = self.view_unchecked(scope, package, Freshness::Usual).await?;
        let mut rows = Vec::with_capacity(changes.len());
        for (key, flags) in changes {
            rows.push((internal_version(&view, &key)?.clone(), flags));
        }
        let Some(record) = view.own_record().cloned() else { return Ok(()) };
        let (context, repository) =
            (Context::new(self, &scope.domain.row, package), scope.repository.row.clone());
        let audit = self.change_audit(scope, package, "flags of versions")?;
        self.change(Outdated::Content(scope.domain.row.id.clone(), package.clone()), move |session| {
            Box::pin(async move {
                for (row, flags) in rows {
                    session.set_version_flags(&row.id, &flags, context.at).await?;
                    let changes = Changes { metadata_updated: true, ..Changes::default() };
                    let event =
                        version_event(&context, &repository, &record, &row, Operation::Updated, changes);
                    record_event(session, event).await?;
                }
                Ok::<_, Error>(session.insert_audit(&audit).await?)
            })
        })
        .await?;
        Ok(())
    }

    /// Yanks an INTERNAL version that the repository holds, for a reason that may be empty, or with `None` takes
    /// that back; gives the version as published. Invalid for a format without yanking.
    pub async fn set_yanked(
        &self,
        caller: &Caller,
        package: &PackageRef,
        version: &str,
        reason: Option<&str>,
    ) -> Result<String> {
        if let Some(reason) =
            reason.filter(|reason| reason.len() > MOST_REASON || reason.contains(char::is_control))
        {
            let rule = format_args!("must be one line of at most {MOST_REASON} bytes, not {}", reason.len());
            return Err(Error::invalid("reason", rule));
        }
        let scope = self.scope_for(caller, package, Action::PutPackageMetadata).await?;
        let format = self.format_named(package.package.format)?;
        let Some(instead) = format.instead_of_yanking() else {
            let key = format.parse_version(version)?.key().clone();
            let view = self.view_unchecked(&scope, &package.package, Freshness::Usual).await?;
            let row = internal_version(&view, &key)?;
            let flags = Flags { yanked: reason.map(Into::into), ..row.flags.clone() };
            self.set_flags(&scope, &package.package, vec![(key.to_string(), flags)]).await?;
            return Ok(row.text.to_string());
        };
        let name = package.package.format;
        Err(Error::invalid("format", format_args!("{name} versions cannot be yanked; {instead}")))
    }

    /// Removes INTERNAL versions (normal forms), if the record still has this sequence (npm's `_rev`). The
    /// record and its controls stay.
    pub async fn unpublish(
        &self,
        scope: &Scope,
        package: &PackageName,
        versions: &[String],
        sequence: i64,
    ) -> Result<()> {
        self.authorize_package(scope, Action::DeletePackageVersions, package)?;
        let view = self.view_unchecked(scope, package, Freshness::Usual).await?;
        let mut rows = Vec::with_capacity(versions.len());
        for key in versions {
            rows.push(internal_version(&view, key)?.clone());
        }
        let record = view.own_record().cloned().ok_or_else(|| view.refusal(None))?;
        let place = self.place_in(scope.domain.clone(), scope.repository.clone(), package.clone());
        let detail = serde_json::json!({ "unpublished": versions });
        let audit = self.audit(&scope.caller, Action::DeletePackageVersions, &place.arn, &detail);
        let name = view.display_name.clone();
        let registry = self.clone();
        self.change(place.outdated(), move |session| {
            Box::pin(async move {
                let now = session.package_by_id(&record.id).await?.map(|row| row.sequence);
                if now != Some(sequence) {
                    let text = format!(
                        "{name} was changed by somebody else meanwhile (its _rev is stale); try again"
                    );
                    return Err(Error::conflict(Resource::Package, name, text));
                }
                registry.delete_rows(session, &place, &record, &rows).await?;
                Ok(session.insert_audit(&audit).await?)
            })
        })
        .await
    }

    fn change_audit(
        &self,
        scope: &Scope,
        package: &PackageName,
        what: &str,
    ) -> Result<weir_store::rows::AuditRow> {
        known(&scope.caller)?;
        let detail = serde_json::json!({
            "format": package.format.as_str(), "package": package.to_string(), "change": what,
        });
        Ok(self.audit(&scope.caller, Action::PutPackageMetadata, &scope.repository.arn, &detail))
    }
}

fn version_event<'a>(
    context: &'a Context,
    repository: &'a weir_store::rows::RepositoryRow,
    record: &'a PackageRow,
    version: &'a VersionRow,
    operation: Operation,
    changes: Changes,
) -> VersionEvent<'a> {
    VersionEvent {
        region: &context.region,
        at: context.at,
        domain: &context.domain,
        repository,
        package: &context.package,
        record: &record.id,
        version,
        operation,
        changes,
    }
}

/// A version that the repository itself holds and that was published here.
fn internal_version<'a>(view: &'a PackageView, key: &str) -> Result<&'a VersionRow> {
    let (package, repository) = (&view.display_name, &view.nodes[0].repository);
    let Some(row) = own_version(view, key) else {
        return Err(Error::not_found(
            Resource::PackageVersion,
            key,
            format!(
                "repository '{repository}' itself does not hold {package}@{key}; what comes from upstream is changed there"
            ),
        ));
    };
    if row.origin.kind() == OriginKind::Internal {
        return Ok(row);
    }
    Err(Error::denied(format!(
        "{package}@{key} came from a public registry, and what is said of it follows that registry; \
         'aws codeartifact update-package-versions-status' can unlist or archive it here"
    )))
}
