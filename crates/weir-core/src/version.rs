//! Versions: their identity, status, origin, publish time and the flags that a registry may change.

use crate::error::{Error, Result};
use crate::name::{ConnectionName, RepositoryName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A version as published, with the normal form that identifies and looks it up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    key: Arc<str>,
    text: Arc<str>,
}

impl Version {
    /// A version whose text is its own normal form.
    pub fn verbatim(text: &str) -> Result<Self> {
        Self::with_key(text, text)
    }

    /// A version whose format gives it a normal form (PEP 440, NuGet).
    pub fn with_key(text: &str, key: &str) -> Result<Self> {
        crate::package::check_segment("version", text)?;
        let text: Arc<str> = text.into();
        let key = if *text == *key { text.clone() } else { key.into() };
        Ok(Self { key, text })
    }

    /// As published.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The normal form.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The status of a held version (`codeartifact.md` 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionStatus {
    /// Listed and downloadable.
    Published,
    /// Being uploaded; neither listed nor downloadable.
    Unfinished,
    /// Downloadable by exact request, not listed.
    Unlisted,
    /// Neither listed nor downloadable.
    Archived,
    /// As Archived, and its bytes are erased.
    Disposed,
}

impl VersionStatus {
    /// The word AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "Published",
            Self::Unfinished => "Unfinished",
            Self::Unlisted => "Unlisted",
            Self::Archived => "Archived",
            Self::Disposed => "Disposed",
        }
    }

    /// Parses the word AWS uses; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Published, Self::Unfinished, Self::Unlisted, Self::Archived, Self::Disposed]
            .into_iter()
            .find(|s| s.as_str() == text)
    }

    /// Parses a status that UpdatePackageVersionsStatus may set: Published, Unlisted or Archived.
    pub fn parse_target(text: &str) -> Result<Self> {
        match Self::parse(text) {
            Some(status @ (Self::Published | Self::Unlisted | Self::Archived)) => Ok(status),
            Some(_) | None => Err(Error::invalid(
                "targetStatus",
                format_args!(
                    "'{}' cannot be set; it must be Published, Unlisted or Archived",
                    crate::name::shown(text)
                ),
            )),
        }
    }

    /// Whether files of such a version may be downloaded.
    pub fn is_downloadable(self) -> bool {
        matches!(self, Self::Published | Self::Unlisted)
    }

    /// Whether UpdatePackageVersionsStatus may move a version of this status to `target`.
    pub fn may_become(self, target: Self) -> bool {
        self != Self::Disposed && target != Self::Unfinished
    }
}

impl fmt::Display for VersionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a version was published here or came from a public registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginKind {
    /// Published to a repository of the domain.
    Internal,
    /// Fetched through an external connection.
    External,
}

impl OriginKind {
    /// The word AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "INTERNAL",
            Self::External => "EXTERNAL",
        }
    }
}

/// Where a version entered the domain (AWS `PackageVersionOrigin`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Published to this repository.
    Internal {
        /// The repository it was first published to.
        repository: RepositoryName,
    },
    /// Fetched through this connection.
    External {
        /// The external connection it came from.
        connection: ConnectionName,
    },
}

impl Origin {
    /// INTERNAL or EXTERNAL.
    pub fn kind(&self) -> OriginKind {
        match self {
            Self::Internal { .. } => OriginKind::Internal,
            Self::External { .. } => OriginKind::External,
        }
    }
}

/// Where a publish time was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    /// The public registry's own index.
    Registry,
    /// The moment Weir first saw the version, since the registry does not tell.
    FirstSeen,
    /// The moment it was published to Weir.
    Published,
}

/// When a version came into the world, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishTime {
    /// The moment.
    pub at: Timestamp,
    /// Who says so.
    pub source: TimeSource,
}

/// What a registry may say of a version after its publication.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Flags {
    /// npm's deprecation message, without which a version is not deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Arc<str>>,
    /// PEP 592 and Cargo: the reason, possibly empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<Arc<str>>,
    /// NuGet `listed: false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use VersionStatus::{Archived, Disposed, Published, Unfinished, Unlisted};

    const ALL: [VersionStatus; 5] = [Published, Unfinished, Unlisted, Archived, Disposed];

    #[test]
    fn a_version_keeps_its_text_beside_its_normal_form() {
        let version = Version::with_key("1.0.0-Beta", "1.0b0").expect("valid");
        assert_eq!((version.as_str(), &**version.key()), ("1.0.0-Beta", "1.0b0"));
        let verbatim = Version::verbatim("1.0.0").expect("valid");
        assert_eq!(verbatim.as_str(), &**verbatim.key());
        for refused in ["", ".", "..", "1/2", "1#2", "1 2", "1\n"] {
            assert!(Version::verbatim(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_status_has_the_word_of_aws() {
        for status in ALL {
            assert_eq!(VersionStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(VersionStatus::parse("published"), None);
        let targets: Vec<_> =
            ALL.into_iter().filter(|s| VersionStatus::parse_target(s.as_str()).is_ok()).collect();
        assert_eq!(targets, [Published, Unlisted, Archived]);
    }

    #[test]
    fn only_published_and_unlisted_are_downloadable() {
        let downloadable: Vec<_> = ALL.into_iter().filter(|status| status.is_downloadable()).collect();
        assert_eq!(downloadable, [Published, Unlisted]);
    }

    #[test]
    fn a_disposed_version_stays_so_and_none_becomes_unfinished() {
        for status in ALL {
            for target in ALL {
                let expected = status != Disposed && target != Unfinished;
                assert_eq!(status.may_become(target), expected, "{status} to {target}");
            }
        }
    }
}
