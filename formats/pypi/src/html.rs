//! The links of an HTML page, in one pass and without building a tree: what a simple index in HTML consists
//! of (PEP 503). Scripts, styles and comments are passed over; nothing of the page is kept but these parts.

use std::borrow::Cow;

/// A start tag that matters to an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Tag<'a> {
    /// The value of an attribute, its character references resolved; empty where it has none.
    pub(crate) fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        let found = self.attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| unescaped(value))
    }
}

/// Tags that are looked at; the text of the others is of no interest.
const NAMES: [&str; 3] = ["a", "meta", "base"];
/// Elements whose text is no markup.
const RAW_TEXT: [&str; 6] = ["script", "style", "textarea", "title", "iframe", "noscript"];

/// The start tags `a`, `meta` and `base` of a page, in order.
pub(crate) fn tags(page: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = page;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('<')?;
            rest = &rest[start + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let (name, after) = rest.split_at(length);
            if name.is_empty() {
                continue;
            }
            let (attributes, after) = attributes(after);
            rest = after;
            if let Some(raw) = RAW_TEXT.iter().find(|raw| raw.eq_ignore_ascii_case(name)) {
                rest = after_raw_text(rest, raw);
                continue;
            }
            if let Some(name) = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
                return Some(Tag { name, attributes });
            }
        }
    })
}

/// What follows the end of an element whose text is no markup.
fn after_raw_text<'a>(text: &'a str, name: &str) -> &'a str {
    for (at, _) in text.match_indices("</") {
        let after = &text[at + 2..];
        if after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return after;
        }
    }
    ""
}

/// The attributes of a start tag, and what follows its `>`.
fn attributes(text: &str) -> (Vec<(&str, &str)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let ends_name = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        // A name may begin with `=`, as browsers have it.
        let length =
            rest.char_indices().skip(1).find(|(_, c)| ends_name(*c)).map_or(rest.len(), |(at, _)| at);
        let (name, after) = rest.split_at(length);
        let after_space = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(value) = after_space.strip_prefix('=') else {
            found.push((name, ""));
            rest = after;
            continue;
        };
        let value = value.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => {
                let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
                value.split_at(end)
            }
        };
        found.push((name, value));
        rest = after;
    }
}

/// Resolves character references: numbers, and the names that pages of links are written with.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // No reference that is known is longer.
        let end = rest.bytes().take(10).position(|b| b == b';');
        match end.and_then(|end| Some((character(&rest[..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => out.push('&'),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        "nbsp" => return Some('\u{a0}'),
        _ => {}
    }
    let number = reference.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).filter(|c| *c != '\0')
}

/// Writes a text so that it stays a text, in an element or in a quoted attribute.
pub(crate) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn links(page: &str) -> Vec<String> {
        tags(page)
            .filter(|tag| tag.name == "a")
            .filter_map(|tag| Some(tag.attribute("href")?.into_owned()))
            .collect()
    }

    #[test]
    fn links_are_read_as_browsers_read_them() {
        let page = r#"<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1"></head><body>
            <A HREF="a?x=1&amp;y=2#sha256=ab" data-requires-python="&gt;=3.8" data-yanked>a</A><br/>
            <a class=x href=b.whl>b</a> <a href = 'c "quoted"'>c</a> < a href="no"> <a name="none">
            <a href="d"data-x='1'>d</a></body></html>"#;
        assert_eq!(links(page), ["a?x=1&y=2#sha256=ab", "b.whl", "c \"quoted\"", "d"]);
        let all: Vec<Tag<'_>> = tags(page).collect();
        assert_eq!(all[0].attribute("content").as_deref(), Some("1.1"));
        assert_eq!(all[1].attribute("data-requires-python").as_deref(), Some(">=3.8"));
        assert_eq!(all[1].attribute("data-yanked").as_deref(), Some(""));
        assert_eq!(all[1].attribute("absent"), None);
    }

    #[test]
    fn scripts_and_comments_hold_no_links() {
        let page = r#"<script>document.write('<a href="evil">');</script><!-- <a href="no"> --><style><a href=s></style>
            <title><a href="t"></title><a href="yes"><script><a href="never">"#;
        assert_eq!(links(page), ["yes"]);
    }

    #[test]
    fn references_are_resolved_and_written() {
        assert_eq!(
            unescaped("&#62;=3 &#x3C; &lt;&quot;&apos;& &amp;amp; &unknown; &#0; &#xD800;"),
            ">=3 < <\"'& &amp; &unknown; &#0; &#xD800;"
        );
        let mut out = String::new();
        escape("<a href=\"x\">'&", &mut out);
        assert_eq!(out, "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;");
        assert_eq!(unescaped(&out), "<a href=\"x\">'&");
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(page in "[<>a!/\"'= &;#x\\-é]{0,200}") {
            let read: usize = tags(&page).filter_map(|tag| Some(tag.attribute("href")?.len())).sum();
            prop_assert!(read <= page.len());
        }

        #[test]
        fn what_is_escaped_is_read_back(text in "\\PC{0,80}") {
            let mut out = String::from("<a href=\"");
            escape(&text, &mut out);
            out.push_str("\">");
            prop_assert_eq!(links(&out), vec![text]);
        }
    }
}
