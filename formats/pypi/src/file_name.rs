//! What the name of a distribution says: project, version, kind (PEP 427 for wheels, PEP 625 and what came
//! before it for source distributions, and eggs).

use crate::{name, version};
use weir_core::{PackageName, Version};

/// What kind of distribution a file is, in the words of the upload API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bdist_wheel`.
    Wheel,
    /// `sdist`.
    Source,
    /// `bdist_egg`: still found on public indexes, and not taken any more.
    Egg,
}

impl Kind {
    /// The word of the upload API (`filetype`) and of the JSON API (`packagetype`).
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Wheel => "bdist_wheel",
            Self::Source => "sdist",
            Self::Egg => "bdist_egg",
        }
    }
}

/// A distribution's name, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its version, as the name spells it.
    pub(crate) version: Version,
    /// Of a wheel the build number and tags, of a source distribution its ending: with the version, what tells
    /// files of one project apart.
    pub(crate) rest: &'a str,
}

/// More than an asset may be called.
const MOST_BYTES: usize = 255;
/// Endings of source distributions, of which only the first two are taken from publishers.
const SOURCE_ENDINGS: [&str; 7] = [".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar"];

/// Reads a file name of a project; `None` when it is that of another project, or not one of a distribution.
pub(crate) fn read<'a>(package: &PackageName, file: &'a str) -> Option<FileName<'a>> {
    if file.len() > MOST_BYTES {
        return None;
    }
    if let Some(stem) = file.strip_suffix(".whl") {
        return wheel(package, stem);
    }
    if let Some(stem) = file.strip_suffix(".egg") {
        return egg(package, stem);
    }
    SOURCE_ENDINGS.into_iter().find_map(|ending| {
        let stem = file.strip_suffix(ending)?;
        let version = source_version(package, stem)?;
        Some(FileName { kind: Kind::Source, version, rest: &file[stem.len()..] })
    })
}

/// `NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM`.
fn wheel<'a>(package: &PackageName, stem: &'a str) -> Option<FileName<'a>> {
    let (project, after) = stem.split_once('-')?;
    let (number, rest) = after.split_once('-')?;
    let tags: Vec<&str> = rest.split('-').collect();
    let has_build = match tags.len() {
        3 => false,
        4 => true,
        _ => return None,
    };
    let is_tag =
        |tag: &&str| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b));
    if !tags.iter().all(is_tag) || (has_build && !tags[0].starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    if !name::is_of(package, project) {
        return None;
    }
    Some(FileName { kind: Kind::Wheel, version: version::parse(number).ok()?, rest })
}

/// `NAME-VERSION-pyX.Y[-PLATFORM]`.
fn egg<'a>(package: &PackageName, stem: &'a str) -> Option<FileName<'a>> {
    let at = stem.find("-py")?;
    let version = source_version(package, &stem[..at])?;
    Some(FileName { kind: Kind::Egg, version, rest: &stem[at + 1..] })
}

/// `NAME-VERSION` where both may hold `-`: the first place at which the name ends and a version begins.
fn source_version(package: &PackageName, stem: &str) -> Option<Version> {
    stem.match_indices('-').find_map(|(at, _)| {
        if !name::is_of(package, &stem[..at]) {
            return None;
        }
        version::parse(&stem[at + 1..]).ok()
    })
}

/// The Python version of a file as the upload and JSON APIs call it: `py3`, `cp312`, `source`.
pub(crate) fn python_version<'a>(file: &FileName<'a>) -> &'a str {
    match file.kind {
        Kind::Source => "source",
        Kind::Egg => file.rest.split('-').next().unwrap_or_default().trim_start_matches("py"),
        Kind::Wheel => {
            let mut from_the_end = file.rest.rsplit('-');
            from_the_end.nth(2).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(project: &str, file: &str) -> Option<(Kind, String, String)> {
        let package = name::parse(project).unwrap();
        read(&package, file).map(|read| (read.kind, read.version.to_string(), read.rest.to_owned()))
    }

    fn is(kind: Kind, version: &str, rest: &str) -> Option<(Kind, String, String)> {
        Some((kind, version.to_owned(), rest.to_owned()))
    }

    #[test]
    fn names_of_distributions_are_read() {
        use Kind::{Egg, Source, Wheel};
        assert_eq!(check("weir-demo", "weir_demo-1.0-py3-none-any.whl"), is(Wheel, "1.0", "py3-none-any"));
        assert_eq!(
            check(
                "zope.interface",
                "zope.interface-5.0.post1-2-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
            ),
            is(Wheel, "5.0.post1", "2-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64")
        );
        assert_eq!(check("x", "x-1.0+local.1-py3-none-any.whl"), is(Wheel, "1.0+local.1", "py3-none-any"));
        assert_eq!(check("weir-demo", "weir-demo-1.0.tar.gz"), is(Source, "1.0", ".tar.gz"));
        assert_eq!(check("weir-demo", "Weir_Demo-1.0-1.zip"), is(Source, "1.0-1", ".zip"));
        assert_eq!(check("py-2", "py-2-1.0.tar.bz2"), is(Source, "1.0", ".tar.bz2"));
        assert_eq!(check("demo", "demo-0.1-py2.7-linux-x86_64.egg"), is(Egg, "0.1", "py2.7-linux-x86_64"));
        let package = name::parse("x").unwrap();
        let python = |file: &str| python_version(&read(&package, file).unwrap()).to_owned();
        assert_eq!(python("x-1-7-py2.py3-none-any.whl"), "py2.py3");
        assert_eq!((python("x-1.tar.gz"), python("x-1-py2.7.egg")), ("source".into(), "2.7".into()));
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_not(stem in "(weir|demo|[-_.+!0-9a-z]){0,40}", ending in "(\\.whl|\\.tar\\.gz|\\.egg|\\.zip)?") {
            let package = name::parse("weir-demo").unwrap();
            let file = format!("{stem}{ending}");
            if let Some(found) = read(&package, &file) {
                prop_assert!(file.ends_with(found.rest) || file.contains(found.rest));
                prop_assert!(file.contains(found.version.as_str()));
            }
        }
    }

    #[test]
    fn what_is_not_the_projects_own_is_not_read() {
        for (project, file) in [
            ("demo", "other-1.0.tar.gz"),
            ("demo", "demo-extra-1.0.tar.gz"),
            ("demo", "other-1.0-py3-none-any.whl"),
            ("demo", "demo-1.0-py3-none.whl"),
            ("demo", "demo-1.0-x-py3-none-any.whl"),
            ("demo", "demo-1.0-py3--any.whl"),
            ("demo", "demo-one-py3-none-any.whl"),
            ("demo", "demo-.tar.gz"),
            ("demo", "demo-1.0.exe"),
            ("demo", "demo-1.0.tar.gz.asc"),
            ("demo", "../demo-1.0.tar.gz"),
            ("demo", ""),
        ] {
            assert_eq!(check(project, file), None, "{file}");
        }
    }
}
