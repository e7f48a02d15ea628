//! Weir as an installation begins: one domain, `main` behind which `npm-store` and `pypi-store` are connected
//! to the fixture, default settings, an administrator's token. A cold start is a copy of a data folder
//! that has seen nothing yet.

use super::Place;
use anyhow::Result;
use std::path::Path;
use weir_testkit::Weir;

/// A running server and where its clients go.
pub(super) struct Started {
    pub(super) weir: Weir,
    pub(super) npm: String,
    pub(super) pypi: String,
    pub(super) token: String,
}

/// Starts a server on a data folder, which stays.
pub(crate) async fn start(binary: &Path, data: &Path, fixture: &str) -> Weir {
    let builder = Weir::builder(binary).data(data);
    builder.npmjs(&format!("{fixture}/npm/")).pypi(&format!("{fixture}/pypi/simple/")).start().await
}

/// Starts a server on a new copy of the template, which is made where there is none.
pub(super) async fn from_template(place: &Place<'_>, folder: &Path, binary: &Path) -> Result<Started> {
    let (template, data) = (folder.join("template"), folder.join("data"));
    if !template.exists() {
        start(binary, &template, &place.fixture_url()).await.stop().await;
    }
    if data.exists() {
        fs_err::remove_dir_all(&data)?;
    }
    copy(&template, &data)?;
    let weir = start(binary, &data, &place.fixture_url()).await;
    let npm = weir.endpoint("local", "main", "npm").await;
    let pypi = format!("{}simple/", weir.endpoint("local", "main", "pypi").await);
    let token = weir.token("local").await;
    Ok(Started { weir, npm, pypi, token })
}

/// Copies a folder with all below it; permissions stay.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs_err::create_dir_all(to)?;
    fs_err::set_permissions(to, fs_err::metadata(from)?.permissions())?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs_err::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
