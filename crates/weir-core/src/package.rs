//! Formats and package names. Which names a format accepts is the format's own knowledge; the
//! constraints here are those the service model puts on all of them.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// The name of a package format in URLs and in the control API: `npm`, `pypi`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FormatName(&'static str);

impl FormatName {
    /// Names a format. Each format crate does this once.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A package of one format, in its normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName {
    /// The format it belongs to.
    pub format: FormatName,
    /// npm scope without `@`, Maven group, generic namespace, Swift scope.
    pub namespace: Option<Arc<str>>,
    /// The name without its namespace.
    pub name: Arc<str>,
}

impl PackageName {
    /// Builds a name from parts that the caller has checked against its format.
    pub fn new(format: FormatName, namespace: Option<&str>, name: &str) -> Result<Self> {
        if let Some(namespace) = namespace {
            check_segment("namespace", namespace)?;
        }
        check_segment("package", name)?;
        Ok(Self { format, namespace: namespace.map(Arc::from), name: name.into() })
    }

    /// The namespace, empty where there is none: the form stored and used in ARNs.
    pub fn namespace_or_empty(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// The shape shared by package names, namespaces and versions: 1 to 255 characters, none of them
/// `#`, `/`, white space or a control character.
pub fn check_segment(field: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.chars().nth(255).is_some() {
        return Err(Error::invalid(field, "must have 1 to 255 characters"));
    }
    if let Some(bad) = text.chars().find(|c| *c == '#' || *c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(field, format_args!("must not contain {bad:?}")));
    }
    if text == "." || text == ".." {
        return Err(Error::invalid(field, "must not be '.' or '..'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_be_taken_for_a_path() {
        let long = "a".repeat(256);
        for refused in ["", ".", "..", "a/b", "a#b", "a b", "a\u{a0}b", "a\0b", &long] {
            assert!(check_segment("package", refused).is_err(), "{refused:?}");
        }
        for accepted in ["lodash", "...", "größe", "a:b", "%2e", &long[..255]] {
            assert!(check_segment("package", accepted).is_ok(), "{accepted:?}");
        }
    }

    #[test]
    fn a_package_shows_its_namespace() {
        let npm = FormatName::new("npm");
        let scoped = PackageName::new(npm, Some("types"), "node").expect("valid");
        assert_eq!((scoped.to_string().as_str(), scoped.namespace_or_empty()), ("types/node", "types"));
        let plain = PackageName::new(npm, None, "lodash").expect("valid");
        assert_eq!((plain.to_string().as_str(), plain.namespace_or_empty()), ("lodash", ""));
        assert!(PackageName::new(npm, Some(""), "node").is_err());
    }
}
