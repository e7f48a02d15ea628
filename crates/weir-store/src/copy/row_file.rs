//! Files of rows: written and hashed in one pass, read line by line.

use super::manifest::TableFile;
use super::table::Table;
use fs_err::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use weir_core::Hasher;

const BUFFER: usize = 256 << 10;

/// The file of a table in a folder of rows.
pub(super) fn path(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.jsonl"))
}

/// A file of rows that is being written. Its methods block.
pub(super) struct RowWriter {
    file: BufWriter<File>,
    hasher: Hasher,
    rows: u64,
    bytes: u64,
}

impl RowWriter {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        Ok(Self { file, hasher: Hasher::new(), rows: 0, bytes: 0 })
    }

    /// Appends a line that ends in a newline.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.hasher.update(line);
        self.rows += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes it safe from a power cut.
    pub(super) fn finish(self, table: &Table) -> io::Result<TableFile> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(TableFile {
            name: table.name.to_owned(),
            columns: table.columns.iter().map(|column| column.name.to_owned()).collect(),
            rows: self.rows,
            bytes: self.bytes,
            sha256: self.hasher.finish().sha256.hex(),
        })
    }
}

/// The lines of a file of rows. Its methods block.
pub(super) struct RowReader {
    file: BufReader<File>,
    offset: u64,
}

impl RowReader {
    /// Begins at an offset that an earlier reader told.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { file, offset })
    }

    /// The next line with its end; `None` after the last.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.file.read_until(b'\n', &mut line)?;
        self.offset += read as u64;
        Ok((read > 0).then_some(line))
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}

/// What is wrong with a file, compared with what the manifest says of it. Blocks.
pub(super) fn problem(path: &Path, file: &TableFile) -> io::Result<Option<String>> {
    let mut opened = match File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("is missing".to_owned())),
        Err(error) => return Err(error),
    };
    let size = opened.metadata()?.len();
    if size != file.bytes {
        return Ok(Some(format!("has {size} bytes, not {}", file.bytes)));
    }
    let mut hasher = Hasher::new();
    let mut piece = vec![0; BUFFER];
    loop {
        let read = opened.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
    }
    let differs = hasher.finish().sha256.hex() != file.sha256;
    Ok(differs.then(|| "does not have the SHA-256 that the manifest tells".to_owned()))
}
