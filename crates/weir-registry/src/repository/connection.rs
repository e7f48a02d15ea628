//! The external connection of a repository: one at most.

use super::RepositoryInfo;
use crate::Registry;
use crate::change::Outdated;
use crate::scope::RepositoryRef;
use crate::topology::absent_repository;
use serde_json::json;
use weir_core::error::Resource;
use weir_core::{Action, Caller, ConnectionName, Error, Result, quota};

impl Registry {
    /// AssociateExternalConnection.
    pub async fn associate_connection(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        connection: &ConnectionName,
    ) -> Result<RepositoryInfo> {
        self.change_connection(caller, repository, connection, Action::AssociateExternalConnection).await
    }

    /// DisassociateExternalConnection.
    pub async fn disassociate_connection(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        connection: &ConnectionName,
    ) -> Result<RepositoryInfo> {
        self.change_connection(caller, repository, connection, Action::DisassociateExternalConnection).await
    }

    async fn change_connection(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        connection: &ConnectionName,
        action: Action,
    ) -> Result<RepositoryInfo> {
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        self.authorize_repository(caller, action, &domain, &found)?;
        let adds = action == Action::AssociateExternalConnection;
        if adds && self.connection_format(connection).is_none() {
            return Err(self.unknown_connection(connection));
        }
        let audit = self.audit(caller, action, &found.arn, &json!({ "connection": connection }));
        let connection = connection.clone();
        self.change(Outdated::Topology, move |session| {
                Box::pin(async move {
                    let held = session.repositories(&domain.row.id).await?;
                    let row = held.iter().find(|row| row.id == found.row.id);
                    let row = row.ok_or_else(|| absent_repository(&domain, &found.row.name))?;
                    let name = row.name.as_str();
                    let wanted = match (adds, &row.connection) {
                        (true, None) => Some(&connection),
                        (true, Some(other)) if *other == connection => {
                            return Err(Error::conflict(
                                Resource::Repository,
                                name,
                                format!("repository '{name}' has the external connection '{connection}' already"),
                            ));
                        }
                        (true, Some(other)) => {
                            return Err(Error::QuotaExceeded {
                                resource: Resource::Repository,
                                id: name.to_owned(),
                                message: format!(
                                    "repository '{name}' has the external connection '{other}', and at most {} is \
                                     allowed; remove it first, or make another repository an upstream",
                                    quota::CONNECTIONS_PER_REPOSITORY
                                ),
                            });
                        }
                        (false, Some(other)) if *other == connection => None,
                        (false, _) => {
                            return Err(Error::not_found(
                                Resource::Repository,
                                name,
                                format!("repository '{name}' has no external connection '{connection}'"),
                            ));
                        }
                    };
                    session.set_repository_connection(&row.id, wanted).await?;
                    session.mark_edited(&row.id).await?;
                    Ok(session.insert_audit(&audit).await?)
                })
            })
            .await?;
        self.repository_changed(caller, repository).await
    }

    fn unknown_connection(&self, connection: &ConnectionName) -> Error {
        Error::invalid(
            "externalConnection",
            format_args!(
                "'{connection}' is not known here; known are: {}",
                self.connection_names().join(", ")
            ),
        )
    }
}
