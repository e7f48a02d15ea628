//! Pages of listings: a size and an opaque cursor.

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// 1 to 1000.
    pub size: usize,
    /// The sort key of the last item of the page before, empty for the first page.
    pub after: Vec<String>,
}

impl PageRequest {
    /// Parses `max-results` and `next-token`; `default` is the documented page size.
    pub fn parse(max_results: Option<i64>, next_token: Option<&str>, default: usize) -> Result<Self> {
        let size = match max_results {
            None => default,
            Some(n @ 1..=1000) => usize::try_from(n).unwrap_or(default),
            Some(n) => {
                return Err(Error::invalid("maxResults", format_args!("{n} is not between 1 and 1000")));
            }
        };
        let after = match next_token {
            None => Vec::new(),
            Some(token) => decode(token).ok_or_else(|| {
                Error::invalid("nextToken", "is not a token of this listing; begin again without it")
            })?,
        };
        Ok(Self { size, after })
    }

    /// The first `size` items.
    pub fn first(size: usize) -> Self {
        Self { size, after: Vec::new() }
    }
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Opaque; `None` on the last page.
    pub next_token: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of `items`, of which one more than `size` were read to know whether another page
    /// follows; `key` gives an item's sort key.
    pub fn cut(mut items: Vec<T>, size: usize, key: impl Fn(&T) -> Vec<String>) -> Self {
        let more = items.len() > size;
        items.truncate(size);
        let next_token = if more { items.last().map(|last| encode(&key(last))) } else { None };
        Self { items, next_token }
    }

    /// Turns the items into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next_token: self.next_token }
    }
}

fn encode(key: &[String]) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).expect("strings are always JSON"))
}

fn decode(token: &str) -> Option<Vec<String>> {
    if token.len() > 2000 {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip() {
        let page = Page::cut(vec!["a", "b", "c"], 2, |s| vec![(*s).to_owned()]);
        assert_eq!(page.items, ["a", "b"]);
        let next = PageRequest::parse(None, page.next_token.as_deref(), 5).expect("valid");
        assert_eq!(next.after, ["b"]);
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        assert!(PageRequest::parse(None, Some("%%%"), 5).is_err());
        assert!(PageRequest::parse(Some(0), None, 5).is_err());
        assert!(PageRequest::parse(Some(1001), None, 5).is_err());
    }
}
