//! What a step of an explanation says, and the words for it.

use crate::path::ReservedBy;
use crate::quota;
use crate::verdict::{Outcome, Rule};
use crate::version::{Origin, PublishTime, TimeSource, VersionStatus};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// What is the case at one place of the path. Displays as the rest of a sentence that begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The repository has no record of the package.
    HasNoRecord,
    /// The repository holds so many versions.
    Holds {
        /// How many.
        count: usize,
    },
    /// The repository holds so many versions, the one asked about not among them.
    HoldsOthers {
        /// How many.
        count: usize,
    },
    /// The repository holds the version.
    HoldsVersion {
        /// As published.
        text: Arc<str>,
        /// Its status there.
        status: VersionStatus,
        /// Where it entered the domain.
        origin: Origin,
        /// Whether this record decides, as the nearest.
        decides: bool,
    },
    /// The repository's record reserves the name.
    Reserves(ReservedBy),
    /// The repository holds an INTERNAL version, but an EXTERNAL one came to the path first.
    DoesNotReserve,
    /// The record says upstream=BLOCK.
    Cuts {
        /// "put by hand" or "learned from its first version".
        source: &'static str,
    },
    /// The public index has so many versions.
    Offers {
        /// How many.
        count: usize,
    },
    /// The public index has so many versions, the one asked about not among them.
    OffersOthers {
        /// How many.
        count: usize,
    },
    /// The public index has the version.
    OffersVersion {
        /// As published.
        text: Arc<str>,
        /// When it was published there.
        time: PublishTime,
        /// Whether it decides, as the nearest.
        decides: bool,
    },
    /// The public registry has no such package.
    HasNoSuchPackage,
    /// The public registry does not answer and nothing is known of it.
    DoesNotAnswer {
        /// Why.
        reason: String,
    },
    /// The public registry was not asked for this explanation.
    NotAsked,
    /// The connection is left out, because the name is reserved.
    LeftOut {
        /// The repository that reserves it.
        reserved_at: String,
    },
    /// The limit of repositories was reached.
    StopsSearching,
    /// The version is known on the path.
    Decided {
        /// As published.
        text: Arc<str>,
        /// The repository or connection that decides.
        by: String,
        /// What was decided.
        outcome: Outcome,
    },
    /// Nothing on the path holds or offers the version.
    DoesNotOffer {
        /// Whether a connection did not answer, so that it may exist all the same.
        unanswered: bool,
    },
    /// What is offered of the package as a whole.
    Summary {
        /// Versions that indexes show.
        listed: usize,
        /// Versions to be had by exact request only.
        unlisted: usize,
        /// Versions withheld.
        withheld: usize,
        /// When time alone releases the next one.
        changes_at: Option<Timestamp>,
    },
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasNoRecord => f.write_str("has no record of the package"),
            Self::Holds { count } => write!(f, "holds {}", versions(*count)),
            Self::HoldsOthers { count: 0 } => f.write_str("holds no versions"),
            Self::HoldsOthers { count } => write!(f, "holds {}, but not this one", versions(*count)),
            Self::HoldsVersion { text, status, origin, decides } => {
                write!(f, "holds {text} ({status}, {})", origin_words(origin))?;
                f.write_str(decides_words(*decides))
            }
            Self::Reserves(ReservedBy::InternalVersion) => f.write_str(
                "reserves the name, since it holds an INTERNAL version: public versions are invisible on \
                 this path",
            ),
            Self::Reserves(ReservedBy::PutRecord) => f.write_str(
                "reserves the name, since its controls were put to publish=ALLOW, upstream=BLOCK: public \
                 versions are invisible on this path",
            ),
            Self::DoesNotReserve => f.write_str(
                "holds an INTERNAL version but does not reserve the name, since an EXTERNAL version came to \
                 this path before it: public versions are merged in, as AWS does",
            ),
            Self::Cuts { source } => {
                write!(f, "has upstream=BLOCK ({source}): nothing behind it is searched through it")
            }
            Self::Offers { count } => write!(f, "offers {}", versions(*count)),
            Self::OffersOthers { count: 0 } => f.write_str("offers no versions"),
            Self::OffersOthers { count } => write!(f, "offers {}, but not this one", versions(*count)),
            Self::OffersVersion { text, time, decides } => {
                write!(f, "offers {text} ({})", time_words(time))?;
                f.write_str(decides_words(*decides))
            }
            Self::HasNoSuchPackage => f.write_str("has no such package"),
            Self::DoesNotAnswer { reason } => write!(f, "does not answer: {reason}"),
            Self::NotAsked => f.write_str("was not asked"),
            Self::LeftOut { reserved_at } => {
                write!(f, "is not asked, since {reserved_at} reserves the name")
            }
            Self::StopsSearching => write!(
                f,
                "reaches more than {} repositories: those further on are not searched",
                quota::REPOSITORIES_SEARCHED
            ),
            Self::Decided { text, by, outcome } => match outcome {
                Outcome::Offered { listed: true } => write!(f, "offers {text}, supplied by {by}"),
                Outcome::Offered { listed: false } => {
                    write!(f, "offers {text} by exact request only, supplied by {by}: it is unlisted there")
                }
                Outcome::Withheld { rule, until } => {
                    write!(f, "withholds {text} of {by}: {}", rule_words(rule))?;
                    until.map_or(Ok(()), |until| write!(f, "; it is released at {until}"))
                }
            },
            Self::DoesNotOffer { unanswered: false } => {
                f.write_str("does not offer it: nothing on the path holds or offers it")
            }
            Self::DoesNotOffer { unanswered: true } => f.write_str(
                "does not offer it now: nothing that is known on the path holds or offers it, and not all \
                 connections answer",
            ),
            Self::Summary { listed, unlisted, withheld, changes_at } => {
                write!(f, "offers {}", versions(listed + unlisted))?;
                if *unlisted > 0 {
                    write!(f, " ({unlisted} of them by exact request only)")?;
                }
                write!(f, " and withholds {withheld}")?;
                changes_at.map_or(Ok(()), |at| write!(f, "; the next one is released at {at}"))
            }
        }
    }
}

fn versions(count: usize) -> String {
    match count {
        0 => "no versions".to_owned(),
        1 => "1 version".to_owned(),
        _ => format!("{count} versions"),
    }
}

/// The repository of an INTERNAL origin is not named: the caller may not be allowed to read it.
fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Internal { .. } => "INTERNAL".to_owned(),
        Origin::External { connection } => format!("EXTERNAL from {connection}"),
    }
}

fn time_words(time: &PublishTime) -> String {
    match time.source {
        TimeSource::Registry | TimeSource::Published => format!("published {}", time.at),
        TimeSource::FirstSeen => format!("first seen {}", time.at),
    }
}

fn decides_words(decides: bool) -> &'static str {
    if decides { ", and decides as the nearest" } else { ", which something nearer hides" }
}

fn rule_words(rule: &Rule) -> String {
    match rule {
        Rule::Status(status) => format!("its status there is {status}"),
        Rule::Reserved(_) => "it is public and the name is reserved".to_owned(),
        Rule::WaitingTime => "it is younger than the waiting time".to_owned(),
    }
}
