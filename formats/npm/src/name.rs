//! npm's package names: `left-pad`, `@scope/name`; verbatim, in the letters that need no escape in a URL.

use crate::FORMAT;
use weir_core::name::shown;
use weir_core::{Error, PackageName, Result};

/// Reads scope (without `@`) and name as the control API gives them.
pub(crate) fn parse(scope: Option<&str>, name: &str) -> Result<PackageName> {
    if let Some(scope) = scope {
        check_part("namespace", scope)?;
    }
    check_part("package", name)?;
    let reserved = |word: &&str| name.eq_ignore_ascii_case(word);
    if scope.is_none() && (name.starts_with('_') || ["node_modules", "favicon.ico"].iter().any(reserved)) {
        return Err(Error::invalid("package", format_args!("'{}' is not a name npm allows", shown(name))));
    }
    PackageName::new(FORMAT, scope, name)
}

/// Reads `name` or `@scope/name`.
pub(crate) fn parse_full(text: &str) -> Result<PackageName> {
    match text.strip_prefix('@') {
        Some(rest) => match rest.split_once('/') {
            Some((scope, name)) => parse(Some(scope), name),
            None => Err(Error::invalid(
                "package",
                format_args!("'{}' has a scope and no name; it must be @scope/name", shown(text)),
            )),
        },
        None => parse(None, text),
    }
}

/// `@scope/name` or `name`: as people and documents write it.
pub(crate) fn full(package: &PackageName) -> String {
    match &package.namespace {
        Some(scope) => format!("@{scope}/{}", package.name),
        None => package.name.to_string(),
    }
}

/// `@scope%2fname` or `name`: as one segment of a path.
pub(crate) fn escaped(package: &PackageName) -> String {
    match &package.namespace {
        Some(scope) => format!("@{scope}%2f{}", package.name),
        None => package.name.to_string(),
    }
}

/// The letters that `encodeURIComponent` leaves alone; old names use all of them.
fn check_part(field: &str, text: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()".contains(c);
    if text.starts_with('.') {
        return Err(Error::invalid(field, format_args!("'{}' must not begin with '.'", shown(text))));
    }
    if text.is_empty() || !text.chars().all(plain) {
        return Err(Error::invalid(
            field,
            format_args!("'{}' is not of A-Z, a-z, 0-9 and -_.!~*'()", shown(text)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_verbatim() {
        for text in ["left-pad", "JSONStream", "@acme/widget", "@_x/_y", "@scope/node_modules", "a.b_c~d"] {
            let package = parse_full(text).unwrap();
            assert_eq!(full(&package), text);
        }
        assert_eq!(escaped(&parse_full("@acme/widget").unwrap()), "@acme%2fwidget");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        let cases = [
            "",
            ".",
            "..",
            ".hidden",
            "_private",
            "node_modules",
            "Favicon.ICO",
            "a b",
            "a/b",
            "@a",
            "@/b",
            "@a/",
            "@a/b/c",
            "@a/.b",
            "@../b",
            "é",
            "a%2fb",
            "a\nb",
            "a:b",
            "-\u{0}",
            &long,
        ];
        for text in cases {
            assert!(matches!(parse_full(text), Err(Error::Invalid { .. })), "{text:?}");
        }
    }
}
