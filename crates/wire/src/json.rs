//! How the protocol's values look in JSON: addresses with their checksum, hashes in lower case, numbers that
//! JavaScript can hold.

use alloy_primitives::{Address, B256, Bytes, U256};
use primitives::Tag;
use serde_json::{Map, Value};

/// The largest whole number that every JSON reader keeps exactly: 2^53 − 1.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A value that is not of the shape asked for. The text names the field and says what it must be, in the words that
/// the official API uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

impl ShapeError {
    fn required(path: &str) -> Self {
        Self(format!("{path} is a required field"))
    }
}

/// The JSON number of `amount`, or an error that names the field when readers could not hold it.
pub fn safe_number(path: &str, amount: U256) -> Result<Value, ShapeError> {
    match u64::try_from(amount) {
        Ok(number) if number <= SAFE_INTEGER_MAX => Ok(Value::from(number)),
        _ => Err(ShapeError(format!("{path} must be less than or equal to {SAFE_INTEGER_MAX}"))),
    }
}

/// A number while JSON readers can hold it exactly, decimal text beyond.
pub fn number_or_text(amount: U256) -> Value {
    safe_number("", amount).unwrap_or_else(|_| Value::from(amount.to_string()))
}

/// The address with its checksum. Most that an order names are zero, and zero has no letters to check.
pub(crate) fn checksummed(address: Address) -> String {
    if address.is_zero() { format!("{address:#x}") } else { address.to_checksum(None) }
}

/// Reads the fields of a JSON object one by one; each error names the field.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    of: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`; `what` names it in the error when it is not an object.
    pub fn of(what: &str, value: &'a Value) -> Result<Self, ShapeError> {
        match value {
            Value::Object(of) => Ok(Self { of }),
            _ => Err(ShapeError(format!("{what} must be an object"))),
        }
    }

    /// The field as it is.
    pub fn value(&self, name: &str) -> Result<&'a Value, ShapeError> {
        match self.of.get(name) {
            None | Some(Value::Null) => Err(ShapeError::required(name)),
            Some(value) => Ok(value),
        }
    }

    /// The field if there is one.
    pub fn optional(&self, name: &str) -> Option<&'a Value> {
        self.of.get(name).filter(|value| !value.is_null())
    }

    /// Text of any content.
    pub fn text(&self, name: &str) -> Result<&'a str, ShapeError> {
        let value = self.value(name)?;
        value.as_str().ok_or_else(|| ShapeError(format!("{name} must be a string")))
    }

    /// An address, in any case, with `0x`.
    pub fn address(&self, name: &str) -> Result<Address, ShapeError> {
        parse_address(name, self.text(name)?)
    }

    /// 32 bytes in hex, with `0x`.
    pub fn bytes32(&self, name: &str) -> Result<B256, ShapeError> {
        parse_bytes32(name, self.text(name)?)
    }

    /// A tag: 32 bytes in hex.
    pub fn tag(&self, name: &str) -> Result<Tag, ShapeError> {
        self.bytes32(name).map(Tag)
    }

    /// Any number of bytes in hex, with `0x`.
    pub fn bytes(&self, name: &str) -> Result<Bytes, ShapeError> {
        let text = self.text(name)?;
        let refused = || ShapeError(format!("{name} must be a hexstring"));
        if !text.starts_with("0x") {
            return Err(refused());
        }
        text.parse().map_err(|_| refused())
    }

    /// A whole number from `least` to 2^53 − 1, as a JSON number or as decimal text.
    pub fn number(&self, name: &str, least: u64) -> Result<u64, ShapeError> {
        let number = match self.value(name)? {
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => whole,
                (None, Some(negative)) if negative < 0.0 => {
                    return Err(below(name, least));
                }
                // A whole number written as 1.0 or 1e3 is the same number to the official API.
                (None, Some(float)) => whole_number(name, float)?,
                (None, None) => return Err(not_an_integer(name)),
            },
            Value::String(text) => return parse_whole(name, text, least),
            other => return Err(not_a_number(name, &other.to_string(), "")),
        };
        bounded(name, number, least)
    }

    /// [`Self::number`] as a word.
    pub fn amount(&self, name: &str, least: u64) -> Result<U256, ShapeError> {
        self.number(name, least).map(U256::from)
    }

    /// A whole number of any size up to 256 bits, as a JSON number or as decimal text.
    pub fn wide_amount(&self, name: &str) -> Result<U256, ShapeError> {
        match self.value(name)? {
            Value::Number(number) => number.as_u64().map(U256::from),
            Value::String(text) if is_decimal(text) => U256::from_str_radix(text, 10).ok(),
            _ => None,
        }
        .ok_or_else(|| not_an_integer(name))
    }
}

/// An address in any case, with `0x`; `name` is what the error calls it.
pub fn parse_address(name: &str, text: &str) -> Result<Address, ShapeError> {
    let refused = || ShapeError(format!("{name} is not a valid ethereum address"));
    if text.len() != 42 || !text.starts_with("0x") {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

/// 32 bytes in hex with `0x`; `name` is what the error calls it.
pub fn parse_bytes32(name: &str, text: &str) -> Result<B256, ShapeError> {
    let refused = || ShapeError(format!("{name} must be a bytes32 hexstring"));
    if text.len() != 66 || !text.starts_with("0x") {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

/// A whole number in decimal digits; `name` is what the error calls it.
pub fn parse_number(name: &str, text: &str) -> Result<u64, ShapeError> {
    if !is_decimal(text) {
        return Err(not_an_integer(name));
    }
    text.parse().map_err(|_| above(name))
}

/// A whole number from `least` to 2^53 − 1, written as JavaScript reads numbers; `name` is what the error calls it.
pub fn parse_whole(name: &str, text: &str, least: u64) -> Result<u64, ShapeError> {
    let plain = text.trim();
    let numeric =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if is_decimal(plain) && plain.len() < 20 {
        return plain
            .parse()
            .map_err(|_| above(name))
            .and_then(|whole| bounded(name, whole, least));
    }
    match plain.parse::<f64>() {
        Ok(negative) if plain.bytes().all(numeric) && negative < 0.0 => {
            if negative.fract() == 0.0 {
                Err(below(name, least))
            } else {
                Err(not_an_integer(name))
            }
        }
        Ok(float) if plain.bytes().all(numeric) => bounded(name, whole_number(name, float)?, least),
        _ => {
            let shown: String = text.chars().take(80).collect();
            Err(not_a_number(name, "NaN", &format!(" (cast from the value `\"{shown}\"`)")))
        }
    }
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.len() <= 78 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bounded(name: &str, number: u64, least: u64) -> Result<u64, ShapeError> {
    if number > SAFE_INTEGER_MAX {
        return Err(above(name));
    }
    if number < least {
        return Err(below(name, least));
    }
    Ok(number)
}

fn whole_number(name: &str, float: f64) -> Result<u64, ShapeError> {
    if float.fract() != 0.0 {
        return Err(not_an_integer(name));
    }
    // Printing is exact for whole floats and leaves no cast to get wrong.
    match format!("{float:.0}").parse() {
        Ok(number) if number <= SAFE_INTEGER_MAX => Ok(number),
        _ => Err(above(name)),
    }
}

fn not_an_integer(name: &str) -> ShapeError {
    ShapeError(format!("{name} must be an integer"))
}

fn not_a_number(name: &str, is: &str, cast: &str) -> ShapeError {
    let shown: String = is.chars().take(80).collect();
    ShapeError(format!("{name} must be a `number` type, but the final value was: `{shown}`{cast}."))
}

fn above(name: &str) -> ShapeError {
    ShapeError(format!("{name} must be less than or equal to {SAFE_INTEGER_MAX}"))
}

fn below(name: &str, least: u64) -> ShapeError {
    ShapeError(format!("{name} must be greater than or equal to {least}"))
}

/// For `#[serde(with = "json::text")]`: a value as the text it prints and parses.
pub mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the value as it prints.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads the value as it parses.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }

    /// The same for a list.
    pub mod list {
        use super::{Deserialize, Deserializer, Display, FromStr, Serializer, de};

        /// Writes each value as it prints.
        pub fn serialize<T: Display, S: Serializer>(
            values: &[T],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(values.iter().map(ToString::to_string))
        }

        /// Reads each value as it parses.
        pub fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
        where
            T: FromStr<Err: Display>,
            D: Deserializer<'de>,
        {
            let texts = Vec::<String>::deserialize(from)?;
            texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
        }
    }

    /// The same for a value that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, Display, FromStr, Serializer, de};

        /// Writes the value as it prints, or null.
        pub fn serialize<T: Display, S: Serializer>(
            value: &Option<T>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => to.collect_str(value),
                None => to.serialize_none(),
            }
        }

        /// Reads the value as it parses; null is none.
        pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
        where
            T: FromStr<Err: Display>,
            D: Deserializer<'de>,
        {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
        }
    }
}

/// For `#[serde(with = "json::hex")]`: bytes as `0x…`.
pub mod hex {
    use alloy_primitives::{Bytes, hex};
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the bytes as `0x…`.
    pub fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode_prefixed(bytes))
    }

    /// Reads `0x…`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
