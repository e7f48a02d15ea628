//! Header fields of a form and its parts: media types, dispositions and their parameters, as browsers,
//! Python's clients and reqwest write them.

use super::wrong;
use crate::target::decode;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use weir_core::error::{Error, Result};
use weir_core::name::shown;

/// The boundary that Content-Type names.
pub(super) fn boundary(headers: &HeaderMap) -> Result<String> {
    let refused = |rule: &str| Error::invalid("Content-Type", rule);
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let (Some(value), None) = (value, values.next()) else {
        return Err(refused("must be given once, as multipart/form-data with a boundary"));
    };
    let (kind, parameters) = split_value(value);
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return Err(refused(&format!("'{}' is not multipart/form-data", shown(kind))));
    }
    let mut boundary = None;
    for parameter in Parameters(parameters) {
        let (name, value) = parameter.map_err(&refused)?;
        if name == "boundary" && boundary.replace(value).is_some() {
            return Err(refused("has two boundaries"));
        }
    }
    let boundary = boundary.ok_or_else(|| refused("has no boundary"))?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    if !(1..=70).contains(&boundary.len()) || !boundary.bytes().all(is_allowed) || boundary.ends_with(' ') {
        return Err(refused("has a boundary that is not 1 to 70 of the characters that RFC 2046 allows"));
    }
    Ok(boundary)
}

/// What `Content-Disposition: form-data` says.
#[derive(Debug)]
pub(super) struct Disposition {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
}

/// The header fields of one part.
#[derive(Default)]
pub(super) struct Fields {
    disposition: Option<Disposition>,
    content_type: Option<String>,
}

impl Fields {
    /// Takes one line of the header of the part of this number.
    pub(super) fn take(&mut self, line: &[u8], part: usize) -> Result<()> {
        let refused = |rule: &str| wrong(format_args!("part {part} {rule}"));
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(refused("has a header that is not UTF-8"));
        };
        if line.chars().any(|character| character.is_control() && character != '\t') {
            return Err(refused("has a control character in its header"));
        }
        if line.starts_with([' ', '\t']) {
            return Err(refused("has a header of more than one line"));
        }
        let field = line.split_once(':').filter(|(name, _)| is_token(name));
        let Some((name, value)) = field else {
            return Err(refused(&format!("has a malformed header: '{}'", shown(line))));
        };
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("content-disposition") {
            let disposition = Disposition::parse(value).map_err(|rule| refused(&rule))?;
            if self.disposition.replace(disposition).is_some() {
                return Err(refused("has two Content-Dispositions"));
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            if self.content_type.replace(value.into()).is_some() {
                return Err(refused("has two Content-Types"));
            }
        } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
            // RFC 7578 took it away; those that change nothing are harmless.
            if !["binary", "8bit", "7bit"].iter().any(|same| value.eq_ignore_ascii_case(same)) {
                return Err(refused("has a Content-Transfer-Encoding, which forms must not have"));
            }
        }
        Ok(())
    }

    /// What the whole header said.
    pub(super) fn finish(self, part: usize) -> Result<(Disposition, Option<String>)> {
        match self.disposition {
            Some(disposition) => Ok((disposition, self.content_type)),
            None => Err(wrong(format_args!("part {part} has no Content-Disposition"))),
        }
    }
}

impl Disposition {
    fn parse(value: &str) -> Result<Self, String> {
        let (kind, parameters) = split_value(value);
        if !kind.eq_ignore_ascii_case("form-data") {
            return Err(format!("has the Content-Disposition '{}' instead of form-data", shown(kind)));
        }
        let (mut name, mut file_name) = (Named::default(), Named::default());
        for parameter in Parameters(parameters) {
            let (key, value) = parameter?;
            match key.as_str() {
                "name" => name.set_plain(value)?,
                "name*" => name.set_extended(&value)?,
                "filename" => file_name.set_plain(value)?,
                "filename*" => file_name.set_extended(&value)?,
                _ => {}
            }
        }
        let name = name.finish()?.ok_or("has no name in its Content-Disposition")?;
        Ok(Self { name, file_name: file_name.finish()? })
    }
}

/// A parameter that has a plain and an extended form.
#[derive(Default)]
struct Named {
    plain: Option<String>,
    extended: Option<String>,
}

impl Named {
    fn set_plain(&mut self, value: String) -> Result<(), String> {
        set(&mut self.plain, unescaped(value))
    }

    /// `UTF-8'language'percent-encoded`, RFC 8187.
    fn set_extended(&mut self, value: &str) -> Result<(), String> {
        let mut parts = value.splitn(3, '\'');
        let (Some(charset), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("has a name that is not written as of RFC 8187".into());
        };
        if !charset.eq_ignore_ascii_case("utf-8") {
            return Err(format!("has a name in '{}' instead of UTF-8", shown(charset)));
        }
        let value = decode("its name", encoded).map_err(|error| format!("has a wrong name: {error}"))?;
        set(&mut self.extended, value.into_owned())
    }

    fn finish(self) -> Result<Option<String>, String> {
        match (self.plain, self.extended) {
            (Some(plain), Some(extended)) if plain != extended => {
                Err("has two names that differ in its Content-Disposition".into())
            }
            (plain, extended) => Ok(extended.or(plain)),
        }
    }
}

fn set(place: &mut Option<String>, value: String) -> Result<(), String> {
    if value.chars().any(char::is_control) {
        return Err("has a control character in its name".into());
    }
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err("has a parameter of its Content-Disposition twice".into()),
    }
}

/// Undoes what the HTML standard does to a name: a quote and line breaks are percent-encoded, and a
/// percent sign is not, so that nothing else may be decoded.
fn unescaped(value: String) -> String {
    if !value.contains('%') {
        return value;
    }
    let mut plain = String::with_capacity(value.len());
    let mut rest = value.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let character = match after.get(..2) {
            Some("22") => Some('"'),
            Some("0D" | "0d") => Some('\r'),
            Some("0A" | "0a") => Some('\n'),
            _ => None,
        };
        plain.push(character.unwrap_or('%'));
        rest = if character.is_some() { &after[2..] } else { after };
    }
    plain.push_str(rest);
    plain
}

/// The part before the first semicolon, and the parameters with it.
fn split_value(value: &str) -> (&str, &str) {
    let (first, parameters) = value.split_at(value.find(';').unwrap_or(value.len()));
    (first.trim_matches([' ', '\t']), parameters)
}

/// Parameters as `; name=token` or `; name="quoted"`, with names in lower case.
struct Parameters<'a>(&'a str);

impl Iterator for Parameters<'_> {
    type Item = Result<(String, String), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0).trim_start_matches([' ', '\t']);
        // A semicolon at the end announces nothing.
        if rest.trim_matches([' ', '\t', ';']).is_empty() {
            return None;
        }
        let Some((parameter, rest)) = parameter(rest) else {
            return Some(Err("has a malformed parameter"));
        };
        self.0 = rest;
        Some(Ok(parameter))
    }
}

fn parameter(text: &str) -> Option<((String, String), &str)> {
    let (name, text) = text.strip_prefix(';')?.split_once('=')?;
    let name = name.trim_matches([' ', '\t']);
    if !is_token(name) {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let Some(quoted) = text.strip_prefix('"') else {
        // Some boundaries have characters that should be quoted and are not.
        let (value, rest) = split_value(text);
        return (!value.is_empty() && !value.contains([' ', '\t', '"']))
            .then(|| ((name, value.into()), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(((name, value), characters.as_str())),
            // Browsers leave a backslash as it is.
            '\\' if characters.as_str().starts_with(['"', '\\']) => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}
