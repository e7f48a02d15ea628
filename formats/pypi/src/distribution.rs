//! Opens a distribution that a stranger made: a wheel (binary distribution format, PEP 427) or a source
//! distribution (PEP 643, 721). Nothing is unpacked anywhere. Blocking.

mod record;

use crate::core_metadata::{self, CoreMetadata};
use crate::file_name::{self, FileName, Kind};
use crate::{name, version};
use record::Record;
use std::io::Read;
use std::ops::ControlFlow;
use weir_core::name::shown;
use weir_core::{Error, PackageName, Result};
use weir_protocol::archive::zip::Zip;
use weir_protocol::archive::{ArchiveLimits, Entry, read_tgz, read_tgz_until};
use weir_registry::format::ReadSeek;

/// More than any `WHEEL` file.
const MOST_WHEEL_BYTES: u64 = 64 << 10;

/// What a distribution says of itself.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// Its core metadata.
    pub(crate) metadata: CoreMetadata,
    /// The same as it stands in the file.
    pub(crate) bytes: Vec<u8>,
}

/// A distribution's file.
pub(crate) struct Source<'a> {
    /// The project it is for.
    pub(crate) package: &'a PackageName,
    /// Its name, as a whole and read.
    pub(crate) name: (&'a str, &'a FileName<'a>),
    /// Its bytes, from the first one on.
    pub(crate) file: &'a mut dyn ReadSeek,
    /// How many there are.
    pub(crate) size: u64,
}

impl Source<'_> {
    /// Reads a publisher's file to its end and checks all of it: archive, layout, `RECORD` with its digests, and
    /// that project and version are what the file's name says. Errors: Invalid names the part and the rule;
    /// TooLarge the limit.
    pub(crate) fn check(self) -> Result<Distribution> {
        let Self { package, name: (what, read), file, size } = self;
        let limits = ArchiveLimits::of(size);
        if is_zip(read) {
            let mut zip = Zip::open(file, size, &limits)?;
            let path = metadata_path(package, read, &zip)?;
            match read.kind {
                Kind::Wheel => check_wheel(&mut zip, path.split('/').next().unwrap_or_default())?,
                Kind::Source | Kind::Egg => zip.read_all(&mut |_, _| Ok(())).map(drop)?,
            }
            let bytes = read_entry(&mut zip, &path, core_metadata::MAX_BYTES)?;
            return agreed(package, what, read, bytes);
        }
        let mut found = None;
        read_tgz(file, &limits, &mut |entry: &Entry, content: &mut dyn Read| {
            let folder = entry.path.split('/').next().unwrap_or_default();
            if entry.inside().is_none() || !is_folder_of(package, read, folder) {
                return Err(outside(&entry.path, read));
            }
            if entry.inside() == Some("PKG-INFO") {
                found = Some(limited(&entry.path, content)?);
            }
            Ok(())
        })?;
        agreed(package, what, read, found.ok_or_else(|| no_metadata(what))?)
    }

    /// Reads no more of a public registry's file than its metadata.
    pub(crate) fn peek(self) -> Result<Distribution> {
        let Self { package, name: (what, read), file, size } = self;
        let limits = ArchiveLimits::of(size);
        if is_zip(read) {
            let mut zip = Zip::open(file, size, &limits)?;
            let path = metadata_path(package, read, &zip)?;
            let bytes = read_entry(&mut zip, &path, core_metadata::MAX_BYTES)?;
            return agreed(package, what, read, bytes);
        }
        let mut found = None;
        read_tgz_until(file, &limits, &mut |entry: &Entry, content: &mut dyn Read| {
            if entry.inside() != Some("PKG-INFO") {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(limited(&entry.path, content)?);
            Ok(ControlFlow::Break(()))
        })?;
        agreed(package, what, read, found.ok_or_else(|| no_metadata(what))?)
    }
}

/// Whether a distribution is a zip rather than a gzipped tar.
fn is_zip(read: &FileName<'_>) -> bool {
    read.kind == Kind::Wheel || read.rest == ".zip"
}

fn no_metadata(what: &str) -> Error {
    Error::invalid(what, "has no PKG-INFO in its top folder")
}

/// Where in a zip its core metadata stands.
fn metadata_path<R: Read + std::io::Seek>(
    package: &PackageName,
    read: &FileName<'_>,
    zip: &Zip<R>,
) -> Result<String> {
    match read.kind {
        Kind::Wheel => Ok(format!("{}/METADATA", dist_info(package, read, zip)?)),
        Kind::Source | Kind::Egg => Ok(format!("{}/PKG-INFO", zipped_folder(package, read, zip)?)),
    }
}

/// The metadata, if it is of the project and version that the file's name says.
fn agreed(package: &PackageName, what: &str, read: &FileName<'_>, bytes: Vec<u8>) -> Result<Distribution> {
    let inside = if read.kind == Kind::Wheel { "METADATA" } else { "PKG-INFO" };
    let metadata = CoreMetadata::parse(&format!("{inside} of {what}"), &bytes)?;
    let project = metadata.get("name").unwrap_or_default();
    if !name::is_of(package, project) {
        return Err(Error::invalid(
            what,
            format_args!(
                "{inside} says that its name is '{}', which is not {}",
                shown(project),
                package.name
            ),
        ));
    }
    let number = metadata.get("version").unwrap_or_default();
    if version::parse(number).ok().is_none_or(|version| version.key() != read.version.key()) {
        return Err(Error::invalid(
            what,
            format_args!(
                "{inside} says that its version is '{}', its name says {}",
                shown(number),
                read.version
            ),
        ));
    }
    Ok(Distribution { metadata, bytes })
}

/// The one `.dist-info` folder of a wheel, which is called after project and version.
fn dist_info<R: Read + std::io::Seek>(
    package: &PackageName,
    read: &FileName<'_>,
    zip: &Zip<R>,
) -> Result<String> {
    let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let mut found: Vec<String> = zip
        .entries()
        .iter()
        .map(|entry| top(&entry.path))
        .filter(|folder| folder.ends_with(".dist-info"))
        .collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [folder] if is_folder_of(package, read, folder.trim_end_matches(".dist-info")) => Ok(folder.clone()),
        [folder] => Err(Error::invalid(
            "wheel",
            format_args!("its folder '{}' is not that of {}-{}", shown(folder), package.name, read.version),
        )),
        [] => Err(Error::invalid("wheel", "has no .dist-info folder, so it is none")),
        _ => Err(Error::invalid(
            "wheel",
            format_args!(
                "has {} .dist-info folders; installers could not tell which one counts",
                found.len()
            ),
        )),
    }
}

/// Whether a folder is called `NAME-VERSION`, in any spelling of both.
fn is_folder_of(package: &PackageName, read: &FileName<'_>, folder: &str) -> bool {
    let file = format!("{folder}.tar.gz");
    file_name::read(package, &file).is_some_and(|found| found.version.key() == read.version.key())
}

fn outside(path: &str, read: &FileName<'_>) -> Error {
    Error::invalid(
        "source distribution",
        format_args!("'{}' lies outside of the one top folder NAME-{}", shown(path), read.version),
    )
}

fn zipped_folder<R: Read + std::io::Seek>(
    package: &PackageName,
    read: &FileName<'_>,
    zip: &Zip<R>,
) -> Result<String> {
    let mut top = None;
    for entry in zip.entries() {
        let folder = entry.path.split('/').next().unwrap_or_default();
        if !is_folder_of(package, read, folder) || top.get_or_insert(folder) != &folder {
            return Err(outside(&entry.path, read));
        }
    }
    top.map(str::to_owned).ok_or_else(|| Error::invalid("source distribution", "is empty"))
}

/// Holds the files of a wheel against its `RECORD`, and its `WHEEL` against the format's version.
fn check_wheel<R: Read + std::io::Seek>(zip: &mut Zip<R>, folder: &str) -> Result<()> {
    let wheel = read_entry(zip, &format!("{folder}/WHEEL"), MOST_WHEEL_BYTES)?;
    let wheel = String::from_utf8_lossy(&wheel).into_owned();
    let version = wheel.lines().find_map(|line| line.strip_prefix("Wheel-Version:")).map(str::trim);
    if version.is_none_or(|version| version.split('.').next() != Some("1")) {
        return Err(Error::invalid(
            "wheel",
            format_args!(
                "its WHEEL file says version '{}'; 1.x is known",
                shown(version.unwrap_or_default())
            ),
        ));
    }
    let record = read_entry(zip, &format!("{folder}/RECORD"), record::MOST_BYTES)?;
    let mut record = Record::parse(folder, &record, zip.entries().len())?;
    zip.read_all(&mut |entry, content| record.check(&entry.path, content))?;
    record.finish()
}

fn read_entry<R: Read + std::io::Seek>(zip: &mut Zip<R>, path: &str, limit: u64) -> Result<Vec<u8>> {
    match zip.entries().iter().position(|entry| entry.path == path && !entry.is_folder) {
        Some(index) => zip.read(index, limit),
        None => Err(Error::invalid("archive", format_args!("has no file '{}'", shown(path)))),
    }
}

fn limited(path: &str, content: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(core_metadata::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::internal)?;
    if bytes.len() as u64 > core_metadata::MAX_BYTES {
        return Err(Error::too_large(format!(
            "{} has more than {} bytes",
            shown(path),
            core_metadata::MAX_BYTES
        )));
    }
    Ok(bytes)
}
