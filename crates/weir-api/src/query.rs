//! The query of a request, decoded once: what the signature covers and what an operation reads are
//! the same pairs. A `+` is a plus, as in Signature Version 4; AWS's clients send `%20` for a space.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::collections::BTreeMap;
use weir_core::name::shown;
use weir_core::{Error, Result};

/// More parameters than any operation or signature has.
const MAX_PARAMETERS: usize = 100;

/// Decoded parameters by name. A parameter may be given once: no operation takes a list here.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Decodes the part of a target behind its `?`.
    pub(crate) fn parse(raw: &str) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in Self::pairs(raw) {
            let text = |bytes: Cow<'_, [u8]>| {
                String::from_utf8(bytes.into_owned())
                    .map_err(|_| Error::cannot_parse("a parameter of the query is not UTF-8"))
            };
            let name = text(name)?;
            let field = shown(&name);
            if parameters.insert(name, text(value)?).is_some() {
                return Err(Error::invalid(&field, "is given more than once"));
            }
            if parameters.len() > MAX_PARAMETERS {
                return Err(Error::cannot_parse(format!(
                    "the query has more than {MAX_PARAMETERS} parameters"
                )));
            }
        }
        Ok(Self(parameters))
    }

    /// The pairs of a query in the order sent, decoded.
    pub(crate) fn pairs(raw: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
        raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode_str(name).into(), percent_decode_str(value).into())
        })
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once_and_a_plus_stays() {
        let query = Query::parse("asset=a%20b%2Fc.bin&version=1.0+rc%252B1&empty&x=").expect("valid");
        assert_eq!(query.get("asset"), Some("a b/c.bin"));
        assert_eq!(query.get("version"), Some("1.0+rc%2B1"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("absent"), None);
    }

    #[test]
    fn a_parameter_given_twice_or_not_text_is_refused() {
        for raw in ["domain=a&domain=b", "domain=a&dom%61in=a", "domain=%ff"] {
            assert!(Query::parse(raw).is_err(), "{raw}");
        }
    }
}
