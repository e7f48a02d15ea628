//! What an operation is given: typed getters over query, headers and JSON body, each failure a
//! ValidationException that names the field (`codeartifact.md` 1.1). Unknown parameters are ignored.

use crate::query::Query;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use weir_core::name::shown;
use weir_core::package::check_segment;
use weir_core::{
    AccountId, Arn, Control, DomainName, Error, PageRequest, RepositoryName, Result, VersionStatus,
};
use weir_registry::{DomainRef, PackageRef, Registry, RepositoryRef};

/// The formats of the service model, built in here or not.
pub(crate) const FORMATS: &[&str] = &["npm", "pypi", "maven", "nuget", "generic", "ruby", "swift", "cargo"];
/// Page size of listings for which AWS documents none.
pub(crate) const DEFAULT_PAGE: usize = 100;

/// A request's input, authenticated and not yet read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// The decoded query.
    pub(crate) query: &'a Query,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// The body, at most 1 MiB; empty for an operation that streams it.
    pub(crate) body: &'a [u8],
}

/// A package as the query names it, before its format has read it.
#[derive(Debug)]
pub(crate) struct PackageInput {
    repository: RepositoryRef,
    format: String,
    namespace: Option<String>,
    name: String,
}

impl PackageInput {
    /// The package in its format's normal form.
    pub(crate) fn resolve(self, registry: &Registry) -> Result<PackageRef> {
        let package = registry.parse_package(&self.format, self.namespace.as_deref(), &self.name)?;
        Ok(PackageRef { repository: self.repository, package })
    }
}

impl<'a> Input<'a> {
    /// A parameter that may be left out.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.query.get(name)
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name).ok_or_else(|| missing(name))
    }

    /// `domain` and `domain-owner`.
    pub(crate) fn domain(&self) -> Result<DomainRef> {
        Ok(DomainRef {
            name: DomainName::parse("domain", self.required("domain")?)?,
            owner: self.account("domain-owner")?,
        })
    }

    /// An account id.
    pub(crate) fn account(&self, name: &str) -> Result<Option<AccountId>> {
        self.text(name).map(|text| AccountId::parse(name, text)).transpose()
    }

    /// A repository's name under the parameter `name`.
    pub(crate) fn repository_name(&self, name: &str) -> Result<RepositoryName> {
        RepositoryName::parse(name, self.required(name)?)
    }

    /// `domain`, `domain-owner` and `repository`.
    pub(crate) fn repository(&self) -> Result<RepositoryRef> {
        Ok(RepositoryRef { domain: self.domain()?, repository: self.repository_name("repository")? })
    }

    /// The coordinate of a package.
    pub(crate) fn package(&self) -> Result<PackageInput> {
        self.package_in("repository")
    }

    /// The coordinate of a package whose repository is named by `repository`.
    pub(crate) fn package_in(&self, repository: &str) -> Result<PackageInput> {
        let domain = self.domain()?;
        let repository = self.repository_name(repository)?;
        let format = self.required("format")?;
        one_of("format", format, FORMATS)?;
        let namespace = self.text("namespace");
        if let Some(namespace) = namespace {
            check_segment("namespace", namespace)?;
        }
        let name = self.required("package")?;
        check_segment("package", name)?;
        Ok(PackageInput {
            repository: RepositoryRef { domain, repository },
            format: format.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    /// `version`.
    pub(crate) fn version(&self) -> Result<String> {
        let version = self.required("version")?;
        check_segment("version", version)?;
        Ok(version.to_owned())
    }

    /// A prefix or filter of 1 to 255 characters.
    pub(crate) fn segment(&self, name: &str) -> Result<Option<String>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        check_segment(name, text)?;
        Ok(Some(text.to_owned()))
    }

    /// A word out of a list.
    pub(crate) fn word(&self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        one_of(name, text, allowed)?;
        Ok(Some(text))
    }

    /// ALLOW or BLOCK.
    pub(crate) fn control(&self, name: &str) -> Result<Option<Control>> {
        self.text(name).map(|text| control(name, text)).transpose()
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text
            .parse()
            .map_err(|_| Error::invalid(name, format_args!("'{}' is not a whole number", shown(text))))?;
        Ok(Some(number))
    }

    /// `max-results` and `next-token`.
    pub(crate) fn page(&self, default: usize) -> Result<PageRequest> {
        PageRequest::parse(self.number("max-results")?, self.text("next-token"), default)
    }

    /// `resourceArn`.
    pub(crate) fn resource_arn(&self) -> Result<Arn> {
        let text = self.required("resourceArn")?;
        check_text("resourceArn", text, 1, 1011)?;
        if !text.starts_with("arn:") || text.contains(char::is_whitespace) {
            return Err(Error::invalid("resourceArn", format_args!("'{}' is not an ARN", shown(text))));
        }
        Ok(Arn::from_text(text))
    }

    /// The JSON body; an empty one is an empty object, `null` is absence.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let body = if self.body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| {
            Error::cannot_parse(format!("the body is not the JSON object of this operation: {error}"))
        })
    }
}

/// A tag in a body.
#[derive(Debug, Deserialize)]
pub(crate) struct TagInput {
    key: String,
    value: String,
}

/// Tags of a body: at most 200 entries here, at most 50 on a resource.
pub(crate) fn tags(tags: Option<Vec<TagInput>>) -> Result<Vec<(String, String)>> {
    let tags = tags.unwrap_or_default();
    if tags.len() > 200 {
        return Err(Error::invalid("tags", "must have at most 200 entries"));
    }
    for tag in &tags {
        check_text("tags.key", &tag.key, 1, 128)?;
        check_text("tags.value", &tag.value, 0, 256)?;
    }
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Versions of a body: at most 100, each of them one.
pub(crate) fn versions(versions: Option<Vec<String>>) -> Result<Option<Vec<String>>> {
    let Some(versions) = versions else { return Ok(None) };
    if versions.len() > weir_core::quota::VERSIONS_PER_CALL {
        return Err(Error::invalid("versions", "must have at most 100 entries"));
    }
    for version in &versions {
        check_segment("versions", version)?;
    }
    Ok(Some(versions))
}

/// Revisions of a body, by version.
pub(crate) fn revisions(
    revisions: Option<BTreeMap<String, String>>,
) -> Result<Option<BTreeMap<String, String>>> {
    let Some(revisions) = revisions else { return Ok(None) };
    if revisions.len() > weir_core::quota::VERSIONS_PER_CALL {
        return Err(Error::invalid("versionRevisions", "must have at most 100 entries"));
    }
    for (version, revision) in &revisions {
        check_segment("versionRevisions", version)?;
        check_revision("versionRevisions", revision)?;
    }
    Ok(Some(revisions))
}

/// A revision: 1 to 50 characters without white space.
pub(crate) fn check_revision(field: &str, text: &str) -> Result<()> {
    check_text(field, text, 1, 50)?;
    if text.contains(char::is_whitespace) {
        return Err(Error::invalid(field, "must not contain white space"));
    }
    Ok(())
}

/// A version's status in a body or query; `Deleted` is a word of the model that no version has.
pub(crate) fn status(field: &str, text: &str) -> Result<VersionStatus> {
    VersionStatus::parse(text).ok_or_else(|| {
        Error::invalid(
            field,
            format_args!(
                "'{}' is not a status; it must be Published, Unfinished, Unlisted, Archived or Disposed",
                shown(text)
            ),
        )
    })
}

/// ALLOW or BLOCK.
pub(crate) fn control(field: &str, text: &str) -> Result<Control> {
    Control::parse(text)
        .ok_or_else(|| Error::invalid(field, format_args!("'{}' must be ALLOW or BLOCK", shown(text))))
}

/// A description: at most 1000 characters.
pub(crate) fn description(text: Option<String>) -> Result<Option<String>> {
    if let Some(text) = &text {
        check_text("description", text, 0, 1000)?;
    }
    Ok(text)
}

/// A text of `least` to `most` characters without control characters.
pub(crate) fn check_text(field: &str, text: &str, least: usize, most: usize) -> Result<()> {
    let length = text.chars().take(most + 1).count();
    if length < least || length > most {
        return Err(Error::invalid(field, format_args!("must have {least} to {most} characters")));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(field, format_args!("must not contain {bad:?}")));
    }
    Ok(())
}

/// A field that must be there and is not.
pub(crate) fn missing(field: &str) -> Error {
    Error::invalid(field, "is missing")
}

fn one_of(field: &str, text: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&text) {
        return Ok(());
    }
    Err(Error::invalid(field, format_args!("'{}' must be one of {}", shown(text), allowed.join(", "))))
}
