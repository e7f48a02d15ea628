//! The multipart form in which Python clients upload a file, and every way to get it wrong.

use super::Distribution;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

/// What parts the fields; it stands in no file that tests build.
const BOUNDARY: &str = "weir-testkit-7d0f1e5c9a3b";

/// Headers of the metadata whose field in the form has a name of its own.
const RENAMED: &[(&str, &str)] = &[("Classifier", "classifiers"), ("Project-URL", "project_urls")];

/// An upload form as a list of fields and one file.
#[derive(Debug, Clone)]
pub struct UploadForm {
    fields: Vec<(String, String)>,
    file_name: String,
    content: Option<Bytes>,
}

impl UploadForm {
    /// What twine sends for this file, and the MD5 that twine no longer sends but others do.
    pub(super) fn new(distribution: &Distribution) -> Self {
        let package = &distribution.package;
        let form = Self {
            fields: Vec::new(),
            file_name: distribution.file_name.clone(),
            content: Some(distribution.bytes.clone()),
        };
        let headers = package.headers().into_iter();
        let mut form = headers.fold(form, |form, (header, value)| {
            let renamed = RENAMED.iter().find(|(known, _)| *known == header).map(|(_, field)| *field);
            let field = header.to_lowercase().replace('-', "_");
            form.add(renamed.unwrap_or(&field), value)
        });
        if let Some(readme) = &package.readme {
            form = form.add("description", readme);
        }
        form.add("pyversion", &distribution.python_version)
            .add("filetype", if distribution.is_wheel() { "bdist_wheel" } else { "sdist" })
            .add("sha256_digest", &distribution.sha256())
            .add("md5_digest", &distribution.md5())
            .add(":action", "file_upload")
            .add("protocol_version", "1")
    }

    /// Sets a field in place of all of this name.
    pub fn set(self, name: &str, value: &str) -> Self {
        self.remove(name).add(name, value)
    }

    /// Adds a field beside those of this name.
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes the fields of this name.
    pub fn remove(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    /// Sends the file under this name.
    pub fn file_name(mut self, name: &str) -> Self {
        self.file_name = name.to_owned();
        self
    }

    /// Sends these bytes as the file.
    pub fn content(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Some(bytes.into());
        self
    }

    /// Sends no file.
    pub fn without_content(mut self) -> Self {
        self.content = None;
        self
    }

    /// The content type and the body.
    pub fn build(&self) -> (String, Bytes) {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend(head.as_bytes());
            body.extend(value.as_bytes());
            body.extend(b"\r\n");
        }
        if let Some(content) = &self.content {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n",
                self.file_name
            );
            body.extend(head.as_bytes());
            body.extend(content);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), body.into())
    }

    /// Reads a form that a client sent, for tests of what clients send; panics when it is none.
    pub fn read(content_type: &str, body: &[u8]) -> Self {
        let boundary = content_type.split_once("boundary=").expect("a form says what parts it").1;
        let mark = format!("--{}", boundary.trim_matches('"'));
        let mut form = Self { fields: Vec::new(), file_name: String::new(), content: None };
        for part in split(body, mark.as_bytes()).into_iter().skip(1) {
            let Some((head, value)) = halves(part, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(head);
            let value = value.strip_suffix(b"\r\n").unwrap_or(value);
            let parameter = |name: &str| {
                let (_, rest) = head.split_once(&format!("; {name}=\""))?;
                Some(percent_decode_str(rest.split_once('"')?.0).decode_utf8_lossy().into_owned())
            };
            match (parameter("filename"), parameter("name")) {
                (Some(file_name), _) => {
                    form.file_name = file_name;
                    form.content = Some(Bytes::copy_from_slice(value));
                }
                (None, Some(name)) => form = form.add(&name, &String::from_utf8_lossy(value)),
                (None, None) => panic!("a part without a name: {head}"),
            }
        }
        form
    }

    /// The values of the fields of this name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Every field, in order.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The file's name and bytes.
    pub fn file(&self) -> Option<(&str, &Bytes)> {
        Some((&self.file_name, self.content.as_ref()?))
    }
}

fn split<'a>(mut bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = halves(bytes, mark) {
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

fn halves<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use crate::PythonPackage;
    use crate::python::UploadForm;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let wheel = PythonPackage::new("demo-pkg", "1.0").requires("six").requires("toml>=1").wheel();
        let (kind, body) = wheel.form().set("name", "other").add("attestations", "[]").build();
        let form = UploadForm::read(&kind, &body);
        assert_eq!(form.values("requires_dist"), ["six", "toml>=1"]);
        assert_eq!((form.values("name"), form.values("filetype")), (vec!["other"], vec!["bdist_wheel"]));
        assert_eq!(form.file(), Some((wheel.file_name.as_str(), &wheel.bytes)));
        assert_eq!(form.values("sha256_digest"), [wheel.sha256()]);
    }
}
