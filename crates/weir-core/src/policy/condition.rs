//! Conditions (IAM JSON policy elements, condition operators): whether one holds of a request. A date,
//! number or address that cannot be read is neither true nor false; the caller decides on the safe side.

use super::Condition;
use super::pattern;
use jiff::Timestamp;
use std::cmp::Ordering;
use std::net::IpAddr;

/// Whether `condition` holds in `context`; `None` when it cannot be told.
pub(super) fn holds(condition: &Condition, context: &[(&str, &str)]) -> Option<bool> {
    let operator = Operator::parse(&condition.operator)?;
    // Keys are the same in any case, as in IAM.
    let found = || context.iter().filter(|(key, _)| key.eq_ignore_ascii_case(&condition.key));
    let absent = found().next().is_none();
    if operator.test == Test::Null {
        return Some(condition.values.iter().any(|value| value.eq_ignore_ascii_case("true") == absent));
    }
    if absent {
        return Some(operator.negated || operator.if_exists);
    }
    let mut any = false;
    for (_, have) in found() {
        for want in &condition.values {
            any |= operator.test.matches(want, have)?;
        }
    }
    Some(any != operator.negated)
}

/// Whether there is such an operator.
pub(super) fn is_operator(text: &str) -> bool {
    Operator::parse(text).is_some()
}

/// Refuses values that the operator cannot compare; the text names the rule.
pub(super) fn check(condition: &Condition) -> Result<(), String> {
    let Some(operator) = Operator::parse(&condition.operator) else {
        return Err("is not an operator that is supported".to_owned());
    };
    match condition.values.iter().find(|value| !operator.test.accepts(value)) {
        None => Ok(()),
        Some(bad) => Err(format!("'{}' is not {}", crate::name::shown(bad), operator.test.wanted())),
    }
}

struct Operator {
    test: Test,
    negated: bool,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Test {
    Text,
    TextIgnoringCase,
    Like,
    Arn,
    Bool,
    Null,
    Numeric(&'static [Ordering]),
    Date(&'static [Ordering]),
    IpAddress,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        let (name, if_exists) = match text.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let (test, negated) = match name {
            "StringEquals" => (Test::Text, false),
            "StringNotEquals" => (Test::Text, true),
            "StringEqualsIgnoreCase" => (Test::TextIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Test::TextIgnoringCase, true),
            "StringLike" => (Test::Like, false),
            "StringNotLike" => (Test::Like, true),
            "ArnEquals" | "ArnLike" => (Test::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
            "Bool" => (Test::Bool, false),
            "Null" if !if_exists => (Test::Null, false),
            "IpAddress" => (Test::IpAddress, false),
            "NotIpAddress" => (Test::IpAddress, true),
            _ => {
                let numeric = name.strip_prefix("Numeric").map(|rest| (Test::Numeric as fn(_) -> _, rest));
                let date = || name.strip_prefix("Date").map(|rest| (Test::Date as fn(_) -> _, rest));
                let (test, comparison) = numeric.or_else(date)?;
                let orderings: &'static [Ordering] = match comparison {
                    "Equals" | "NotEquals" => &[Ordering::Equal],
                    "LessThan" => &[Ordering::Less],
                    "LessThanEquals" => &[Ordering::Less, Ordering::Equal],
                    "GreaterThan" => &[Ordering::Greater],
                    "GreaterThanEquals" => &[Ordering::Greater, Ordering::Equal],
                    _ => return None,
                };
                (test(orderings), comparison == "NotEquals")
            }
        };
        Some(Self { test, negated, if_exists })
    }
}

impl Test {
    fn matches(self, want: &str, have: &str) -> Option<bool> {
        Some(match self {
            Self::Text => want == have,
            Self::TextIgnoringCase => want.to_lowercase() == have.to_lowercase(),
            Self::Like => pattern::matches(want, have),
            Self::Arn => arn_matches(want, have),
            Self::Bool => boolean(want)? == boolean(have)?,
            Self::Null => return None,
            Self::Numeric(orderings) => orderings.contains(&number(have)?.partial_cmp(&number(want)?)?),
            Self::Date(orderings) => orderings.contains(&date(have)?.cmp(&date(want)?)),
            Self::IpAddress => Network::parse(want)?.contains(have.parse().ok()?),
        })
    }

    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Text | Self::TextIgnoringCase | Self::Like => true,
            Self::Arn => value == "*" || value.split(':').count() >= 6,
            Self::Bool | Self::Null => boolean(value).is_some(),
            Self::Numeric(_) => number(value).is_some(),
            Self::Date(_) => date(value).is_some(),
            Self::IpAddress => Network::parse(value).is_some(),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Text | Self::TextIgnoringCase | Self::Like => "a string",
            Self::Arn => "'*' or an ARN with its six parts",
            Self::Bool | Self::Null => "true or false",
            Self::Numeric(_) => "a number",
            Self::Date(_) => "a date such as 2026-01-31, 2026-01-31T12:00:00Z or seconds since 1970",
            Self::IpAddress => "an address or a range such as 10.0.0.0/8 or 2001:db8::/32",
        }
    }
}

/// Each of the six parts on its own, so that a star does not reach into the next one.
fn arn_matches(want: &str, have: &str) -> bool {
    if want == "*" {
        return true;
    }
    let (mut want, mut have) = (want.splitn(6, ':'), have.splitn(6, ':'));
    (0..6).all(|_| match (want.next(), have.next()) {
        (Some(want), Some(have)) => pattern::matches(want, have),
        _ => false,
    })
}

fn boolean(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn date(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse() {
        return Timestamp::from_second(seconds).ok();
    }
    let midnight = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| midnight()).ok()
}

/// A range of addresses in CIDR form.
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
            None => longest,
        };
        if prefix > longest {
            return None;
        }
        // An IPv4 range written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 range.
        match address.to_canonical() {
            mapped @ IpAddr::V4(_) if address.is_ipv6() && prefix >= 96 => {
                Some(Self { address: mapped, prefix: prefix - 96 })
            }
            _ => Some(Self { address, prefix }),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(operator: &str, values: &[&str]) -> Condition {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition { operator: operator.to_owned(), key: "the:Key".to_owned(), values }
    }

    #[test]
    fn an_operator_compares_as_it_is_named() {
        let cases: &[(&str, &[&str], &str, Option<bool>)] = &[
            ("StringEquals", &["a", "b"], "b", Some(true)),
            ("StringEquals", &["a"], "A", Some(false)),
            ("StringNotEquals", &["a", "b"], "b", Some(false)),
            ("StringNotEquals", &["a", "b"], "c", Some(true)),
            ("StringEqualsIgnoreCase", &["Straße"], "STRAßE", Some(true)),
            ("StringNotEqualsIgnoreCase", &["a"], "A", Some(false)),
            ("StringLike", &["te*"], "team", Some(true)),
            ("StringLike", &["te*"], "Team", Some(false)),
            ("StringNotLike", &["te?m"], "team", Some(false)),
            ("ArnLike", &["arn:aws:iam::*:user/a*"], "arn:aws:iam::111122223333:user/ann", Some(true)),
            ("ArnEquals", &["arn:aws:*:user/ann:x:y"], "arn:aws:iam::111122223333:user/ann", Some(false)),
            ("ArnLike", &["arn:*:::::"], "arn:aws:iam::1:user/ann", Some(false)),
            ("ArnNotLike", &["*"], "anything", Some(false)),
            ("ArnNotEquals", &["arn:aws:iam::1:user/a"], "arn:aws:iam::1:user/b", Some(true)),
            ("Bool", &["true"], "TRUE", Some(true)),
            ("Bool", &["true"], "false", Some(false)),
            ("Bool", &["true"], "yes", None),
            ("Null", &["true"], "there", Some(false)),
            ("Null", &["false"], "there", Some(true)),
            ("NumericEquals", &["10"], "10.0", Some(true)),
            ("NumericNotEquals", &["10"], "10", Some(false)),
            ("NumericLessThan", &["10"], "9", Some(true)),
            ("NumericLessThan", &["10"], "10", Some(false)),
            ("NumericLessThanEquals", &["10"], "10", Some(true)),
            ("NumericGreaterThan", &["10"], "11", Some(true)),
            ("NumericGreaterThanEquals", &["10"], "9", Some(false)),
            ("NumericGreaterThan", &["10"], "NaN", None),
            ("NumericNotEquals", &["10"], "many", None),
            ("DateLessThan", &["2026-01-31"], "2026-01-30T23:59:59Z", Some(true)),
            ("DateGreaterThan", &["2026-01-31T00:00:00Z"], "1769817601", Some(true)),
            ("DateEquals", &["1769817600"], "2026-01-31T01:00:00+01:00", Some(true)),
            ("DateGreaterThanEquals", &["2026-01-31"], "soon", None),
            ("IpAddress", &["10.0.0.0/8"], "10.255.0.1", Some(true)),
            ("IpAddress", &["10.0.0.0/8"], "11.0.0.1", Some(false)),
            ("IpAddress", &["10.0.0.0/8"], "::ffff:10.1.2.3", Some(true)),
            ("IpAddress", &["::ffff:10.0.0.0/104"], "10.1.2.3", Some(true)),
            ("IpAddress", &["192.0.2.7"], "192.0.2.8", Some(false)),
            ("IpAddress", &["0.0.0.0/0"], "2001:db8::1", Some(false)),
            ("IpAddress", &["0.0.0.0/0"], "192.0.2.8", Some(true)),
            ("IpAddress", &["2001:db8::/32"], "2001:db8:1::1", Some(true)),
            ("IpAddress", &["2001:db8::/32"], "2001:db9::1", Some(false)),
            ("NotIpAddress", &["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.1", Some(false)),
            ("NotIpAddress", &["10.0.0.0/8"], "nowhere", None),
            ("StringSounds", &["a"], "a", None),
        ];
        for (operator, values, have, expected) in cases {
            let condition = condition(operator, values);
            // The key is the same in any case.
            assert_eq!(holds(&condition, &[("THE:key", have)]), *expected, "{operator} {values:?} {have}");
        }
    }

    #[test]
    fn an_absent_key_is_not_equal_to_anything() {
        let cases = [
            ("StringEquals", "a", false),
            ("StringNotEquals", "a", true),
            ("StringEqualsIfExists", "a", true),
            ("StringNotEqualsIfExists", "a", true),
            ("NumericLessThan", "1", false),
            ("NumericLessThanIfExists", "1", true),
            ("NotIpAddress", "10.0.0.0/8", true),
            ("Bool", "false", false),
            ("Null", "true", true),
            ("Null", "false", false),
        ];
        for (operator, value, expected) in cases {
            let held = holds(&condition(operator, &[value]), &[("other:Key", value)]);
            assert_eq!(held, Some(expected), "{operator}");
        }
    }

    #[test]
    fn one_of_several_values_of_a_key_is_enough() {
        let context = [("the:Key", "a"), ("the:Key", "b")];
        assert_eq!(holds(&condition("StringEquals", &["b"]), &context), Some(true));
        assert_eq!(holds(&condition("StringNotEquals", &["b"]), &context), Some(false));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let refused = [
            ("StringSounds", "a"),
            ("NullIfExists", "true"),
            ("ForAllValues:StringEquals", "a"),
            ("Bool", "maybe"),
            ("NumericLessThan", "few"),
            ("NumericLike", "1"),
            ("DateEquals", "today"),
            ("IpAddress", "10.0.0.0/33"),
            ("IpAddress", "10.0.0.0/+8"),
            ("IpAddress", "example.test"),
            ("ArnLike", "arn:aws"),
        ];
        for (operator, value) in refused {
            assert!(check(&condition(operator, &[value])).is_err(), "{operator} {value}");
        }
        assert_eq!(check(&condition("DateLessThanIfExists", &["2026-01-31"])), Ok(()));
    }
}
