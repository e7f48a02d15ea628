//! An upload in the form of the legacy API (`:action=file_upload`): received while it streams, held against
//! the file itself, and turned into a publication. What the form says besides project, version and digests is
//! not looked at: everything is told by the file.

use crate::attestation;
use crate::core_metadata::CoreMetadata;
use crate::distribution::Source;
use crate::document::{File, VersionDocument};
use crate::file_name::{self, Kind};
use crate::{FORMAT, describe, name, version};
use blake2::Blake2b;
use blake2::digest::Digest as _;
use blake2::digest::consts::U32;
use bytes::Bytes;
use http::StatusCode;
use weir_core::name::shown;
use weir_core::{Action, Arn, AssetName, Error, Flags, PackageName, Resource, Result, Version};
use weir_protocol::multipart::{Multipart, MultipartLimits};
use weir_protocol::respond::{self, Response};
use weir_protocol::{Call, RequestBody};
use weir_registry::publish::{NewAsset, Publication};
use weir_registry::{Registry, Spooled};

/// The fields of a form together, its files apart.
const MOST_FIELD_BYTES: usize = 16 << 20;
/// Fields of a form; a project with a thousand dependencies has as many.
const MOST_PARTS: usize = 5_000;
/// Headers of one part.
const MOST_HEADER_BYTES: usize = 8 << 10;

/// What an upload must say and what is looked at.
#[derive(Debug, Default)]
struct Form {
    fields: Vec<(String, String)>,
    file: Option<Received>,
}

/// The distribution, in the spool.
#[derive(Debug)]
struct Received {
    name: String,
    spooled: Spooled,
    blake2_256: String,
}

/// `POST` of a form to the repository's address.
pub(crate) async fn upload(registry: &Registry, call: &Call, body: RequestBody) -> Result<Response> {
    let form = receive(registry, call, body).await?;
    let publication = publication(registry, form).await?;
    let published = registry.publish(&call.scope, publication).await?;
    let told = match (&published.notice, published.changed) {
        (Some(notice), _) => format!("{notice}\n"),
        (None, true) => "published\n".to_owned(),
        (None, false) => "this file is there already, with the same bytes\n".to_owned(),
    };
    Ok(respond::text(StatusCode::OK, told))
}

async fn receive(registry: &Registry, call: &Call, body: RequestBody) -> Result<Form> {
    let most = registry.settings().max_asset_bytes;
    let body = body.limited(most.saturating_add(2 * MOST_FIELD_BYTES as u64), "max-asset-bytes");
    let limits = MultipartLimits { parts: MOST_PARTS, header_bytes: MOST_HEADER_BYTES };
    let mut parts = Multipart::new(body, &call.headers, limits)?;
    let mut form = Form::default();
    let mut left = MOST_FIELD_BYTES;
    while let Some(part) = parts.next_part().await? {
        match part.name.as_str() {
            "content" if form.file.is_some() => {
                return Err(Error::invalid(
                    "content",
                    "stands twice in the form; one upload brings one file",
                ));
            }
            "content" => {
                let name = part.file_name.ok_or_else(|| Error::invalid("content", "has no file name"))?;
                // Nobody fills the spool who may not publish, or with what cannot be published.
                let package = form.project(&name)?;
                may_publish(registry, call, &package)?;
                form.file = Some(spool(registry, &mut parts, name, most).await?);
            }
            // A signature in the manner of old; clients have stopped to ask for it.
            "gpg_signature" => {}
            _ => {
                let text = parts.text(left).await?;
                left = left.saturating_sub(text.len() + part.name.len());
                form.fields.push((part.name, text));
            }
        }
    }
    Ok(form)
}

async fn spool(registry: &Registry, parts: &mut Multipart, name: String, most: u64) -> Result<Received> {
    let mut writer = registry.spool()?;
    let mut blake2 = Blake2b::<U32>::new();
    while let Some(chunk) = parts.next_chunk().await? {
        if writer.written() + chunk.len() as u64 > most {
            return Err(Error::too_large(format!(
                "{} has more than {most} bytes (max-asset-bytes)",
                shown(&name)
            )));
        }
        blake2.update(&chunk);
        writer.write(chunk).await?;
    }
    let blake2_256 = hex::encode(blake2.finalize());
    Ok(Received { name, spooled: writer.finish().await?, blake2_256 })
}

fn may_publish(registry: &Registry, call: &Call, package: &PackageName) -> Result<()> {
    let (domain, repository) = (&call.scope.domain.row, &call.scope.repository.row.name);
    let region = &registry.settings().region;
    let arn = Arn::package(region, &domain.owner, &domain.name, repository, package);
    registry.authorize(&call.scope.caller, Action::PublishPackageVersion, &arn, &domain.owner, || {
        let message = format!("repository '{repository}' does not exist in domain '{}'", domain.name);
        Error::not_found(Resource::Repository, repository.as_str(), message)
    })
}

impl Form {
    /// The first value of a field that is not empty; some clients send many that are.
    fn get(&self, name: &str) -> Option<&str> {
        let mut values =
            self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        values.find(|value| !value.is_empty())
    }

    /// The project by the form, or while that says nothing by the file's name.
    fn project(&self, file: &str) -> Result<PackageName> {
        match self.get("name") {
            Some(text) => name::parse(text),
            None => name::parse(file.split('-').next().unwrap_or_default()),
        }
    }

    fn check_action(&self) -> Result<()> {
        let action = self.get(":action").unwrap_or_default();
        if action != "file_upload" {
            return Err(Error::invalid(
                ":action",
                format_args!("'{}' is not supported; an upload is file_upload", shown(action)),
            ));
        }
        let protocol = self.get("protocol_version").unwrap_or("1");
        if protocol != "1" {
            return Err(Error::invalid("protocol_version", format_args!("'{}' is not 1", shown(protocol))));
        }
        Ok(())
    }
}

impl Received {
    /// Compares with every digest that the form names.
    fn check_digests(&self, form: &Form) -> Result<()> {
        let digests = &self.spooled.digests;
        for (field, found) in [
            ("md5_digest", hex::encode(digests.md5)),
            ("sha256_digest", digests.sha256.hex()),
            ("blake2_256_digest", self.blake2_256.clone()),
        ] {
            if let Some(promised) = form.get(field)
                && !promised.eq_ignore_ascii_case(&found)
            {
                return Err(Error::invalid(
                    field,
                    format_args!(
                        "the form says {}, but of the {} bytes of {} that arrived it is {found}: the file was changed \
                         or cut on its way",
                        shown(promised),
                        self.spooled.size,
                        shown(&self.name)
                    ),
                ));
            }
        }
        Ok(())
    }
}

async fn publication(registry: &Registry, mut form: Form) -> Result<Publication> {
    form.check_action()?;
    let received = form.file.take().ok_or_else(|| Error::invalid("content", "the form brings no file"))?;
    let package = form.project(&received.name)?;
    let asset = AssetName::parse(&received.name)?;
    let version = version_of(&form, &package, &received.name)?;
    received.check_digests(&form)?;
    let opened = open(&package, received).await?;
    let Opened { received, kind, metadata, bytes } = opened;
    let mut file = File {
        filename: received.name.clone().into(),
        hashes: vec![
            ("blake2b_256".into(), received.blake2_256.clone().into()),
            ("md5".into(), hex::encode(received.spooled.digests.md5).into()),
            ("sha256".into(), received.spooled.digests.sha256.hex().into()),
        ],
        requires_python: metadata.get("requires-python").map(|text| text.to_owned().into()),
        size: Some(received.spooled.size),
        upload_time: Some(format!("{:.6}", registry.now()).into()),
        ..File::default()
    };
    let spooled = spool_bytes(registry, bytes).await?;
    file.own_metadata = Some(spooled.digests.sha256.hex().into());
    let mut derived = vec![(format!("{asset}.metadata"), spooled)];
    if let Some(text) = form.get("attestations") {
        if text.len() > attestation::MAX_BYTES {
            let most = attestation::MAX_BYTES;
            return Err(Error::too_large(format!(
                "the attestations have {} bytes; {most} are taken",
                text.len()
            )));
        }
        let document = attestation::provenance(text, &received.name, &received.spooled.digests.sha256)?;
        file.own_provenance = true;
        derived.push((format!("{asset}.provenance"), spool_bytes(registry, document).await?));
    }
    let mut assets = vec![NewAsset { name: asset, file: received.spooled, derived: false }];
    for (name, file) in derived {
        assets.push(NewAsset { name: AssetName::parse(&name)?, file, derived: true });
    }
    let document = VersionDocument { files: vec![file], info: Some(metadata.info(kind == Kind::Wheel)) };
    let document = document.write()?;
    let mut description = describe::describe(&document);
    description.readme = metadata.description().map(str::to_owned);
    Ok(Publication {
        package,
        version,
        metadata: document,
        package_metadata: None,
        description,
        assets,
        tags: Vec::new(),
        flags: Flags::default(),
        unfinished: false,
    })
}

/// The version by the form, which must be that of the file's name.
fn version_of(form: &Form, package: &PackageName, file: &str) -> Result<Version> {
    let Some(read) = file_name::read(package, file) else {
        return Err(Error::invalid(
            "content",
            format_args!(
                "'{}' is not the name of a wheel or source distribution of {}: {}-VERSION-PYTHON-ABI-PLATFORM.whl or \
                 {}-VERSION.tar.gz, with a version by PEP 440",
                shown(file),
                package.name,
                package.name.replace('-', "_"),
                package.name.replace('-', "_"),
            ),
        ));
    };
    let is_taken = match read.kind {
        Kind::Wheel => true,
        Kind::Source => matches!(read.rest, ".tar.gz" | ".zip"),
        Kind::Egg => false,
    };
    if !is_taken {
        return Err(Error::invalid(
            "content",
            format_args!("'{}': wheels (.whl) and source distributions (.tar.gz) are taken", shown(file)),
        ));
    }
    if let Some(kind) = form.get("filetype")
        && kind != read.kind.as_str()
    {
        return Err(Error::invalid(
            "filetype",
            format_args!("the form says {}, but {} is a {}", shown(kind), shown(file), read.kind.as_str()),
        ));
    }
    let Some(text) = form.get("version") else { return Err(Error::invalid("version", "the form has none")) };
    let version = version::parse(text)?;
    if version.key() != read.version.key() {
        return Err(Error::invalid(
            "version",
            format_args!("the form says {}, the file's name says {}", shown(text), read.version),
        ));
    }
    Ok(version)
}

struct Opened {
    received: Received,
    kind: Kind,
    metadata: CoreMetadata,
    bytes: Vec<u8>,
}

/// Reads the file off the async threads.
async fn open(package: &PackageName, received: Received) -> Result<Opened> {
    let mut reader = received.spooled.reader()?;
    let package = package.clone();
    let work = move || {
        let read = file_name::read(&package, &received.name);
        let read = read.ok_or_else(|| Error::internal("a file name that was read before"))?;
        let source = Source {
            package: &package,
            name: (&received.name, &read),
            size: received.spooled.size,
            file: &mut reader,
        };
        let found = source.check()?;
        let kind = read.kind;
        Ok(Opened { kind, metadata: found.metadata, bytes: found.bytes, received })
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

async fn spool_bytes(registry: &Registry, bytes: Vec<u8>) -> Result<Spooled> {
    let mut writer = registry.spool()?;
    writer.write(Bytes::from(bytes)).await?;
    Ok(writer.finish().await?)
}

/// What a request without a form is told.
pub(crate) fn no_upload() -> Error {
    Error::not_found(
        Resource::Package,
        "upload",
        format!(
            "uploads are a POST of a multipart form to the repository's own address; of {FORMAT} there is no other"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Form { fields: fields.collect(), file: None }
    }

    #[test]
    fn an_upload_says_what_it_is() {
        form(&[(":action", "file_upload"), ("protocol_version", "1")]).check_action().unwrap();
        form(&[(":action", "file_upload")]).check_action().unwrap();
        for wrong in [form(&[]), form(&[(":action", "submit")])] {
            assert!(wrong.check_action().unwrap_err().to_string().contains(":action"));
        }
        assert!(form(&[(":action", "file_upload"), ("protocol_version", "2")]).check_action().is_err());
        // pdm sends every field it knows, most of them empty.
        assert_eq!(form(&[("name", ""), ("name", "x")]).get("name"), Some("x"));
    }

    #[test]
    fn form_and_file_name_agree() {
        let package = name::parse("weir-demo").unwrap();
        let check = |fields: &[(&str, &str)], file: &str| {
            version_of(&form(fields), &package, file)
                .map(|version| version.to_string())
                .map_err(|e| e.to_string())
        };
        let wheel = "weir_demo-1.0-py3-none-any.whl";
        assert_eq!(check(&[("version", "1.0"), ("filetype", "bdist_wheel")], wheel).as_deref(), Ok("1.0"));
        assert_eq!(check(&[("version", "1.0.0")], "weir-demo-1.0.tar.gz").as_deref(), Ok("1.0.0"));
        for (fields, file, word) in [
            (&[("version", "1.1")][..], wheel, "the file's name says 1.0"),
            (&[("version", "1.0"), ("filetype", "sdist")], wheel, "is a bdist_wheel"),
            (&[], wheel, "has none"),
            (&[("version", "one")], wheel, "PEP 440"),
            (&[("version", "1.0")], "other-1.0.tar.gz", "is not the name"),
            (&[("version", "1.0")], "weir_demo-1.0.tar.bz2", "are taken"),
            (&[("version", "1.0")], "weir_demo-1.0-py2.7.egg", "are taken"),
            (&[("version", "1.0")], "../weir_demo-1.0.tar.gz", "is not the name"),
        ] {
            let error = check(fields, file).unwrap_err();
            assert!(error.contains(word), "{file}: {error}");
        }
    }
}
