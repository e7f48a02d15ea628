#![doc = include_str!("../README.md")]

use http::header::CONTENT_TYPE;
use std::cmp::Ordering;
use weir_core::name::shown;
use weir_core::{AssetName, Error, FormatName, PackageName, Resource, Result};
use weir_protocol::body::Body;
use weir_protocol::protocol::{Protocol, Request};
use weir_protocol::respond::{self, Response};
use weir_registry::format::{AssetRule, Description, NamespaceRule};
use weir_registry::{Format, Registry};

const FORMAT: FormatName = FormatName::new("generic");

/// Files of any kind, through the control API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Generic;

impl Format for Generic {
    fn name(&self) -> FormatName {
        FORMAT
    }

    fn namespace_rule(&self) -> NamespaceRule {
        NamespaceRule::Required
    }

    fn parse_name(&self, namespace: Option<&str>, name: &str) -> Result<PackageName> {
        if namespace.is_none() {
            return Err(Error::invalid("namespace", "is required for generic packages"));
        }
        PackageName::new(FORMAT, namespace, name)
    }

    fn parse_asset_name(&self, text: &str) -> Result<AssetName> {
        check_asset_name(text)
    }

    fn compare_versions(&self, left: &str, right: &str) -> Ordering {
        left.cmp(right)
    }

    fn is_stable(&self, _key: &str) -> bool {
        true
    }

    fn describe(&self, _package: &PackageName, _metadata: &str) -> Description {
        Description::default()
    }

    fn asset_rule(&self) -> AssetRule {
        AssetRule::WhileUnfinished
    }

    fn has_readme(&self) -> bool {
        false
    }

    fn published_by_api(&self) -> bool {
        true
    }

    fn has_upstreams(&self) -> bool {
        false
    }
}

impl Protocol for Generic {
    fn handle<'a>(
        &'a self,
        _registry: &'a Registry,
        request: Request,
    ) -> futures_util::future::BoxFuture<'a, Result<Response>> {
        let repository = &request.scope.repository.row.name;
        let path = shown(&request.segments.join("/"));
        let error = Error::not_found(
            Resource::Asset,
            path,
            format!(
                "generic packages have no package manager; read them with 'aws codeartifact \
                 get-package-version-asset --repository {repository} --format generic'"
            ),
        );
        Box::pin(std::future::ready(Err(error)))
    }

    fn error_response(&self, error: &Error, realm: &str) -> Response {
        let head = weir_protocol::error::head(error, realm).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let body = Body::from(format!("{error}\n"));
        head.body(body).unwrap_or_else(|_| respond::empty(weir_protocol::error::status(error)))
    }
}

/// Reads the name of a file in the alphabet of generic packages (`codeartifact.md` 4). Errors: Invalid
/// names the character or rule. Without tables of categories a few more letters pass than AWS takes, such as
/// `²`; none of them means anything in a path.
pub fn check_asset_name(text: &str) -> Result<AssetName> {
    let special = |c: char| "~!@^&()-_+[]{};,.` ".contains(c);
    if let Some(bad) = text.chars().find(|c| !c.is_alphanumeric() && !special(*c)) {
        return Err(Error::invalid("asset", format_args!("must not contain {bad:?}")));
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Err(Error::invalid("asset", "must not begin or end with a space or have two in a row"));
    }
    AssetName::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_of_the_documented_alphabet() {
        let long = "a".repeat(255);
        for good in
            ["a", "report v1 (final).tar.gz", "Ünïcode-日本", "~!@^&()-_+[]{};,.`", "...", "Ⅷ٣", &long]
        {
            assert_eq!(check_asset_name(good).unwrap().as_str(), good);
        }
        let longer = "a".repeat(256);
        let bad = [
            "", ".", "..", " a", "a ", "a  b", "a/b", "a\\b", "a:b", "a*", "a?", "a\"", "<", ">", "|", "#",
            "%", "$", "=", "'", "a\tb", "a\u{a0}b", "a\nb", "\u{301}", &longer,
        ];
        for bad in bad {
            assert!(matches!(check_asset_name(bad), Err(Error::Invalid { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_namespace_is_required_and_names_are_verbatim() {
        assert!(Generic.parse_name(None, "tool").is_err());
        let package = Generic.parse_name(Some("Team.A"), "Tool_1").unwrap();
        assert_eq!(package.to_string(), "Team.A/Tool_1");
        assert!(Generic.parse_name(Some("a/b"), "tool").is_err());
    }
}
