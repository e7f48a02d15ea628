//! One file of a Python package, as a client uploads it and an index serves it.

use super::{PythonPackage, UploadForm, md5, sha256};
use bytes::Bytes;

/// One file of a Python package. The fields can be changed, and then no longer agree.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// The file's name.
    pub file_name: String,
    /// The file.
    pub bytes: Bytes,
    /// Its `METADATA` or `PKG-INFO`.
    pub metadata: String,
    /// `py3`, `cp312` or, for a source distribution, `source`.
    pub python_version: String,
    /// The package that it is of.
    pub package: PythonPackage,
}

impl Distribution {
    /// The same file with other bytes in it.
    pub fn with_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// The same file under another name.
    pub fn named(mut self, file_name: &str) -> Self {
        self.file_name = file_name.to_owned();
        self
    }

    /// Whether it is a wheel, by its name.
    pub fn is_wheel(&self) -> bool {
        self.file_name.ends_with(".whl")
    }

    /// The file's SHA-256 in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256(&self.bytes)
    }

    /// The file's MD5 in hexadecimal.
    pub fn md5(&self) -> String {
        md5(&self.bytes)
    }

    /// The form that uploads it, to be changed.
    pub fn form(&self) -> UploadForm {
        UploadForm::new(self)
    }

    /// The content type and the body of the form that uploads it.
    pub fn upload_form(&self) -> (String, Bytes) {
        self.form().build()
    }
}
