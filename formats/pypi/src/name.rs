//! Project names: checked and normalised as PEP 503 and the core metadata specification say. The one
//! normaliser: whatever is looked up, compared or stored goes through it.

use crate::FORMAT;
use weir_core::name::shown;
use weir_core::{Error, PackageName, Result};

/// Reads a name in any spelling. Errors: Invalid for what no project can be called.
pub(crate) fn parse(text: &str) -> Result<PackageName> {
    if !is_name(text) {
        return Err(Error::invalid(
            "package",
            format_args!(
                "'{}' is not a name that Python projects may have: letters, digits, '.', '-' and '_', with a letter \
                 or digit at both ends",
                shown(text)
            ),
        ));
    }
    PackageName::new(FORMAT, None, &normalised(text))
}

/// Lower case, with `-` for every run of `-`, `_` and `.` (PEP 503).
pub(crate) fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_run = false;
    for character in text.chars() {
        if matches!(character, '-' | '_' | '.') {
            in_run = true;
            continue;
        }
        if std::mem::take(&mut in_run) {
            out.push('-');
        }
        out.push(character.to_ascii_lowercase());
    }
    if in_run {
        out.push('-');
    }
    out
}

/// Whether a text, in any spelling, names this project.
pub(crate) fn is_of(package: &PackageName, text: &str) -> bool {
    is_name(text) && normalised(text) == *package.name
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 255
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_name() {
        for text in ["zope.interface", "Zope_Interface", "ZOPE-._-interface", "zope-interface"] {
            assert_eq!(&*parse(text).unwrap().name, "zope-interface", "{text}");
        }
        assert_eq!(&*parse("A").unwrap().name, "a");
        let package = parse("weir-demo").unwrap();
        assert!(
            is_of(&package, "Weir_Demo") && !is_of(&package, "weirdemo") && !is_of(&package, "weir-demo-")
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        for text in ["", ".", "..", "-a", "a-", "a b", "a/b", "é", "a\n", "a\0b", "@a", "a%2fb", "_", &long]
        {
            assert!(matches!(parse(text), Err(Error::Invalid { .. })), "{text:?}");
        }
    }
}
