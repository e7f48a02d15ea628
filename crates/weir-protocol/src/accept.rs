//! Content negotiation: `Accept` and `Accept-Encoding` with their q-values (RFC 9110 section 12.5).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

/// Whether gzip may be sent and is not liked less than the identity form.
pub fn prefers_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for (name, quality) in weighted(headers, &ACCEPT_ENCODING) {
        match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(quality);
            }
            name if name.eq_ignore_ascii_case("identity") => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// Which of the offered media types (without parameters, best first) the client likes most; the first
/// where it does not say; `None` where it takes none of them.
pub fn preferred(headers: &HeaderMap, offered: &[&str]) -> Option<usize> {
    if !headers.contains_key(ACCEPT) {
        return (!offered.is_empty()).then_some(0);
    }
    let mut best = None;
    for (index, media_type) in offered.iter().enumerate() {
        let quality = quality_of(headers, media_type);
        if quality > 0 && best.is_none_or(|(_, so_far)| quality > so_far) {
            best = Some((index, quality));
        }
    }
    best.map(|(index, _)| index)
}

/// The quality of the most specific range that covers the media type, in thousandths.
fn quality_of(headers: &HeaderMap, media_type: &str) -> u16 {
    let mut found = (0, 0);
    for (range, quality) in weighted(headers, &ACCEPT) {
        let specificity = match range {
            range if range.eq_ignore_ascii_case(media_type) => 3,
            "*/*" | "*" => 1,
            range => match (range.strip_suffix("/*"), media_type.split_once('/')) {
                (Some(wanted), Some((kind, _))) if wanted.eq_ignore_ascii_case(kind) => 2,
                _ => 0,
            },
        };
        if specificity > found.0 {
            found = (specificity, quality);
        }
    }
    found.1
}

fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, quality.map_or(1000, thousandths)))
    })
}

/// A q-value in thousandths; what is no number counts as 0.
fn thousandths(text: &str) -> u16 {
    match text.trim().parse::<f32>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).unwrap())].into_iter().collect()
    }

    #[test]
    fn gzip_is_sent_to_those_who_like_it() {
        let cases = [
            ("gzip, deflate, br", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*;q=0.1, gzip;q=0", false),
            ("identity", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("br", false),
            ("", false),
            ("gzip;q=nan", false),
        ];
        for (value, expected) in cases {
            assert_eq!(prefers_gzip(&with(ACCEPT_ENCODING, value)), expected, "{value}");
        }
        assert!(!prefers_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_media_type_is_the_one_liked_most() {
        let offered = ["application/json", "application/vnd.npm.install-v1+json", "text/html"];
        let cases = [
            ("application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*", Some(1)),
            ("*/*", Some(0)),
            ("text/*, */*;q=0.1", Some(2)),
            ("application/json;q=0, */*", Some(1)),
            ("image/png", None),
            ("application/json;q=0.5, text/html", Some(2)),
        ];
        for (value, expected) in cases {
            assert_eq!(preferred(&with(ACCEPT, value), &offered), expected, "{value}");
        }
        assert_eq!(preferred(&HeaderMap::new(), &offered), Some(0));
    }
}
