//! PublishPackageVersion, ListPackageVersionAssets, GetPackageVersionAsset.

use super::{Call, Context, json};
use crate::input::{self, DEFAULT_PAGE, Input, PackageInput};
use crate::wire;
use http::{HeaderValue, Response, header};
use weir_core::{AssetName, Digest, Error, PageRequest, Result};
use weir_protocol::{Body, RequestBody};
use weir_registry::publish::NewAsset;

pub(crate) struct Publish {
    package: PackageInput,
    version: String,
    asset: AssetName,
    sha256: Digest,
    unfinished: bool,
}

impl Call for Publish {
    const STREAMS: bool = true;

    fn read(input: &Input<'_>) -> Result<Self> {
        let package = input.package()?;
        let version = input.version()?;
        let asset = AssetName::parse(input.required("asset")?)?;
        // assetSHA256 travels as this header, which is the payload hash of the signature as well.
        let field = "x-amz-content-sha256";
        let value = input.headers.get(field).ok_or_else(|| input::missing(field))?;
        let sha256 = value.to_str().ok().and_then(Digest::parse);
        let sha256 = sha256
            .ok_or_else(|| Error::invalid(field, "must be the asset's SHA-256, 64 lower-case hex digits"))?;
        // SDKs send `true`; AWS's reference says the word itself.
        let unfinished = input.word("unfinished", &["true", "unfinished", "false"])?;
        Ok(Self {
            package,
            version,
            asset,
            sha256,
            unfinished: unfinished.is_some_and(|word| word != "false"),
        })
    }

    async fn run(self, context: &Context<'_>, body: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let format = package.package.format;
        let known = context.registry.format(format.as_str()).filter(|format| format.published_by_api());
        let Some(known) = known else {
            return Err(Error::invalid(
                "format",
                format_args!("'{format}' is not published by this operation; use its own package manager"),
            ));
        };
        let asset = known.parse_asset_name(self.asset.as_str())?;
        context.registry.may_publish(context.caller, &package).await?;
        let limit = context.registry.settings().max_asset_bytes;
        let mut body = body.limited(limit, "max-asset-bytes");
        let mut spool = context.registry.spool()?;
        while let Some(chunk) = body.next_chunk().await? {
            spool.write(chunk).await?;
        }
        let file = spool.finish().await?;
        if file.digests.sha256 != self.sha256 {
            return Err(Error::invalid(
                "x-amz-content-sha256",
                format_args!(
                    "the body's SHA-256 is {}, not {}; nothing was stored",
                    file.digests.sha256, self.sha256
                ),
            ));
        }
        let asset = NewAsset { name: asset, file, derived: false };
        let (summary, asset) = context
            .registry
            .publish_asset(context.caller, &package, &self.version, asset, self.unfinished)
            .await?;
        Ok(json(wire::published(&package.package, &summary, &asset)))
    }
}

pub(crate) struct List {
    package: PackageInput,
    version: String,
    page: PageRequest,
}

impl Call for List {
    fn read(input: &Input<'_>) -> Result<Self> {
        Ok(Self { package: input.package()?, version: input.version()?, page: input.page(DEFAULT_PAGE)? })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let (summary, page) = context
            .registry
            .list_package_version_assets(context.caller, &package, &self.version, &self.page)
            .await?;
        Ok(json(wire::assets(&package.package, &summary, &page)))
    }
}

pub(crate) struct Get {
    package: PackageInput,
    version: String,
    asset: String,
    revision: Option<String>,
}

impl Call for Get {
    fn read(input: &Input<'_>) -> Result<Self> {
        let asset = input.required("asset")?;
        input::check_text("asset", asset, 1, 255)?;
        let revision = input.text("revision").map(str::to_owned);
        if let Some(revision) = &revision {
            input::check_revision("revision", revision)?;
        }
        Ok(Self { package: input.package()?, version: input.version()?, asset: asset.to_owned(), revision })
    }

    async fn run(self, context: &Context<'_>, _: RequestBody) -> Result<Response<Body>> {
        let package = self.package.resolve(context.registry)?;
        let revision = self.revision.as_deref();
        let (summary, opened) = context
            .registry
            .package_version_asset(context.caller, &package, &self.version, &self.asset, revision)
            .await?;
        let size = opened.size;
        let mut response = Response::new(Body::of(opened.content(None), size));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        for (name, text) in [
            ("x-assetname", &self.asset),
            ("x-packageversion", &summary.version),
            ("x-packageversionrevision", &summary.revision),
        ] {
            headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).map_err(Error::internal)?);
        }
        Ok(response)
    }
}
