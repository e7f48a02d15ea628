//! Asset names that cannot leave their version.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// The name of a file of a version: 1 to 255 characters, no control characters, no path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetName(Arc<str>);

impl AssetName {
    /// Parses a name by the rule all formats share.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.chars().nth(255).is_some() {
            return Err(Error::invalid("asset", "must have 1 to 255 characters"));
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || matches!(c, '/' | '\\')) {
            return Err(Error::invalid("asset", format_args!("must not contain {bad:?}")));
        }
        if text == "." || text == ".." {
            return Err(Error::invalid("asset", "must not be '.' or '..'"));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_version() {
        let long = "a".repeat(256);
        for refused in ["", ".", "..", "a/b", "/a", "a\\b", "../a", "a\0", "a\nb", &long] {
            assert!(AssetName::parse(refused).is_err(), "{refused:?}");
        }
        for accepted in ["package.tgz", "...", ".hidden", "a b", "größe.txt", &long[..255]] {
            assert_eq!(AssetName::parse(accepted).expect("valid").as_str(), accepted);
        }
    }
}
