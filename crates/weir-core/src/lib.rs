//! The words and rules of Weir: parsed names, statuses, digests, origin controls, the search
//! path and the verdict on every version. Pure: no I/O, no clock of its own, no async.

pub mod action;
pub mod arn;
pub mod asset;
pub mod caller;
pub mod clock;
pub mod digest;
pub mod error;
pub mod explain;
pub mod name;
pub mod origin;
pub mod package;
pub mod page;
pub mod path;
pub mod policy;
pub mod quota;
pub mod verdict;
pub mod version;

pub use action::Action;
pub use arn::Arn;
pub use asset::AssetName;
pub use caller::{Caller, Principal, PrincipalKind, TokenScope};
pub use clock::{Clock, Secrets, SystemClock, SystemSecrets};
pub use digest::{Digest, Digests, Hasher};
pub use error::{Error, Resource, Result, ValidationReason};
pub use jiff::Timestamp;
pub use name::{AccountId, ConnectionName, DomainName, RepositoryName};
pub use origin::{Control, Controls, OriginControls};
pub use package::{FormatName, PackageName};
pub use page::{Page, PageRequest};
pub use version::{Flags, Origin, OriginKind, PublishTime, TimeSource, Version, VersionStatus};
