//! Where blobs are kept: the setting `blob-url` and what it opens.

use super::BlobError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long to wait for a connection to the object store.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an object store may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a request is tried again; whoever waits for it is told to come again after that.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_RETRIES: usize = 4;

/// Where blobs are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum BlobUrl {
    /// A folder of this machine, made if it is missing.
    Folder(PathBuf),
    /// A bucket of an S3-compatible object store.
    S3(S3Place),
}

/// A bucket, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Place {
    bucket: String,
    /// What all names begin with; empty for none.
    prefix: String,
    /// Another server than Amazon's.
    endpoint: Option<String>,
    region: Option<String>,
    /// `BUCKET.HOST` instead of `HOST/BUCKET`.
    virtual_hosted: bool,
    /// `AWS_…` variables: keys, profiles of machines and containers.
    variables: Vec<(String, String)>,
}

impl std::fmt::Debug for BlobUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_string())
    }
}

/// Without anything secret.
impl std::fmt::Display for BlobUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3(place) if place.prefix.is_empty() => write!(f, "s3://{}", place.bucket),
            Self::S3(place) => write!(f, "s3://{}/{}", place.bucket, place.prefix),
        }
    }
}

impl BlobUrl {
    /// Reads a setting: `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&virtual-hosted=true]`, else
    /// `file://PATH` or a path. `variables` are the `AWS_…` variables of the process. The error says what it should
    /// look like and does not repeat the text.
    pub fn parse(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, &'static str> {
        if !text.starts_with("s3://") {
            let path = text.strip_prefix("file://").unwrap_or(text);
            // Such a folder would be taken for what was meant, and filled.
            if path.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("'files', file://PATH or s3://BUCKET/PREFIX");
            }
            return Ok(Self::Folder(path.into()));
        }
        let url = Url::parse(text).map_err(|_| "s3://BUCKET/PREFIX?endpoint=URL")?;
        let bucket =
            url.host_str().filter(|host| !host.is_empty()).ok_or("s3:// and the name of a bucket")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("without keys: those are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        }
        let mut place = S3Place {
            bucket: bucket.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
            endpoint: None,
            region: None,
            virtual_hosted: false,
            variables: variables.into_iter().collect(),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "endpoint" => place.endpoint = Some(value.into_owned()),
                "region" => place.region = Some(value.into_owned()),
                "virtual-hosted" => place.virtual_hosted = value == "true",
                _ => {
                    return Err(
                        "s3://BUCKET/PREFIX with the parameters endpoint, region and virtual-hosted alone",
                    );
                }
            }
        }
        // Whoever points the AWS CLI at Weir does not mean Weir's own bucket.
        place.variables.retain(|(name, _)| name.starts_with("AWS_") && !name.starts_with("AWS_ENDPOINT"));
        Ok(Self::S3(place))
    }

    /// Whether nodes on other machines see the same blobs.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::S3(_))
    }
}

impl S3Place {
    pub(crate) fn open(&self) -> Result<Arc<dyn ObjectStore>, BlobError> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &self.variables {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(self.virtual_hosted)
            .with_client_options(
                ClientOptions::new()
                    .with_connect_timeout(CONNECT)
                    .with_read_timeout(SILENCE)
                    // A large file may take as long as it likes, while bytes come.
                    .with_timeout_disabled()
                    .with_allow_http(true),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: MOST_RETRIES,
                retry_timeout: PATIENCE,
            });
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        let store = builder.build()?;
        if self.prefix.is_empty() {
            return Ok(Arc::new(store));
        }
        Ok(Arc::new(PrefixStore::new(store, self.prefix.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BlobUrl, &'static str> {
        let variables = [("AWS_REGION", "r"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:8090"), ("HOME", "/h")];
        BlobUrl::parse(text, variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn a_blob_setting_is_a_bucket_or_a_folder() {
        assert_eq!(parse("/a/blobs"), Ok(BlobUrl::Folder("/a/blobs".into())));
        assert_eq!(parse("file:///a/blobs"), Ok(BlobUrl::Folder("/a/blobs".into())));
        let Ok(BlobUrl::S3(place)) = parse("s3://packages/weir/one/?endpoint=http%3A%2F%2F127.0.0.1%3A9000")
        else {
            panic!()
        };
        assert_eq!((&*place.bucket, &*place.prefix), ("packages", "weir/one"));
        assert_eq!(place.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(place.variables, [("AWS_REGION".to_owned(), "r".to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_keys_are_never_shown() {
        for text in [
            "s3://",
            "s3:///prefix",
            "s3://key:secret@bucket",
            "s3://bucket?color=red",
            "s3:/bucket",
            "gs://b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let Ok(url) = parse("s3://bucket/p?region=x") else { panic!() };
        assert_eq!(format!("{url:?}"), "s3://bucket/p");
    }
}
