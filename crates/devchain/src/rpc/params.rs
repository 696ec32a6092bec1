//! Reading a request's parameters.

use alloy_primitives::U256;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RequestError;

/// The parameters of one request, by position.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<Value>);

impl Params {
    pub(crate) fn new(value: Option<Value>) -> Result<Self, RequestError> {
        match value {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Array(values)) => Ok(Self(values)),
            Some(_) => Err(RequestError::params("invalid params: expected an array")),
        }
    }

    /// The one at `index`, which must be there.
    pub(crate) fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, RequestError> {
        match self.0.get(index) {
            Some(value) => parse(index, value),
            None => {
                Err(RequestError::params(format!("missing value for required argument {index}")))
            }
        }
    }

    /// The one at `index`, if it is there and not null.
    pub(crate) fn opt<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, RequestError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => parse(index, value).map(Some),
        }
    }

    /// A number as people write them: a JSON number, hex, or decimal in a string.
    pub(crate) fn number(&self, index: usize) -> Result<u64, RequestError> {
        let number = self.opt_number(index)?;
        number.ok_or_else(|| {
            RequestError::params(format!("missing value for required argument {index}"))
        })
    }

    /// The same, if it is there.
    pub(crate) fn opt_number(&self, index: usize) -> Result<Option<u64>, RequestError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => number_in(value).map(Some).ok_or_else(|| bad(index, "not a number")),
        }
    }

    /// The raw value at `index`.
    pub(crate) fn value(&self, index: usize) -> Option<&Value> {
        self.0.get(index)
    }
}

fn number_in(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse::<U256>().ok()?.try_into().ok(),
        _ => None,
    }
}

fn parse<T: DeserializeOwned>(index: usize, value: &Value) -> Result<T, RequestError> {
    T::deserialize(value).map_err(|error| bad(index, &error.to_string()))
}

fn bad(index: usize, why: &str) -> RequestError {
    RequestError::params(format!("invalid argument {index}: {why}"))
}
