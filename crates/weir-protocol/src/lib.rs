//! HTTP words shared by all edges: request targets, faces, credentials, bodies, conditional and
//! ranged answers, and the bounded readers of what publishers send. No format and no use case lives here.

pub mod accept;
pub mod archive;
pub mod attachments;
pub mod body;
pub mod call;
pub mod credentials;
pub mod error;
pub mod face;
pub mod index;
pub mod json;
pub mod multipart;
pub mod protocol;
pub mod respond;
pub mod target;

pub use body::{Body, BodyError, Files, RequestBody};
pub use call::Call;
pub use credentials::{Presented, bearer};
pub use face::{Face, FaceRules};
pub use json::RawObject;
pub use multipart::Multipart;
pub use protocol::{LoginRequest, Protocol, Request};
pub use respond::{Response, StoredFile};
pub use target::Target;
