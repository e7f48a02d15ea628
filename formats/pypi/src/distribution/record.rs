//! `RECORD` of a wheel: every file with its digest and size, in CSV. Installers go by it, so it must say what
//! the archive holds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Sha256, Sha384, Sha512};
use std::collections::HashMap;
use std::io::Read;
use weir_core::name::shown;
use weir_core::{Error, Result};

/// More than a wheel with a hundred thousand files needs.
pub(super) const MOST_BYTES: u64 = 32 << 20;

/// What `RECORD` says, and what of it was found.
pub(super) struct Record {
    folder: String,
    rows: HashMap<String, Row>,
}

struct Row {
    /// Algorithm and digest, unless the file has none (`RECORD` itself).
    digest: Option<(Algorithm, Vec<u8>)>,
    size: Option<u64>,
    found: bool,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Record {
    /// Reads the file; `folder` is the `.dist-info` it lies in, `entries` how many the wheel has.
    pub(super) fn parse(folder: &str, bytes: &[u8], entries: usize) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid("RECORD", "is not UTF-8 text"))?;
        let mut rows = HashMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let wrong = || Error::invalid("RECORD", format_args!("'{}' is not PATH,HASH,SIZE", shown(line)));
            let fields = fields(line).ok_or_else(wrong)?;
            let [path, hash, size] = &fields[..] else { return Err(wrong()) };
            let row = Row {
                digest: digest(path, hash)?,
                size: if size.is_empty() { None } else { Some(size.parse().map_err(|_| wrong())?) },
                found: false,
            };
            // Each row must be found in the archive, but for the three that cannot name themselves.
            if rows.len() >= entries + 3 {
                return Err(Error::invalid("RECORD", "names more files than the wheel holds"));
            }
            if rows.insert(path.clone(), row).is_some() {
                return Err(Error::invalid("RECORD", format_args!("names '{}' twice", shown(path))));
            }
        }
        Ok(Self { folder: folder.to_owned(), rows })
    }

    /// Holds one file of the archive against its row.
    pub(super) fn check(&mut self, path: &str, content: &mut dyn Read) -> Result<()> {
        let unsigned = self.is_unsigned(path);
        let Some(row) = self.rows.get_mut(path) else {
            if unsigned {
                return Ok(());
            }
            return Err(Error::invalid(
                "RECORD",
                format_args!("does not name '{}', which the wheel holds", shown(path)),
            ));
        };
        row.found = true;
        if unsigned {
            return Ok(());
        }
        let (algorithm, promised) = match &row.digest {
            Some((algorithm, digest)) => (*algorithm, Some(digest)),
            None => (Algorithm::Sha256, None),
        };
        let (size, digest) = algorithm.digest(content)?;
        if row.size.is_some_and(|promised| promised != size)
            || promised.is_some_and(|promised| *promised != digest)
        {
            return Err(Error::invalid(
                "RECORD",
                format_args!("says otherwise than '{}' is: its size or digest differs", shown(path)),
            ));
        }
        Ok(())
    }

    /// What `RECORD` names must have been there.
    pub(super) fn finish(self) -> Result<()> {
        let mut absent: Vec<&String> = self
            .rows
            .iter()
            .filter(|(path, row)| !row.found && !self.is_unsigned(path))
            .map(|(path, _)| path)
            .collect();
        absent.sort();
        match absent.first() {
            None => Ok(()),
            Some(path) => Err(Error::invalid(
                "RECORD",
                format_args!("names '{}', which the wheel does not hold", shown(path)),
            )),
        }
    }

    /// `RECORD` and its signatures cannot name their own digests.
    fn is_unsigned(&self, path: &str) -> bool {
        let Some(name) = path.strip_prefix(&*self.folder).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        matches!(name, "RECORD" | "RECORD.jws" | "RECORD.p7s")
    }
}

impl Algorithm {
    /// Size and digest of what there is to read.
    fn digest(self, content: &mut dyn Read) -> Result<(u64, Vec<u8>)> {
        fn run<D: sha2::Digest>(content: &mut dyn Read) -> Result<(u64, Vec<u8>)> {
            let (mut hasher, mut buffer, mut size) = (D::new(), vec![0; 64 << 10], 0);
            loop {
                let read = content.read(&mut buffer).map_err(Error::internal)?;
                if read == 0 {
                    return Ok((size, hasher.finalize().to_vec()));
                }
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
        match self {
            Self::Sha256 => run::<Sha256>(content),
            Self::Sha384 => run::<Sha384>(content),
            Self::Sha512 => run::<Sha512>(content),
        }
    }
}

/// `sha256=BASE64` without padding.
fn digest(path: &str, text: &str) -> Result<Option<(Algorithm, Vec<u8>)>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |rule: &str| Error::invalid("RECORD", format_args!("the hash of '{}' {rule}", shown(path)));
    let (name, encoded) = text.split_once('=').ok_or_else(|| wrong("is not ALGORITHM=BASE64"))?;
    let algorithm = match name {
        "sha256" => Algorithm::Sha256,
        "sha384" => Algorithm::Sha384,
        "sha512" => Algorithm::Sha512,
        _ => return Err(wrong("is of an algorithm that wheels may not use; sha256 is usual")),
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .map_err(|_| wrong("is not in URL-safe base64"))?;
    Ok(Some((algorithm, bytes)))
}

/// The fields of one line of CSV; `None` where quotes are broken.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let field;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            loop {
                let (part, after) = quoted.split_once('"')?;
                text.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => {
                        text.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
            field = text;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field = rest[..end].to_owned();
            rest = &rest[end..];
        }
        found.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn hash(text: &[u8]) -> String {
        format!("sha256={}", URL_SAFE_NO_PAD.encode(Sha256::digest(text)))
    }

    fn check(record: &str, files: &[(&str, &[u8])]) -> Result<()> {
        let mut record = Record::parse("x-1.dist-info", record.as_bytes(), 10)?;
        for (path, bytes) in files {
            record.check(path, &mut &bytes[..])?;
        }
        record.finish()
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a,\"=\n./0-9]{0,80}") {
            let _ = check(&text, &[("a", b"1")]);
        }
    }

    #[test]
    fn a_record_that_says_what_is_there_is_taken() {
        let record =
            format!("x.py,{},1\n\"a,\"\"b\"\".py\",{}=,\nx-1.dist-info/RECORD,,\n", hash(b"1"), hash(b"2"));
        let files: [(&str, &[u8]); 4] = [
            ("x.py", b"1"),
            ("a,\"b\".py", b"2"),
            ("x-1.dist-info/RECORD", b"?"),
            ("x-1.dist-info/RECORD.jws", b"?"),
        ];
        check(&record, &files).unwrap();
        check("x.py,,\n", &[("x.py", b"1")]).unwrap();
    }

    #[test]
    fn a_record_that_says_anything_else_is_refused() {
        let good = hash(b"1");
        for (record, files, word) in [
            ("", vec![("x.py", &b"1"[..])], "does not name 'x.py'"),
            ("x.py,,1\n", vec![], "which the wheel does not hold"),
            (&*format!("x.py,{good},2\n"), vec![("x.py", b"1")], "differs"),
            (&*format!("x.py,{good},1\n"), vec![("x.py", b"2")], "differs"),
            (&*format!("x.py,{good},\nx.py,{good},\n"), vec![], "twice"),
            ("x.py,md5=AAAA,1\n", vec![], "algorithm"),
            ("x.py,sha256=***,1\n", vec![], "base64"),
            ("x.py,1\n", vec![], "PATH,HASH,SIZE"),
            ("\"x.py,,1\n", vec![], "PATH,HASH,SIZE"),
            ("x.py,,one\n", vec![], "PATH,HASH,SIZE"),
        ] {
            let error = check(record, &files).unwrap_err().to_string();
            assert!(error.contains(word), "{record}: {error}");
        }
    }
}
