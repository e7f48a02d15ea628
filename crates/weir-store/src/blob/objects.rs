//! Blobs in an object store. A put is atomic and safe when it is answered.

use super::checked::Stamp;
use super::header::{HEADER_BYTES, HEADER_LEN, Header};
use super::read::{Blob, SMALL};
use super::{BlobError, Facts, Listed, MARK};
use crate::rows::Id;
use crate::spool::SpoolFile;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use weir_core::{Digest, Timestamp};

/// Above this a blob is sent in parts of this size, the smallest that S3 takes: each has the time of one silence.
pub(super) const PART: usize = 5 << 20;

/// Parts of one blob on their way at once; each is in memory until it is taken.
const PARTS_AT_ONCE: usize = 2;

/// How many are listed at a time.
const LISTED: usize = 500;

#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    pub(crate) async fn keep(&self, path: &str, spooled: SpoolFile) -> Result<(), BlobError> {
        let mut file = tokio::fs::File::from_std(spooled.open()?);
        let writer = BufWriter::with_capacity(self.store.clone(), Path::from(path), PART);
        let mut writer = writer.with_max_concurrency(PARTS_AT_ONCE);
        let sent =
            tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(1 << 20, &mut file), &mut writer)
                .await;
        if let Err(error) = sent {
            // What was sent in parts is given up; if that fails too, the store's own rules clean it up.
            let _ = writer.abort().await;
            return Err(error.into());
        }
        writer.shutdown().await?;
        Ok(())
    }

    /// As `keep`, for bytes in memory that are no more than fit into one request.
    pub(crate) async fn keep_bytes(&self, path: &str, bytes: Bytes) -> Result<(), BlobError> {
        let header = Header { size: bytes.len() as u64 }.write();
        let payload = PutPayload::from_iter([Bytes::copy_from_slice(&header), bytes]);
        self.store.put(&Path::from(path), payload).await?;
        Ok(())
    }

    pub(crate) async fn open(&self, path: &str) -> Result<Option<(Blob, Stamp)>, BlobError> {
        let location = Path::from(path);
        // One request tells the size, the header and a small blob's bytes.
        let range = GetRange::Bounded(0..SMALL + HEADER_BYTES);
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        let found = match self.store.get_opts(&location, options).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let object_size = found.meta.size;
        let stamp = stamp(&found.meta);
        let bytes = found.bytes().await?;
        let header = Header::read(&bytes, object_size).map_err(|fault| fault.of(path))?;
        let held = (header.size <= SMALL).then(|| bytes.slice(HEADER_LEN..));
        Ok(Some((Blob::object(self.store.clone(), location, header.size, held), stamp)))
    }

    pub(crate) async fn exists(&self, path: &str) -> Result<bool, BlobError> {
        Ok(self.object_size(path).await?.is_some())
    }

    pub(crate) async fn object_size(&self, path: &str) -> Result<Option<u64>, BlobError> {
        // Not HEAD, whose answer does not say whether the object or the whole bucket is absent.
        let options = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
        match self.store.get_opts(&Path::from(path), options).await {
            Ok(found) => Ok(Some(found.meta.size)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), BlobError> {
        match self.store.delete(&Path::from(path)).await {
            Err(error) if !is_absent(&error) => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The names of the folders in a folder.
    pub(crate) async fn folders(&self, path: &str) -> Result<Vec<Id>, BlobError> {
        let found = self.store.list_with_delimiter(Some(&Path::from(path))).await?;
        let names = found.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(Id::from));
        Ok(names.collect())
    }

    /// The blobs below a folder.
    pub(crate) fn list(&self, path: &str) -> BoxStream<'static, Result<Vec<Listed>, BlobError>> {
        let listed = |object: ObjectMeta| {
            let mut parts = object.location.as_ref().rsplit('/');
            let (rest, first) = (parts.next()?, parts.next()?);
            let modified = Timestamp::from_microsecond(object.last_modified.timestamp_micros()).ok()?;
            let size = object.size.saturating_sub(HEADER_BYTES);
            let digest = Digest::parse(&format!("{first}{rest}"))?;
            Some(Listed { digest, facts: Some(Facts { size, modified }) })
        };
        let found = self.store.list(Some(&Path::from(path)));
        let found =
            found.map_err(BlobError::from).try_filter_map(move |object| async move { Ok(listed(object)) });
        found.try_chunks(LISTED).map_err(|failed| failed.1).boxed()
    }

    pub(crate) async fn delete_all(&self, path: &str) -> Result<(), BlobError> {
        let found = self.store.list(Some(&Path::from(path))).map_ok(|object| object.location).boxed();
        let mut deleted = self.store.delete_stream(found);
        while let Some(done) = deleted.next().await {
            match done {
                Err(error) if !is_absent(&error) => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) async fn mark(&self) -> Result<Option<String>, BlobError> {
        match self.store.get(&Path::from(MARK)).await {
            Ok(found) => Ok(Some(String::from_utf8_lossy(&found.bytes().await?).into_owned())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn set_mark(&self, mark: &str) -> Result<String, BlobError> {
        let (path, payload) = (Path::from(MARK), PutPayload::from(mark.to_owned()));
        match self.store.put_opts(&path, payload.clone(), PutMode::Create.into()).await {
            Ok(_) => Ok(mark.to_owned()),
            Err(error @ object_store::Error::AlreadyExists { .. }) => {
                self.mark().await?.ok_or_else(|| error.into())
            }
            // An S3 server that knows no conditions says so.
            Err(error) if error.to_string().contains("NotImplemented") => {
                self.store.put(&path, payload).await?;
                Ok(mark.to_owned())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn health(&self) -> Result<(), BlobError> {
        let probe = Path::from(format!("probe-{}", std::process::id()));
        self.store.put(&probe, PutPayload::from_bytes(Bytes::from_static(b"probe"))).await?;
        self.store.delete(&probe).await?;
        Ok(())
    }
}

/// Times are whole seconds in S3, so the tag counts too.
fn stamp(object: &ObjectMeta) -> Stamp {
    let mut hasher = DefaultHasher::new();
    object.e_tag.hash(&mut hasher);
    Stamp(hasher.finish(), object.last_modified.timestamp_micros(), 0)
}

/// Whether there is no such object; a bucket or a key that the server does not know says nothing about objects.
fn is_absent(error: &object_store::Error) -> bool {
    let object_store::Error::NotFound { source, .. } = error else { return false };
    let said = source.to_string();
    !["NoSuchBucket", "InvalidAccessKeyId"].iter().any(|other| said.contains(other))
}
