//! Objects of JSON. serde fills a struct from an array too, in the order of its fields: whoever sends `["x", 9]` for `{"val", "ver"}` would
//! be taken at a word that it did not say.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;

/// A `T` that is read from an object, and from nothing else. What it holds is up to `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

/// A member that need not be there, but is not `null` if it is: that is a mistake, and not the same as nothing.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        name: String,
        #[serde(default, deserialize_with = "present")]
        number: Option<u128>,
    }

    #[test]
    fn only_an_object_with_the_right_members_is_taken() {
        let read = |text: &str| serde_json::from_str(text).map(|Object(pair): Object<Pair>| pair);
        let pair = |number| Pair { name: "a".into(), number };
        assert_eq!(read(r#"{"name": "a"}"#).unwrap(), pair(None));
        assert_eq!(read(&format!(r#"{{"number": {}, "name": "a"}}"#, u128::MAX)).unwrap(), pair(Some(u128::MAX)));
        for (text, words) in [
            (r#"["a", 1]"#, "sequence, expected an object"),
            (r#""a""#, "expected an object"),
            ("null", "expected an object"),
            ("{}", "missing field `name`"),
            (r#"{"name": "a", "number": null}"#, "number"),
            (r#"{"name": "a", "other": 1}"#, "unknown field `other`"),
            (r#"{"name": "a", "name": "b"}"#, "duplicate field `name`"),
            (r#"{"name": "a"} x"#, "trailing"),
        ] {
            let why = read(text).expect_err(text).to_string();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
