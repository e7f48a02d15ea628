//! The actions a policy can allow or deny.

use std::fmt;

macro_rules! actions {
    ($($name:ident),* $(,)?) => {
        /// A `codeartifact:*` action, or one of Weir's own under `weir:*`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's own and say what they allow")]
        pub enum Action { $($name),* }

        impl Action {
            /// Every action, for tests and documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

actions!(
    AssociateExternalConnection,
    AssociateWithDownstreamRepository,
    CopyPackageVersions,
    CreateDomain,
    CreateRepository,
    DeleteDomain,
    DeletePackage,
    DeletePackageVersions,
    DeleteRepository,
    DescribeDomain,
    DescribePackage,
    DescribePackageVersion,
    DescribeRepository,
    DisassociateExternalConnection,
    DisposePackageVersions,
    GetAuthorizationToken,
    GetPackageVersionAsset,
    GetPackageVersionReadme,
    GetRepositoryEndpoint,
    ListDomains,
    ListPackages,
    ListPackageVersionAssets,
    ListPackageVersionDependencies,
    ListPackageVersions,
    ListRepositories,
    ListRepositoriesInDomain,
    ListTagsForResource,
    PublishPackageVersion,
    PutPackageMetadata,
    PutPackageOriginConfiguration,
    ReadFromRepository,
    TagResource,
    UntagResource,
    UpdatePackageVersionsStatus,
    UpdateRepository,
    // Weir's own, in policies as `weir:NAME`.
    ManageIdentities,
    ManageConnections,
    ManageStore,
    Explain,
);

impl Action {
    /// `codeartifact` or `weir`.
    pub fn service(self) -> &'static str {
        match self {
            Self::ManageIdentities | Self::ManageConnections | Self::ManageStore | Self::Explain => "weir",
            _ => "codeartifact",
        }
    }

    /// Whether it only reads; a read-only token may do these and no others.
    pub fn is_read(self) -> bool {
        let word = self.word();
        ["Describe", "Get", "List", "Read", "Explain"].iter().any(|prefix| word.starts_with(prefix))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service(), self.word())
    }
}
