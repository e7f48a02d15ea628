//! The 48 operations of the service model: their names, methods and paths, and for those that are
//! built the call that runs them. Every call has the same order: input, use case, wire shape.

pub(crate) mod asset;
pub(crate) mod connection;
pub(crate) mod domain;
pub(crate) mod package;
pub(crate) mod repository;
pub(crate) mod tag;
pub(crate) mod token;
pub(crate) mod version;

use crate::error::ApiError;
use crate::input::Input;
use crate::wire::without_nulls;
use http::{HeaderValue, Method, Response, header};
use serde_json::Value;
use weir_core::{Caller, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::Registry;

/// What a call works with.
pub(crate) struct Context<'a> {
    /// The use cases.
    pub(crate) registry: &'a Registry,
    /// Who asks.
    pub(crate) caller: &'a Caller,
    /// The address of this server as the client knows it, without a slash at its end.
    pub(crate) base: &'a str,
}

/// One operation: reads its input, then runs.
pub(crate) trait Call: Sized + Send {
    /// Whether the body is a file, which [`Call::run`] takes as a stream.
    const STREAMS: bool = false;

    /// Reads the input; each failure names the field.
    fn read(input: &Input<'_>) -> Result<Self>;

    /// Runs the use case and writes the answer. `body` is empty unless the call streams.
    fn run(
        self,
        context: &Context<'_>,
        body: RequestBody,
    ) -> impl Future<Output = Result<Response<Body>>> + Send;
}

macro_rules! operations {
    ($($name:ident $method:ident $path:literal $(=> $call:ty)?;)*) => {
        /// An operation of the service model (AWS CodeArtifact, API version 2018-09-22).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's own and say what they do")]
        pub enum Operation { $($name),* }

        impl Operation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// AWS's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Its method.
            pub fn method(self) -> Method {
                match self { $(Self::$name => Method::$method),* }
            }

            /// Its path, below the prefix of the API if there is one.
            pub fn path(self) -> &'static str {
                match self { $(Self::$name => $path),* }
            }

            /// Whether this version of Weir has it.
            pub fn is_built(self) -> bool {
                match self { $(Self::$name => operations!(@built $($call)?)),* }
            }

            /// Whether its body is a file.
            pub(crate) fn streams(self) -> bool {
                match self { $(Self::$name => operations!(@streams $($call)?)),* }
            }

            /// Reads the input and forgets it: says whether it is valid.
            #[cfg(test)]
            pub(crate) fn check(self, input: &Input<'_>) -> Result<()> {
                match self { $(Self::$name => operations!(@check input $($call)?)),* }
            }

            /// Reads the input and runs the call.
            pub(crate) async fn run(
                self,
                context: &Context<'_>,
                input: &Input<'_>,
                body: RequestBody,
            ) -> Result<Response<Body>, ApiError> {
                match self {
                    $(Self::$name => operations!(@run self context input body $($call)?)),*
                }
            }
        }
    };
    (@built) => { false };
    (@built $call:ty) => { true };
    (@streams) => { false };
    (@streams $call:ty) => { <$call as Call>::STREAMS };
    (@check $input:ident) => { Ok(()) };
    (@check $input:ident $call:ty) => { <$call as Call>::read($input).map(drop) };
    (@run $self:ident $context:ident $input:ident $body:ident) => { Err(ApiError::NotBuilt($self)) };
    // Boxed, so that the future of a request is as large as one call and not as their sum.
    (@run $self:ident $context:ident $input:ident $body:ident $call:ty) => {
        Ok(Box::pin(<$call as Call>::read($input)?.run($context, $body)).await?)
    };
}

operations! {
    AssociateExternalConnection POST "/v1/repository/external-connection" => connection::Associate;
    CopyPackageVersions POST "/v1/package/versions/copy" => version::Copy;
    CreateDomain POST "/v1/domain" => domain::Create;
    CreatePackageGroup POST "/v1/package-group";
    CreateRepository POST "/v1/repository" => repository::Create;
    DeleteDomain DELETE "/v1/domain" => domain::Delete;
    DeleteDomainPermissionsPolicy DELETE "/v1/domain/permissions/policy";
    DeletePackage DELETE "/v1/package" => package::Delete;
    DeletePackageGroup DELETE "/v1/package-group";
    DeletePackageVersions POST "/v1/package/versions/delete" => version::Delete;
    DeleteRepository DELETE "/v1/repository" => repository::Delete;
    // Plural, unlike its two sisters.
    DeleteRepositoryPermissionsPolicy DELETE "/v1/repository/permissions/policies";
    DescribeDomain GET "/v1/domain" => domain::Describe;
    DescribePackage GET "/v1/package" => package::Describe;
    DescribePackageGroup GET "/v1/package-group";
    DescribePackageVersion GET "/v1/package/version" => version::Describe;
    DescribeRepository GET "/v1/repository" => repository::Describe;
    DisassociateExternalConnection DELETE "/v1/repository/external-connection" => connection::Disassociate;
    DisposePackageVersions POST "/v1/package/versions/dispose" => version::Dispose;
    GetAssociatedPackageGroup GET "/v1/get-associated-package-group";
    GetAuthorizationToken POST "/v1/authorization-token" => token::Get;
    GetDomainPermissionsPolicy GET "/v1/domain/permissions/policy";
    GetPackageVersionAsset GET "/v1/package/version/asset" => asset::Get;
    GetPackageVersionReadme GET "/v1/package/version/readme" => version::Readme;
    GetRepositoryEndpoint GET "/v1/repository/endpoint" => repository::Endpoint;
    GetRepositoryPermissionsPolicy GET "/v1/repository/permissions/policy";
    ListAllowedRepositoriesForGroup GET "/v1/package-group-allowed-repositories";
    ListAssociatedPackages GET "/v1/list-associated-packages";
    ListDomains POST "/v1/domains" => domain::List;
    ListPackageGroups POST "/v1/package-groups";
    ListPackageVersionAssets POST "/v1/package/version/assets" => asset::List;
    ListPackageVersionDependencies POST "/v1/package/version/dependencies" => version::Dependencies;
    ListPackageVersions POST "/v1/package/versions" => version::List;
    ListPackages POST "/v1/packages" => package::List;
    ListRepositories POST "/v1/repositories" => repository::List;
    ListRepositoriesInDomain POST "/v1/domain/repositories" => repository::ListInDomain;
    ListSubPackageGroups POST "/v1/package-groups/sub-groups";
    ListTagsForResource POST "/v1/tags" => tag::List;
    PublishPackageVersion POST "/v1/package/version/publish" => asset::Publish;
    PutDomainPermissionsPolicy PUT "/v1/domain/permissions/policy";
    PutPackageOriginConfiguration POST "/v1/package" => package::PutOrigin;
    PutRepositoryPermissionsPolicy PUT "/v1/repository/permissions/policy";
    TagResource POST "/v1/tag" => tag::Tag;
    UntagResource POST "/v1/untag" => tag::Untag;
    UpdatePackageGroup PUT "/v1/package-group";
    UpdatePackageGroupOriginConfiguration PUT "/v1/package-group-origin-configuration";
    UpdatePackageVersionsStatus POST "/v1/package/versions/update_status" => version::UpdateStatus;
    UpdateRepository PUT "/v1/repository" => repository::Update;
}

/// The operation at a method and the decoded segments of a path.
pub fn route(method: &Method, segments: &[&str]) -> Option<Operation> {
    Operation::ALL.iter().copied().find(|operation| {
        operation.method() == *method
            && operation.path().trim_start_matches('/').split('/').eq(segments.iter().copied())
    })
}

/// A JSON answer. No operation declares another status than 200.
pub(crate) fn json(value: Value) -> Response<Body> {
    let mut response = Response::new(Body::from(without_nulls(value).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_lead_to_their_operations() {
        let check = |method: Method, segments: &[&str], expected: Option<Operation>| {
            assert_eq!(route(&method, segments), expected, "{method} {segments:?}");
        };
        check(Method::POST, &["v1", "package"], Some(Operation::PutPackageOriginConfiguration));
        check(Method::GET, &["v1", "package"], Some(Operation::DescribePackage));
        check(Method::DELETE, &["v1", "package"], Some(Operation::DeletePackage));
        check(
            Method::POST,
            &["v1", "package", "versions", "update_status"],
            Some(Operation::UpdatePackageVersionsStatus),
        );
        check(
            Method::DELETE,
            &["v1", "repository", "permissions", "policies"],
            Some(Operation::DeleteRepositoryPermissionsPolicy),
        );
        check(Method::PATCH, &["v1", "package"], None);
        check(Method::GET, &["v1"], None);
        check(Method::GET, &[], None);
        check(Method::GET, &["v1", "package", "version/asset"], None);
    }

    #[test]
    fn all_are_listed_and_those_of_groups_and_policies_are_not_built() {
        assert_eq!(Operation::ALL.len(), 48);
        for operation in Operation::ALL {
            let later = ["PackageGroup", "PermissionsPolicy", "ForGroup", "AssociatedPackages"];
            let expected = !later.iter().any(|part| operation.name().contains(part));
            assert_eq!(operation.is_built(), expected, "{}", operation.name());
        }
    }
}
