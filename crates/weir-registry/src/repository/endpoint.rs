//! Where package managers find a repository (GetRepositoryEndpoint).

use crate::Registry;
use crate::scope::RepositoryRef;
use weir_core::name::shown;
use weir_core::{AccountId, Action, Caller, DomainName, Error, RepositoryName, Result};

/// The formats of the service model; an endpoint is told for all of them, built in or not.
const FORMATS: [&str; 8] = ["npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo"];

impl Registry {
    /// GetRepositoryEndpoint. `format` is any of the eight names AWS knows; `base` is the face the caller used.
    pub async fn repository_endpoint(
        &self,
        caller: &Caller,
        repository: &RepositoryRef,
        format: &str,
        dualstack: bool,
        base: &str,
    ) -> Result<String> {
        let action = Action::GetRepositoryEndpoint;
        let (domain, found) = self.find_repository(caller, repository, action, None).await?;
        self.authorize_repository(caller, action, &domain, &found)?;
        check_format(format)?;
        if let Some(built_in) = self.format(format) {
            self.learn_addresses(&domain, &found, built_in.name()).await;
        }
        let settings = &self.inner.settings;
        let template = match &settings.endpoint_template_dualstack {
            Some(template) if dualstack => template,
            _ => &settings.endpoint_template,
        };
        Ok(fill(template, base, format, &domain.row.name, &domain.row.owner, &found.row.name))
    }
}

/// Refuses what is not the name of a format of the service model.
pub(crate) fn check_format(format: &str) -> Result<()> {
    if FORMATS.contains(&format) {
        return Ok(());
    }
    Err(Error::invalid(
        "format",
        format_args!("'{}' is not a format; it must be one of {}", shown(format), FORMATS.join(", ")),
    ))
}

fn fill(
    template: &str,
    base: &str,
    format: &str,
    domain: &DomainName,
    owner: &AccountId,
    repository: &RepositoryName,
) -> String {
    // The base last: it comes from the request, and what it holds is not filled in again.
    let filled = template
        .replace("{format}", format)
        .replace("{domain}", domain.as_str())
        .replace("{owner}", owner.as_str())
        .replace("{repo}", repository.as_str())
        .replace("{base}", base.trim_end_matches('/'));
    if filled.ends_with('/') { filled } else { filled + "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_always_ends_in_a_slash() {
        let domain = DomainName::parse("domain", "local").expect("valid");
        let owner = AccountId::parse("owner", "000000000000").expect("valid");
        let repository = RepositoryName::parse("repository", "main").expect("valid");
        for (template, base, expected) in [
            (
                "{base}/{format}/d/{domain}-{owner}/{repo}/",
                "http://127.0.0.1:8090/",
                "http://127.0.0.1:8090/npm/d/local-000000000000/main/",
            ),
            (
                "https://{domain}-{owner}.d.example.test/{format}/{repo}",
                "",
                "https://local-000000000000.d.example.test/npm/main/",
            ),
            ("{base}/{format}/{repo}/", "http://{repo}.example.test", "http://{repo}.example.test/npm/main/"),
        ] {
            assert_eq!(fill(template, base, "npm", &domain, &owner, &repository), expected);
        }
    }

    #[test]
    fn only_the_formats_of_the_service_model_have_one() {
        assert!(FORMATS.iter().all(|format| check_format(format).is_ok()));
        assert!(check_format("NPM").is_err());
    }
}
