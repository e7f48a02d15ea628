//! Reading multipart/form-data while it comes: parts of any size pass as slices of what was received,
//! in linear time however it was cut into chunks. Only the header of one part is ever held. What two
//! readers could understand differently is refused rather than guessed.
//!
//! Formats: RFC 7578; RFC 2046, section 5.1; file names also as of RFC 8187 and the HTML standard.

mod header;

use self::header::Disposition;
use crate::body::RequestBody;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use memchr::memmem::Finder;
use weir_core::error::{Error, Result};
use weir_core::name::shown;

/// What a form may have. Its bytes are limited by its [`RequestBody`].
#[derive(Debug, Clone, Copy)]
pub struct MultipartLimits {
    /// How many parts.
    pub parts: usize,
    /// Bytes of the header of one part; also of what precedes the first part and follows the last.
    pub header_bytes: usize,
}

impl Default for MultipartLimits {
    /// 4096 parts, 8 KiB of header.
    fn default() -> Self {
        Self { parts: 4096, header_bytes: 8 << 10 }
    }
}

/// The header of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of the field, without control characters.
    pub name: String,
    /// The name of the file as its sender has it, which may be any text without control characters.
    pub file_name: Option<String>,
    /// Its media type as it was written.
    pub content_type: Option<String>,
}

/// A form that is being read: [`next_part`](Self::next_part), its bytes by
/// [`next_chunk`](Self::next_chunk) or [`text`](Self::text), and so on. After an error, and after a call
/// that was dropped before it answered, nothing more can be read.
pub struct Multipart {
    body: RequestBody,
    limits: MultipartLimits,
    /// What separates the parts: a line break, two hyphens and the boundary.
    delimiter: Bytes,
    finder: Finder<'static>,
    /// Received and not looked at.
    pending: Bytes,
    /// How many bytes of the delimiter the bytes before `pending` were, and how many of those belong to
    /// no content.
    matched: usize,
    matched_outside: usize,
    place: Place,
    parts: usize,
    /// The name of the current part, for errors.
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Preamble,
    Content,
    /// Right behind a delimiter.
    Delimiter,
    End,
    Failed,
}

impl Multipart {
    /// Reads the boundary out of Content-Type. Errors: `Invalid` when that is no multipart/form-data or
    /// has no usable boundary: 1 to 70 of the characters of RFC 2046.
    pub fn new(body: RequestBody, headers: &HeaderMap, limits: MultipartLimits) -> Result<Self> {
        let boundary = header::boundary(headers)?;
        let delimiter = Bytes::from(format!("\r\n--{boundary}"));
        Ok(Self {
            body,
            limits,
            finder: Finder::new(&delimiter).into_owned(),
            delimiter,
            pending: Bytes::new(),
            // The first delimiter may stand at the very beginning.
            matched: 2,
            matched_outside: 2,
            place: Place::Preamble,
            parts: 0,
            name: String::new(),
        })
    }

    /// The next part; what is left of the one before is skipped. `None` after the last, when the body was
    /// read to its end. Errors: `Invalid` for a body that is malformed or cut, `TooLarge` over a limit,
    /// and those of the body.
    pub async fn next_part(&mut self) -> Result<Option<Part>> {
        let place = std::mem::replace(&mut self.place, Place::Failed);
        let part = self.advance(place).await?;
        self.place = if part.is_some() { Place::Content } else { Place::End };
        Ok(part)
    }

    /// The next bytes of the current part, never empty; `None` at its end. Errors as of
    /// [`next_part`](Self::next_part).
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        match self.place {
            Place::Content => {}
            Place::Failed => return Err(failed()),
            Place::Preamble | Place::Delimiter | Place::End => return Ok(None),
        }
        self.place = Place::Failed;
        let (chunk, place) = self.content(Place::Content).await?;
        self.place = place;
        Ok(chunk)
    }

    /// What is left of the current part as text. Errors: `TooLarge` over `limit` bytes, `Invalid` when it
    /// is not UTF-8, and those of [`next_part`](Self::next_part).
    pub async fn text(&mut self, limit: usize) -> Result<String> {
        let mut text = Vec::new();
        while let Some(chunk) = self.next_chunk().await? {
            if text.len() + chunk.len() > limit {
                let name = shown(&self.name);
                return Err(Error::too_large(format!("the field '{name}' is larger than {limit} bytes")));
            }
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text)
            .map_err(|_| wrong(format_args!("the field '{}' is not UTF-8", shown(&self.name))))
    }

    async fn advance(&mut self, mut place: Place) -> Result<Option<Part>> {
        let mut skipped = 0;
        while matches!(place, Place::Preamble | Place::Content) {
            let (chunk, next) = self.content(place).await?;
            skipped += chunk.map_or(0, |chunk| chunk.len());
            if place == Place::Preamble && skipped > self.limits.header_bytes {
                return Err(self.too_much("what precedes the first part"));
            }
            place = next;
        }
        match place {
            Place::Failed => Err(failed()),
            Place::End => Ok(None),
            _ => self.behind_delimiter().await,
        }
    }

    /// The next bytes before a delimiter, which is taken, and where that leads. No bytes only with another
    /// place than the one this began at.
    async fn content(&mut self, place: Place) -> Result<(Option<Bytes>, Place)> {
        loop {
            if self.pending.is_empty() {
                self.receive().await?;
            }
            if self.matched > 0 {
                let rest = &self.delimiter[self.matched..];
                let most = rest.len().min(self.pending.len());
                if self.pending[..most] == rest[..most] {
                    self.pending.advance(most);
                    self.matched += most;
                    if self.matched == self.delimiter.len() {
                        (self.matched, self.matched_outside) = (0, 0);
                        return Ok((None, Place::Delimiter));
                    }
                    continue;
                }
                // It was none. It has one line break, so that no other can begin inside it.
                let content = self.delimiter.slice(self.matched_outside..self.matched);
                (self.matched, self.matched_outside) = (0, 0);
                if !content.is_empty() {
                    return Ok((Some(content), place));
                }
            }
            let (length, next) = match self.finder.find(&self.pending) {
                Some(at) => (at, Place::Delimiter),
                None => {
                    self.matched = self.matched_at_end();
                    (self.pending.len() - self.matched, place)
                }
            };
            let content = self.pending.split_to(length);
            let delimiter = if next == place { self.matched } else { self.delimiter.len() };
            self.pending.advance(delimiter);
            if !content.is_empty() || next != place {
                return Ok((Some(content).filter(|content| !content.is_empty()), next));
            }
        }
    }

    /// How many bytes of a delimiter `pending`, which has no whole one, ends with.
    fn matched_at_end(&self) -> usize {
        let start = self.pending.len().saturating_sub(self.delimiter.len() - 1);
        let end = &self.pending[start..];
        // A delimiter has a carriage return at its beginning only.
        match memchr::memrchr(b'\r', end) {
            Some(at) if self.delimiter.starts_with(&end[at..]) => end.len() - at,
            _ => 0,
        }
    }

    /// Reads the rest of a delimiter and the header behind it. `None` when it was the last delimiter.
    async fn behind_delimiter(&mut self) -> Result<Option<Part>> {
        let mut left = self.limits.header_bytes;
        let mut line = self.line(&mut left).await?;
        if line.text.starts_with(b"--") {
            return self.epilogue(&line).await;
        }
        if !line.is_whole {
            return Err(cut());
        }
        if !is_padding(&line.text) {
            return Err(wrong("a line begins with the boundary and is none"));
        }
        self.parts += 1;
        if self.parts > self.limits.parts {
            return Err(Error::too_large(format!("the form has more than {} parts", self.limits.parts)));
        }
        let mut header = header::Fields::default();
        loop {
            line = self.line(&mut left).await?;
            if !line.is_whole {
                return Err(cut());
            }
            if line.text.is_empty() {
                break;
            }
            header.take(&line.text, self.parts)?;
        }
        let (Disposition { name, file_name }, content_type) = header.finish(self.parts)?;
        // The empty line is also the line break of a delimiter right behind it.
        (self.matched, self.matched_outside) = (2, 2);
        self.name.clone_from(&name);
        Ok(Some(Part { name, file_name, content_type }))
    }

    /// Reads what follows the last delimiter, whose line is given.
    async fn epilogue(&mut self, line: &Line) -> Result<Option<Part>> {
        if !is_padding(&line.text[2..]) {
            return Err(wrong("a line begins with the last boundary and is none"));
        }
        let mut length = self.pending.len();
        while let Some(chunk) = self.body.next_chunk().await? {
            length += chunk.len();
            if length > self.limits.header_bytes {
                break;
            }
        }
        if length > self.limits.header_bytes {
            return Err(self.too_much("what follows the last part"));
        }
        self.pending = Bytes::new();
        Ok(None)
    }

    /// The next line without its break, of which only the last of a body may have none.
    async fn line(&mut self, left: &mut usize) -> Result<Line> {
        let mut text = Vec::new();
        loop {
            if self.pending.is_empty() {
                match self.body.next_chunk().await? {
                    Some(bytes) => self.pending = bytes,
                    None => return Ok(Line { text, is_whole: false }),
                }
            }
            let end = memchr::memchr(b'\n', &self.pending);
            let length = end.map_or(self.pending.len(), |end| end + 1);
            let Some(rest) = left.checked_sub(length) else {
                return Err(self.too_much(&format!("the header of part {}", self.parts)));
            };
            *left = rest;
            text.extend_from_slice(&self.pending[..length]);
            self.pending.advance(length);
            if end.is_some() {
                let Some(line) = text.strip_suffix(b"\r\n") else {
                    return Err(wrong("a line does not end with CR LF"));
                };
                text.truncate(line.len());
                return Ok(Line { text, is_whole: true });
            }
        }
    }

    async fn receive(&mut self) -> Result<()> {
        self.pending = self.body.next_chunk().await?.ok_or_else(cut)?;
        Ok(())
    }

    fn too_much(&self, what: &str) -> Error {
        let most = self.limits.header_bytes;
        Error::too_large(format!("the form cannot be read: {what} is larger than {most} bytes"))
    }
}

impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Multipart({} parts of {:?})", self.parts, self.body)
    }
}

struct Line {
    text: Vec<u8>,
    is_whole: bool,
}

fn is_padding(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

fn wrong(rule: impl std::fmt::Display) -> Error {
    Error::cannot_parse(format!("the form cannot be read: {rule}"))
}

fn cut() -> Error {
    Error::invalid("body", "the form was cut: it ends before its closing boundary")
}

fn failed() -> Error {
    Error::cannot_parse("the form was refused before, or not read on")
}

#[cfg(test)]
mod tests;
