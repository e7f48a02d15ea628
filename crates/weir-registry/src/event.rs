//! "CodeArtifact Package Version State Change": the event of each change of a version (AWS guide, page
//! monitoring-events), written in the transaction of the change and delivered later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir_core::{Arn, Digest, PackageName, Result, Timestamp};
use weir_store::Session;
use weir_store::rows::{DomainRow, Id, RepositoryRow, VersionRow};

/// A change of one version in one repository.
pub(crate) struct VersionEvent<'a> {
    /// The Region in its ARN.
    pub(crate) region: &'a str,
    /// When.
    pub(crate) at: Timestamp,
    /// The domain.
    pub(crate) domain: &'a DomainRow,
    /// The repository whose version changed.
    pub(crate) repository: &'a RepositoryRow,
    /// The package.
    pub(crate) package: &'a PackageName,
    /// Its record, which counts its events.
    pub(crate) record: &'a Id,
    /// The version as it is after the change, or was before its deletion.
    pub(crate) version: &'a VersionRow,
    /// What happened to it.
    pub(crate) operation: Operation,
    /// What exactly changed.
    pub(crate) changes: Changes,
}

/// What happened to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Created,
    Updated,
    Deleted,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Updated => "Updated",
            Self::Deleted => "Deleted",
        }
    }
}

/// What exactly changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) assets_added: usize,
    pub(crate) assets_removed: usize,
    pub(crate) assets_updated: usize,
    pub(crate) metadata_updated: bool,
    pub(crate) status_changed: bool,
}

impl Changes {
    /// Those of a version that is new here: all of it.
    pub(crate) fn created(assets: usize) -> Self {
        Self { assets_added: assets, metadata_updated: true, status_changed: true, ..Self::default() }
    }

    /// Those of a status change.
    pub(crate) fn status() -> Self {
        Self { status_changed: true, ..Self::default() }
    }
}

/// Writes the event with the next number of its package, and gives that number.
pub(crate) async fn record_event(session: &mut Session, event: VersionEvent<'_>) -> Result<i64> {
    let sequence = session.next_sequence(event.record).await?;
    record_numbered(session, event, sequence).await?;
    Ok(sequence)
}

/// Writes the event with a number that its package gave already.
pub(crate) async fn record_numbered(
    session: &mut Session,
    event: VersionEvent<'_>,
    sequence: i64,
) -> Result<()> {
    Ok(session.insert_event(&event.domain.id, event.at, &body(&event, sequence).to_string()).await?)
}

/// The envelope without its `id`, which is that of the stored row.
fn body(event: &VersionEvent<'_>, sequence: i64) -> Value {
    let VersionEvent { domain, repository, package, version, changes, .. } = event;
    let arn = Arn::package(event.region, &domain.owner, &domain.name, &repository.name, package);
    let deduplication = Digest::of(format!("{} {sequence}", event.record).as_bytes());
    json!({
        "version": "0",
        "detail-type": "CodeArtifact Package Version State Change",
        "source": "aws.codeartifact",
        "account": domain.owner,
        "time": Timestamp::from_second(event.at.as_second()).unwrap_or(event.at).to_string(),
        "region": event.region,
        "resources": [arn],
        "detail": {
            "domainName": domain.name,
            "domainOwner": domain.owner,
            "repositoryName": repository.name,
            "repositoryAdministrator": repository.administrator,
            "packageFormat": package.format.as_str(),
            "packageNamespace": package.namespace,
            "packageName": package.name,
            "packageVersion": version.text,
            "packageVersionState": version.status.as_str(),
            "packageVersionRevision": version.revision,
            "changes": {
                "assetsAdded": changes.assets_added,
                "assetsRemoved": changes.assets_removed,
                "assetsUpdated": changes.assets_updated,
                "metadataUpdated": changes.metadata_updated,
                "statusChanged": changes.status_changed,
            },
            "operationType": event.operation.as_str(),
            "sequenceNumber": sequence,
            "eventDeduplicationId": STANDARD.encode(deduplication.as_bytes()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::version::{PublishTime, TimeSource};
    use weir_core::{AccountId, DomainName, Flags, FormatName, Origin, RepositoryName, VersionStatus};

    #[test]
    fn an_event_has_the_fields_of_the_guide() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).expect("in range");
        let owner = AccountId::parse("owner", "111122223333").expect("valid");
        let repository_name = RepositoryName::parse("repository", "main").expect("valid");
        let domain = DomainRow {
            id: "d".into(),
            owner: owner.clone(),
            name: DomainName::parse("domain", "local").expect("valid"),
            encryption_key: String::new(),
            created_at: at,
        };
        let repository = RepositoryRow {
            id: "r".into(),
            domain: "d".into(),
            name: repository_name.clone(),
            administrator: owner,
            description: None,
            edited: false,
            created_at: at,
            upstreams: Vec::new(),
            connection: None,
        };
        let package = PackageName::new(FormatName::new("npm"), None, "lodash").expect("valid");
        let version = VersionRow {
            id: "v".into(),
            package: "p".into(),
            content: "c".into(),
            key: "1.0.0".into(),
            text: "1.0.0".into(),
            status: VersionStatus::Published,
            revision: "R".to_owned(),
            origin: Origin::Internal { repository: repository_name },
            flags: Flags::default(),
            publish_time: PublishTime { at, source: TimeSource::Published },
            published_at: at,
            updated_at: at,
        };
        let event = VersionEvent {
            region: "us-east-1",
            at,
            domain: &domain,
            repository: &repository,
            package: &package,
            record: &"p".into(),
            version: &version,
            operation: Operation::Created,
            changes: Changes::created(1),
        };
        let body = body(&event, 1);
        assert_eq!(body["time"], "2023-11-14T22:13:20Z");
        assert_eq!(
            body["resources"][0],
            "arn:aws:codeartifact:us-east-1:111122223333:package/local/main/npm//lodash"
        );
        let detail = &body["detail"];
        assert_eq!(detail["packageNamespace"], Value::Null);
        assert_eq!(detail["packageVersionState"], "Published");
        assert_eq!(detail["changes"]["assetsAdded"], 1);
        assert_eq!(detail["changes"]["assetsRemoved"], 0);
        assert_eq!(detail["changes"]["statusChanged"], true);
        assert_eq!(detail["operationType"], "Created");
        assert_eq!(detail["sequenceNumber"], 1);
        assert_eq!(detail["eventDeduplicationId"].as_str().map(str::len), Some(44));
    }
}
