//! The JSON API that came before the simple index in JSON: `pypi/NAME/json` and `pypi/NAME/VERSION/json`, which
//! editors and update bots read. `info` is the core metadata of one file; what no file tells is null.

use crate::core_metadata::{self, CoreMetadata};
use crate::document::File;
use crate::page::{Release, relative, release};
use crate::{file_name, version};
use http::StatusCode;
use serde_json::{Map, Value, json};
use weir_core::verdict::Decision;
use weir_core::{AssetName, Error, PackageName, Result, Timestamp};
use weir_protocol::Call;
use weir_protocol::respond::{self, Response};
use weir_registry::Registry;
use weir_registry::view::PackageView;

/// Answers for a version, or for the newest one with the files of all.
pub(crate) async fn project(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    number: Option<&str>,
) -> Result<Response> {
    let view = registry.view_with_metadata(&call.scope, package, call.freshness()).await?;
    let decision = match number {
        Some(number) => {
            let key = version::parse(number)?;
            let found = view.verdict.version(key.key()).filter(|_| view.verdict.offers(key.key()));
            found.ok_or_else(|| view.refusal(Some(key.key())))?
        }
        None => newest(&view).ok_or_else(|| view.refusal(None))?,
    };
    let shown = release(&view, decision)?;
    let mut info = info(registry, call, package, decision, &shown).await?;
    let yanked = decision.flags.yanked.as_deref();
    info.insert("yanked".into(), yanked.is_some().into());
    info.insert("yanked_reason".into(), yanked.filter(|reason| !reason.is_empty()).into());
    info.insert("package_url".into(), format!("{}simple/{}/", call.base, package.name).into());
    let place = Place { call, package };
    let mut answer = json!({ "info": info, "last_serial": 0, "urls": place.files(&shown) });
    if number.is_none() {
        let mut releases = Map::new();
        for decision in view.verdict.listed() {
            releases.insert(decision.text.to_string(), place.files(&release(&view, decision)?));
        }
        answer["releases"] = releases.into();
    }
    Ok(call.answer(respond::json(StatusCode::OK, &answer)))
}

/// The highest version that is listed, stable and not yanked, else the highest.
fn newest(view: &PackageView) -> Option<&Decision> {
    let best = |decision: &&Decision| {
        let fine = decision.flags.yanked.is_none();
        (fine && version::is_stable(&decision.key), fine, version::order(&decision.key))
    };
    view.verdict.listed().max_by_key(best)
}

/// Core metadata of the version: of a wheel rather than of its source.
async fn info(
    registry: &Registry,
    call: &Call,
    package: &PackageName,
    decision: &Decision,
    shown: &Release<'_>,
) -> Result<Map<String, Value>> {
    let is_wheel = |file: &&File<'_>| file.filename.ends_with(".whl");
    let wheels = shown.files.iter().filter(|file| is_wheel(file) && file.core_metadata.is_some());
    let others = shown.files.iter().filter(|file| !is_wheel(file));
    for file in wheels.take(1).chain(others.take(1)) {
        let Ok(companion) = AssetName::parse(&format!("{}.metadata", file.filename)) else { continue };
        let opened = match registry.open_companion(&call.scope, package, &decision.key, &companion).await {
            Ok(opened) => opened,
            // The index alone tells enough for an answer.
            Err(Error::NotFound { .. } | Error::BadUpstream { .. } | Error::Unavailable { .. }) => continue,
            Err(error) => return Err(error),
        };
        let bytes = opened.collect(core_metadata::MAX_BYTES).await?;
        if let Ok(metadata) = CoreMetadata::parse("metadata", &bytes) {
            return Ok(metadata.json());
        }
    }
    // No file was read yet: the index tells as much as this.
    let mut info = CoreMetadata::default().json();
    info.insert("name".into(), Value::from(&*package.name));
    info.insert("version".into(), Value::from(&*decision.text));
    let requirement = shown.files.iter().find_map(|file| file.requires_python.as_deref());
    info.insert("requires_python".into(), requirement.into());
    Ok(info)
}

struct Place<'a> {
    call: &'a Call,
    package: &'a PackageName,
}

impl Place<'_> {
    fn files(&self, release: &Release<'_>) -> Value {
        release.files.iter().map(|file| self.file(&release.version, file)).collect()
    }

    fn file(&self, version: &str, file: &File<'_>) -> Value {
        let read = file_name::read(self.package, &file.filename);
        let digests: Map<String, Value> =
            file.hashes.iter().map(|(name, hex)| (name.to_string(), Value::from(&**hex))).collect();
        let time = file.upload_time.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let seconds = time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        let reason = file.yanked.as_deref().filter(|reason| !reason.is_empty());
        json!({
            "comment_text": null,
            "digests": digests,
            "downloads": -1,
            "filename": file.filename,
            "has_sig": false,
            "md5_digest": file.hash("md5"),
            "packagetype": read.as_ref().map(|read| read.kind.as_str()),
            "python_version": read.as_ref().map(file_name::python_version),
            "requires_python": file.requires_python,
            "size": file.size,
            "upload_time": seconds,
            "upload_time_iso_8601": file.upload_time,
            "url": format!("{}simple/{}/{}", self.call.base, self.package.name, relative(version, &file.filename)),
            "yanked": file.yanked.is_some(),
            "yanked_reason": reason,
        })
    }
}
