//! An ordered JSON object whose values stay as they were written, for rewriting documents without
//! losing unknown fields or their order. Values are not looked into, so a deep one costs no stack.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use weir_core::error::{Error, Result};

/// A JSON object, borrowed from its text where it was not changed. A repeated key holds its place and
/// takes the last value, as in JavaScript.
#[derive(Debug, Clone, Default)]
pub struct RawObject<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
}

impl<'a> RawObject<'a> {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a document that must be an object; `what` names it in the error.
    pub fn parse(what: &str, text: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(text)
            .map_err(|error| Error::cannot_parse(format!("{what} is not a JSON object: {error}")))
    }

    /// The value of a key. It looks at one member after the other; go through [`Self::iter`] to look
    /// at many.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.position(key).map(|index| &*self.members[index].1)
    }

    /// The value of a key, where it is a string.
    pub fn get_str(&self, key: &str) -> Option<Cow<'_, str>> {
        let text = self.get(key)?.get();
        if let Some(plain) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
            && !plain.contains('\\')
        {
            return Some(Cow::Borrowed(plain));
        }
        serde_json::from_str(text).ok().map(Cow::Owned)
    }

    /// The value of a key, where it is an object.
    pub fn get_object(&self, key: &str) -> Option<RawObject<'_>> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    /// Sets a value in its old place, or at the end.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, RawValue>>) {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Some(index) => self.members[index].1 = value,
            None => self.members.push((key, value)),
        }
    }

    /// Sets what serialises to JSON (text, numbers, maps with text keys; anything else is a fault).
    pub fn set_value(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        let value = to_raw_value(value).map_err(Error::internal)?;
        self.set(key, Cow::Owned(value));
        Ok(())
    }

    /// Takes a member out.
    pub fn remove(&mut self, key: &str) -> Option<Cow<'a, RawValue>> {
        self.position(key).map(|index| self.members.remove(index).1)
    }

    /// Keeps the members of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &RawValue) -> bool) {
        self.members.retain(|(key, value)| keep(key, value));
    }

    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &RawValue)> {
        self.members.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object as JSON text; values as they were written.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text keys and raw values can be written")
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.members.iter().position(|(name, _)| name == key)
    }
}

impl Serialize for RawObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (key, value) in &self.members {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Key<'de>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        let members = deserializer.deserialize_map(Members)?;
        let members = members.into_iter().map(|(key, value)| (key.0, Cow::Borrowed(value)));
        Ok(Self { members: without_repeats(members.collect()) })
    }
}

fn without_repeats<'a>(
    members: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
) -> Vec<(Cow<'a, str>, Cow<'a, RawValue>)> {
    if !may_repeat(&members) {
        return members;
    }
    let mut last: HashMap<&str, usize> = HashMap::with_capacity(members.len());
    let mut first_places = Vec::with_capacity(members.len());
    for (index, (key, _)) in members.iter().enumerate() {
        if last.insert(key, index).is_none() {
            first_places.push(index);
        }
    }
    if first_places.len() == members.len() {
        return members;
    }
    let merged = first_places.into_iter().map(|index| {
        let key = &members[index].0;
        (key.clone(), members[last[&**key]].1.clone())
    });
    merged.collect()
}

/// Whether a few keys have two that look alike, or there are many: most objects are small and have none, and a
/// table would take longer than all the rest.
fn may_repeat(members: &[(Cow<'_, str>, Cow<'_, RawValue>)]) -> bool {
    if members.len() > 64 {
        return true;
    }
    let mut seen = 0u128;
    members.iter().enumerate().any(|(index, (key, _))| {
        let bytes = key.as_bytes();
        let at = |place: usize| bytes.get(place).map_or(0, |byte| usize::from(*byte));
        let mark =
            bytes.len() * 7 + at(0) * 3 + at(bytes.len() / 2) * 5 + at(bytes.len().wrapping_sub(1)) * 11;
        let bit = 1u128 << (mark % 128);
        let was_seen = seen & bit != 0;
        seen |= bit;
        was_seen && members[..index].iter().any(|(earlier, _)| earlier == key)
    })
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RawObject<'_> {
        RawObject::parse("the document", text.as_bytes()).unwrap()
    }

    #[test]
    fn unknown_fields_and_their_order_survive() {
        let text = r#"{"z":1.50,"a":{"y": [1, 2], "b":null},"c\u0061":"é\n"}"#;
        let mut object = parse(text);
        assert_eq!(object.to_json(), r#"{"z":1.50,"a":{"y": [1, 2], "b":null},"ca":"é\n"}"#);
        object.set_value("a", "new").unwrap();
        object.set_value("d", &[1]).unwrap();
        assert_eq!(object.remove("z").unwrap().get(), "1.50");
        assert_eq!(object.to_json(), r#"{"a":"new","ca":"é\n","d":[1]}"#);
    }

    #[test]
    fn values_are_read_by_kind() {
        let object = parse(r#"{"s":"plain","e":"a\"b\\","n":1,"o":{"k":"v"}}"#);
        assert_eq!(object.get_str("s").as_deref(), Some("plain"));
        assert_eq!(object.get_str("e").as_deref(), Some("a\"b\\"));
        assert_eq!(object.get_str("n"), None);
        assert_eq!(object.get_str("x"), None);
        assert_eq!(object.get_object("o").unwrap().get_str("k").as_deref(), Some("v"));
        assert!(object.get_object("s").is_none());
        assert!(object.contains("n") && !object.contains("x"));
    }

    #[test]
    fn the_last_of_repeated_keys_wins_in_the_first_place() {
        let object = parse(r#"{"a":1,"b":2,"\u0061":3,"b":4,"c":5}"#);
        assert_eq!(object.get("a").unwrap().get(), "3");
        assert_eq!(object.to_json(), r#"{"a":3,"b":4,"c":5}"#);
        assert_eq!(object.len(), 3);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "null", "{", "{\"a\":}", "{} x", "{\"a\":1,}"] {
            let error = RawObject::parse("the document", text.as_bytes()).unwrap_err();
            assert!(matches!(&error, Error::Invalid { .. }), "{text}");
            assert!(error.to_string().starts_with("the document is not"), "{error}");
        }
        assert!(RawObject::parse("x", b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_deep_value_costs_no_stack() {
        let depth = 200_000;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(parse(&text).to_json().len(), text.len());
    }
}
