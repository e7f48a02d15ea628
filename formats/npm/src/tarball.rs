//! What a package's tarball says of itself: its `package.json`, readme, and the files that npm looks for.

use serde_json::{Map, Value};
use std::io::Read;
use weir_core::{Error, Result};
use weir_protocol::archive::{ArchiveLimits, Entry, read_tgz};

/// A `package.json` above this many bytes is refused.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// A readme is cut after this many bytes.
const MAX_README_BYTES: u64 = 1 << 20;

/// What a tarball says of itself.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The `package.json` of the top folder.
    pub(crate) manifest: Map<String, Value>,
    /// The readme of the top folder, in the file npm would choose.
    pub(crate) readme: Option<String>,
    /// Whether a `*.gyp` file in the top folder makes npm compile it.
    pub(crate) has_gyp: bool,
    /// Whether it brings its own lock file, which npm follows.
    pub(crate) has_shrinkwrap: bool,
    /// Paths below the top folder, for `directories.bin`.
    pub(crate) paths: Vec<String>,
}

/// Reads a `.tgz` of `size` compressed bytes. Blocking. Errors: Invalid names the entry and the rule;
/// TooLarge names the limit.
pub(crate) fn read(source: impl Read, size: u64) -> Result<Contents> {
    let mut contents = Contents::default();
    let mut manifest = None;
    let mut readme: Option<(u8, String)> = None;
    read_tgz(source, &ArchiveLimits::of(size), &mut |entry: &Entry, content: &mut dyn Read| {
        let Some(path) = entry.inside() else { return Ok(()) };
        contents.paths.push(path.to_owned());
        if path == "package.json" {
            manifest = Some(read_manifest(entry, content)?);
        }
        contents.has_gyp |= !path.contains('/') && path.ends_with(".gyp");
        contents.has_shrinkwrap |= path == "npm-shrinkwrap.json";
        if let Some(rank) = readme_rank(path)
            && readme.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            readme = Some((rank, read_readme(content)?));
        }
        Ok(())
    })?;
    let Some(manifest) = manifest else {
        return Err(Error::invalid("tarball", "has no package.json in its top folder"));
    };
    contents.manifest = manifest;
    contents.readme = readme.map(|(_, text)| text).filter(|text| !text.trim().is_empty());
    Ok(contents)
}

fn read_manifest(entry: &Entry, content: &mut dyn Read) -> Result<Map<String, Value>> {
    if entry.size > MAX_MANIFEST_BYTES {
        return Err(Error::too_large(format!(
            "the tarball's package.json has {} bytes; {MAX_MANIFEST_BYTES} are allowed",
            entry.size
        )));
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(Error::internal)?;
    // npm reads a byte order mark over, as editors on Windows write one.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|error| {
        Error::invalid("tarball", format_args!("its package.json is not a JSON object: {error}"))
    })
}

/// Lower is better: npm takes a markdown file first, then one named `README`.
fn readme_rank(path: &str) -> Option<u8> {
    if !path.get(..6)?.eq_ignore_ascii_case("readme") {
        return None;
    }
    match path.get(6..)?.to_ascii_lowercase().as_str() {
        ".md" | ".markdown" | ".mdown" | ".mkdn" => Some(0),
        "" => Some(1),
        rest if rest.starts_with('.') && !rest.contains('/') => Some(2),
        _ => None,
    }
}

fn read_readme(content: &mut dyn Read) -> Result<String> {
    let mut bytes = Vec::new();
    content.take(MAX_README_BYTES).read_to_end(&mut bytes).map_err(Error::internal)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// A tarball of plain files, in the simplest form tar has.
    pub(crate) fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for (path, text) in files {
            let mut header = [0_u8; 512];
            header[..path.len()].copy_from_slice(path.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[108..116].copy_from_slice(b"0000000\0");
            header[116..124].copy_from_slice(b"0000000\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", text.len()).as_bytes());
            header[136..148].copy_from_slice(b"00000000000\0");
            header[148..156].copy_from_slice(b"        ");
            header[156] = b'0';
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            gzip.write_all(&header).unwrap();
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.write_all(&vec![0; text.len().wrapping_neg() % 512]).unwrap();
        }
        gzip.write_all(&[0; 1024]).unwrap();
        gzip.finish().unwrap()
    }

    fn check(files: &[(&str, &str)]) -> Result<Contents> {
        let bytes = tgz(files);
        read(bytes.as_slice(), bytes.len() as u64)
    }

    #[test]
    fn the_package_json_of_the_top_folder_counts_and_a_nested_one_is_ordinary() {
        let contents = check(&[
            ("package/lib/package.json", r#"{"type": "module"}"#),
            ("package/package.json", "\u{feff}{\"name\": \"widget\"}"),
            ("package/deep/x.gyp", ""),
        ])
        .unwrap();
        assert_eq!(contents.manifest["name"], "widget");
        assert_eq!(contents.paths, ["lib/package.json", "package.json", "deep/x.gyp"]);
        assert!(!contents.has_gyp && !contents.has_shrinkwrap);
        let contents =
            check(&[("w/package.json", "{}"), ("w/a.gyp", ""), ("w/npm-shrinkwrap.json", "{}")]).unwrap();
        assert!(contents.has_gyp && contents.has_shrinkwrap);
    }

    #[test]
    fn the_readme_is_the_one_npm_would_choose() {
        let package = ("package/package.json", "{}");
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 5] = [
            (&[package, ("package/README", "plain"), ("package/Readme.md", "marked")], Some("marked")),
            (&[package, ("package/README.txt", "text"), ("package/README", "plain")], Some("plain")),
            (&[package, ("package/docs/README.md", "nested")], None),
            (&[package, ("package/readme.md", "  \n")], None),
            (&[package, ("package/READMEE.md", "no")], None),
        ];
        for (files, expected) in cases {
            assert_eq!(check(files).unwrap().readme.as_deref(), expected, "{files:?}");
        }
    }

    #[test]
    fn a_tarball_without_a_manifest_is_refused() {
        for files in [
            vec![("package/index.js", "")],
            vec![("package.json", "{}")],
            vec![("package/package.json", "[]")],
            vec![("package/package.json", "{}"), ("other/package.json", "{}")],
            vec![("package/package.json", "{}"), ("package/../x", "")],
        ] {
            assert!(matches!(check(&files), Err(Error::Invalid { .. })), "{files:?}");
        }
        assert!(read(&b"not a gzip"[..], 10).is_err());
    }
}
