//! How values are written: durations, sizes and switches.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `12h`, `7d`, or seconds without a unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Reads `32MiB`, `2GB`, or bytes without a unit.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Reads `true` or `false`; of variables also `1`, `0`, `yes`, `no`, `on` and `off`.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The word of `known` that is nearest to `text`, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|word| (distance(text, word), word)).min()?;
    (best.0 <= (best.1.len() / 3).max(2)).then_some(best.1)
}

/// How many letters must be put in, taken out or changed.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("90", 90), ("12h", 43_200), ("1d", 86_400)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for (text, size) in [("32MiB", 32 << 20), ("1000", 1000), ("2 GB", 2_000_000_000), ("8k", 8192)] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "-1s", "5 fortnights", "1e3", "99999999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let known = || ["max-index-bytes", "listen", "data"].into_iter();
        assert_eq!(nearest("max-index-byte", known()), Some("max-index-bytes"));
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("completely-different", known()), None);
    }
}
