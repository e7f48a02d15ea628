//! The bounded scanner of npm publishes: a JSON document whose `_attachments.NAME.data` strings may be
//! gigabytes of base64. It takes the bytes in pieces of any size, follows the grammar of RFC 8259 in
//! linear time and constant memory, decodes those strings into a sink while they pass, and keeps the
//! rest of the document, with `""` in their place, under a limit.

mod decode;

use self::decode::Decoder;
use weir_core::error::{Error, Result};
use weir_core::name::shown;

/// Keys that matter are short; a longer one at such a place is refused.
const MAX_KEY_BYTES: usize = 4 << 10;

/// What a publish document may have.
#[derive(Debug, Clone, Copy)]
pub struct ScanLimits {
    /// Bytes of the document without the data of its attachments.
    pub document_bytes: usize,
    /// The setting that holds it, for the error.
    pub document_setting: &'static str,
    /// Decoded bytes of all attachments together.
    pub attachment_bytes: u64,
    /// The setting that holds it, for the error.
    pub attachment_setting: &'static str,
    /// How many attachments.
    pub attachments: usize,
    /// How deep objects and arrays may be nested.
    pub depth: usize,
}

impl Default for ScanLimits {
    /// 16 MiB of document, 2 GiB of attachments, two of them, 64 levels.
    fn default() -> Self {
        Self {
            document_bytes: 16 << 20,
            document_setting: "max-document-bytes",
            attachment_bytes: 2 << 30,
            attachment_setting: "max-asset-bytes",
            attachments: 2,
            depth: 64,
        }
    }
}

/// Where the decoded attachments go. Calls come as `start`, any number of `bytes`, `end`, and again.
pub trait AttachmentSink {
    /// The data of this attachment begins.
    fn start(&mut self, name: &str) -> Result<()>;
    /// The next bytes, at most as many as were fed.
    fn bytes(&mut self, bytes: &[u8]) -> Result<()>;
    /// The data is complete.
    fn end(&mut self) -> Result<()>;
}

/// An attachment that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentInfo {
    /// Its key in `_attachments`.
    pub name: String,
    /// How many bytes it decoded to.
    pub bytes: u64,
}

/// What is left of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document with `""` in place of each attachment's data, otherwise as it was written: valid
    /// JSON, an object, nested no deeper than the limit.
    pub json: Vec<u8>,
    /// The attachments that had data, in the order they came.
    pub attachments: Vec<AttachmentInfo>,
}

/// The scanner. Data of an attachment whose name ends in `.sigstore` is text and taken as it is; all
/// else is base64 with its padding. After an error every call fails.
pub struct Scanner {
    limits: ScanLimits,
    state: State,
    /// The open containers, outermost first.
    open: Vec<Container>,
    escape: Escape,
    /// The first half of a surrogate pair whose second half must follow.
    high_surrogate: Option<u32>,
    /// What the value of the last key must be.
    expected: Expected,
    key: Vec<u8>,
    seen_attachments: bool,
    in_attachments: bool,
    /// Names of all attachments, those without data too.
    names: Vec<String>,
    has_data: bool,
    decoder: Decoder,
    attachments: Vec<AttachmentInfo>,
    attachment_bytes: u64,
    document: Vec<u8>,
    offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

#[derive(Clone, Copy)]
enum State {
    Start,
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    Colon,
    AfterValue,
    Text(Role),
    Number(Number),
    Literal(&'static [u8]),
    End,
    Failed,
}

/// What a string is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Plain,
    /// A key, at a place where keys matter.
    WatchedKey,
    Key,
    Data,
}

#[derive(Clone, Copy)]
enum Escape {
    No,
    Backslash,
    Unicode { digits: u8, value: u32 },
}

#[derive(Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Anything,
    Attachments,
    Attachment,
    Data,
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new(limits: ScanLimits) -> Self {
        Self {
            limits,
            state: State::Start,
            open: Vec::new(),
            escape: Escape::No,
            high_surrogate: None,
            expected: Expected::Anything,
            key: Vec::new(),
            seen_attachments: false,
            in_attachments: false,
            names: Vec::new(),
            has_data: false,
            decoder: Decoder::default(),
            attachments: Vec::new(),
            attachment_bytes: 0,
            document: Vec::new(),
            offset: 0,
        }
    }

    /// Takes the next bytes. Errors: `Invalid` for what is no such document, `TooLarge` over a limit,
    /// and those of the sink.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut dyn AttachmentSink) -> Result<()> {
        let result = self.scan(bytes, sink);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Ends the document. Errors: `Invalid` when it is not complete.
    pub fn finish(self) -> Result<Document> {
        if !matches!(self.state, State::End) {
            return Err(self.wrong("the document ends too early"));
        }
        if std::str::from_utf8(&self.document).is_err() {
            return Err(Error::cannot_parse("the document is not UTF-8"));
        }
        Ok(Document { json: self.document, attachments: self.attachments })
    }

    fn scan(&mut self, bytes: &[u8], sink: &mut dyn AttachmentSink) -> Result<()> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if let (State::Text(role), Escape::No, None) = (self.state, self.escape, self.high_surrogate) {
                let ends = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
                let run = rest.iter().position(ends).unwrap_or(rest.len());
                if run > 0 {
                    self.run(role, &rest[..run], sink)?;
                    self.offset += run as u64;
                    rest = &rest[run..];
                    continue;
                }
            }
            self.step(*byte, sink)?;
            self.offset += 1;
            rest = after;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, sink: &mut dyn AttachmentSink) -> Result<()> {
        if let State::Number(number) = self.state {
            if let Some(next) = number.after(byte) {
                self.state = State::Number(next);
                return self.keep(&[byte]);
            }
            if !number.may_end() {
                return Err(self.wrong("a number is malformed"));
            }
            self.state = State::AfterValue;
        }
        match self.state {
            State::Text(role) => self.text(role, byte, sink),
            State::Literal(rest) => match rest.split_first() {
                Some((wanted, rest)) if *wanted == byte => {
                    self.state = if rest.is_empty() { State::AfterValue } else { State::Literal(rest) };
                    self.keep(&[byte])
                }
                _ => Err(self.wrong("a word is neither true, false nor null")),
            },
            State::End if is_space(byte) => Ok(()),
            State::End => Err(self.wrong("something follows the document")),
            State::Failed => Err(Error::cannot_parse("the document was refused before")),
            _ if is_space(byte) => self.keep(&[byte]),
            State::Start if byte == b'{' => self.value(byte, sink),
            State::Start => Err(self.wrong("the document is not a JSON object")),
            State::ValueOrClose if byte == b']' => self.close(Container::Array),
            State::Value | State::ValueOrClose => self.value(byte, sink),
            State::KeyOrClose if byte == b'}' => self.close(Container::Object),
            State::Key | State::KeyOrClose if byte == b'"' => {
                let depth = self.open.len();
                let is_watched = depth == 1 || (self.in_attachments && depth <= 3);
                self.key.clear();
                self.state = State::Text(if is_watched { Role::WatchedKey } else { Role::Key });
                self.keep(b"\"")
            }
            State::Key | State::KeyOrClose => Err(self.wrong("a key was expected")),
            State::Colon if byte == b':' => {
                self.state = State::Value;
                self.keep(b":")
            }
            State::Colon => Err(self.wrong("':' was expected")),
            State::AfterValue => match (byte, self.open.last()) {
                (b',', Some(Container::Object)) => self.next(State::Key),
                (b',', Some(Container::Array)) => self.next(State::Value),
                (b'}', _) => self.close(Container::Object),
                (b']', _) => self.close(Container::Array),
                _ => Err(self.wrong("',' or the end of an object or array was expected")),
            },
            State::Number(_) => Err(self.wrong("a number is malformed")),
        }
    }

    fn next(&mut self, state: State) -> Result<()> {
        self.state = state;
        self.keep(b",")
    }

    fn value(&mut self, byte: u8, sink: &mut dyn AttachmentSink) -> Result<()> {
        let expected = std::mem::replace(&mut self.expected, Expected::Anything);
        match (expected, byte) {
            (Expected::Anything, _) | (Expected::Attachments, b'n') | (Expected::Attachment, b'{') => {}
            (Expected::Attachments, b'{') => self.in_attachments = true,
            (Expected::Data, b'"') => {
                let name = self.names.last().expect("data is expected inside an attachment only");
                sink.start(name)?;
                self.decoder = Decoder::of(name);
                self.attachments.push(AttachmentInfo { name: name.clone(), bytes: 0 });
                self.state = State::Text(Role::Data);
                return self.keep(b"\"");
            }
            (Expected::Attachments, _) => return Err(self.wrong("_attachments is not an object")),
            (Expected::Attachment, _) => return Err(self.wrong("an attachment is not an object")),
            (Expected::Data, _) => return Err(self.wrong("the data of an attachment is not a string")),
        }
        self.state = match byte {
            b'{' | b'[' => {
                if self.open.len() >= self.limits.depth {
                    return Err(self.wrong(&format!("nested more than {} levels deep", self.limits.depth)));
                }
                let is_object = byte == b'{';
                self.open.push(if is_object { Container::Object } else { Container::Array });
                if is_object { State::KeyOrClose } else { State::ValueOrClose }
            }
            b'"' => State::Text(Role::Plain),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err(self.wrong("a value was expected")),
        };
        self.keep(&[byte])
    }

    fn close(&mut self, container: Container) -> Result<()> {
        if self.open.pop() != Some(container) {
            return Err(self.wrong("an object or array is closed that is not open"));
        }
        if self.open.len() == 1 {
            self.in_attachments = false;
        }
        self.state = if self.open.is_empty() { State::End } else { State::AfterValue };
        self.keep(if container == Container::Object { b"}" } else { b"]" })
    }

    /// Bytes of a string without quotes, escapes and control characters.
    fn run(&mut self, role: Role, bytes: &[u8], sink: &mut dyn AttachmentSink) -> Result<()> {
        match role {
            Role::Plain | Role::Key => self.keep(bytes),
            Role::WatchedKey => {
                self.add_to_key(bytes)?;
                self.keep(bytes)
            }
            Role::Data => self.decode(bytes, sink),
        }
    }

    /// One byte of a string that is not part of a run.
    fn text(&mut self, role: Role, byte: u8, sink: &mut dyn AttachmentSink) -> Result<()> {
        if byte < 0x20 {
            return Err(self.wrong("a string has a control character"));
        }
        if role != Role::Data || (byte == b'"' && matches!(self.escape, Escape::No)) {
            self.keep(&[byte])?;
        }
        match self.escape {
            Escape::No if self.high_surrogate.is_some() && byte != b'\\' => Err(self.lone_surrogate()),
            Escape::No if byte == b'\\' => {
                self.escape = Escape::Backslash;
                Ok(())
            }
            // Nothing else ends a run.
            Escape::No => self.end_text(role, sink),
            Escape::Backslash if byte == b'u' => {
                self.escape = Escape::Unicode { digits: 0, value: 0 };
                Ok(())
            }
            Escape::Backslash if self.high_surrogate.is_some() => Err(self.lone_surrogate()),
            Escape::Backslash => {
                let character = match byte {
                    b'"' | b'\\' | b'/' => char::from(byte),
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    _ => return Err(self.wrong("a string has an unknown escape")),
                };
                self.escape = Escape::No;
                self.character(role, character, sink)
            }
            Escape::Unicode { digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    return Err(self.wrong("a \\u escape does not have four hex digits"));
                };
                let value = value << 4 | digit;
                if digits < 3 {
                    self.escape = Escape::Unicode { digits: digits + 1, value };
                    return Ok(());
                }
                self.escape = Escape::No;
                self.unit(role, value, sink)
            }
        }
    }

    /// One UTF-16 code unit of a `\u` escape.
    fn unit(&mut self, role: Role, unit: u32, sink: &mut dyn AttachmentSink) -> Result<()> {
        let scalar = match (self.high_surrogate.take(), unit) {
            (None, 0xd800..=0xdbff) => {
                self.high_surrogate = Some(unit);
                return Ok(());
            }
            (Some(high), 0xdc00..=0xdfff) => 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            (Some(_), _) => return Err(self.lone_surrogate()),
            (None, unit) => unit,
        };
        let character = char::from_u32(scalar).ok_or_else(|| self.lone_surrogate())?;
        self.character(role, character, sink)
    }

    fn character(&mut self, role: Role, character: char, sink: &mut dyn AttachmentSink) -> Result<()> {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        match role {
            Role::Plain | Role::Key => Ok(()),
            Role::WatchedKey => self.add_to_key(bytes),
            Role::Data => self.decode(bytes, sink),
        }
    }

    fn end_text(&mut self, role: Role, sink: &mut dyn AttachmentSink) -> Result<()> {
        match role {
            Role::Plain => self.state = State::AfterValue,
            Role::Key => self.state = State::Colon,
            Role::WatchedKey => {
                self.watch_key()?;
                self.state = State::Colon;
            }
            Role::Data => {
                self.decoder.finish().map_err(|rule| self.wrong_data(rule))?;
                sink.end()?;
                self.state = State::AfterValue;
            }
        }
        Ok(())
    }

    /// A key is complete at a place where keys matter: decides what its value must be.
    fn watch_key(&mut self) -> Result<()> {
        let Ok(key) = std::str::from_utf8(&self.key) else {
            return Err(self.wrong("a key is not UTF-8"));
        };
        self.expected = match (self.open.len(), key) {
            (1, "_attachments") => {
                if self.seen_attachments {
                    return Err(self.wrong("_attachments stands twice in the document"));
                }
                self.seen_attachments = true;
                Expected::Attachments
            }
            (2, name) => {
                if self.names.iter().any(|before| before == name) {
                    let name = shown(name);
                    return Err(self.wrong(&format!("attachment '{name}' stands twice in the document")));
                }
                if self.names.len() >= self.limits.attachments {
                    let most = self.limits.attachments;
                    return Err(self.wrong(&format!("there are more than {most} attachments")));
                }
                self.names.push(name.to_owned());
                self.has_data = false;
                Expected::Attachment
            }
            (3, "data") => {
                if self.has_data {
                    return Err(self.wrong("an attachment has data twice"));
                }
                self.has_data = true;
                Expected::Data
            }
            _ => Expected::Anything,
        };
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8], sink: &mut dyn AttachmentSink) -> Result<()> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = decoder.feed(bytes, &mut |decoded| self.give(decoded, sink));
        self.decoder = decoder;
        result?.map_err(|rule| self.wrong_data(rule))
    }

    fn give(&mut self, decoded: &[u8], sink: &mut dyn AttachmentSink) -> Result<()> {
        self.attachment_bytes += decoded.len() as u64;
        if self.attachment_bytes > self.limits.attachment_bytes {
            return Err(Error::too_large(format!(
                "the attachments are larger than {} bytes, which is the limit by {}",
                self.limits.attachment_bytes, self.limits.attachment_setting
            )));
        }
        if let Some(attachment) = self.attachments.last_mut() {
            attachment.bytes += decoded.len() as u64;
        }
        sink.bytes(decoded)
    }

    fn add_to_key(&mut self, bytes: &[u8]) -> Result<()> {
        if self.key.len() + bytes.len() > MAX_KEY_BYTES {
            return Err(self.wrong(&format!("a key is longer than {MAX_KEY_BYTES} bytes")));
        }
        self.key.extend_from_slice(bytes);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        if self.document.len() + bytes.len() > self.limits.document_bytes {
            return Err(Error::too_large(format!(
                "the document without its attachments is larger than {} bytes, which is the limit by {}",
                self.limits.document_bytes, self.limits.document_setting
            )));
        }
        self.document.extend_from_slice(bytes);
        Ok(())
    }

    fn lone_surrogate(&self) -> Error {
        self.wrong("a string has half of a surrogate pair")
    }

    fn wrong_data(&self, rule: &str) -> Error {
        let name = self.names.last().map_or("", String::as_str);
        self.wrong(&format!("the data of attachment '{}' {rule}", shown(name)))
    }

    fn wrong(&self, rule: &str) -> Error {
        Error::cannot_parse(format!("the publish document cannot be read: {rule} (at byte {})", self.offset))
    }
}

impl Number {
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::Exponent),
            (Self::Exponent, b'+' | b'-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests;
