//! How the values of the protocol are kept in columns.

use alloy_primitives::{Address, B256, Bytes, U256};
use primitives::Tag;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::{Error, Result};

/// Digits of the largest 256-bit number.
const AMOUNT_DIGITS: usize = 78;

/// What stands before a limit that is bound. With the plus the database takes the limit for an expression; of a bare value it
/// would make the plan, and plan the statement anew each time the value is bound.
pub(crate) const LIMIT: &str = " LIMIT +";

/// A number for a BIGINT column.
pub(crate) fn number(what: &'static str, number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::TooLarge { what })
}

/// An amount of any size for a TEXT column: padded, so that texts sort as the amounts do.
pub(crate) fn amount(amount: U256) -> String {
    format!("{:0>AMOUNT_DIGITS$}", amount.to_string())
}

/// An address for a BLOB column.
pub(crate) fn address(address: Address) -> Vec<u8> {
    address.to_vec()
}

/// 32 bytes for a BLOB column.
pub(crate) fn word(word: B256) -> Vec<u8> {
    word.to_vec()
}

/// A tag as four columns of 64 bits, the lowest first. The sign bit is a bit like the others.
pub(crate) fn tag(tag: Tag) -> [i64; 4] {
    let mut columns = [0; 4];
    for (column, bytes) in columns.iter_mut().zip(tag.0.as_chunks::<8>().0.iter().rev()) {
        *column = i64::from_be_bytes(*bytes);
    }
    columns
}

/// Reads the columns of a row by name.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a>(pub(crate) &'a SqliteRow);

impl Columns<'_> {
    pub(crate) fn text(self, name: &'static str) -> Result<String> {
        self.0.try_get(name).map_err(|_| garbled(name))
    }

    pub(crate) fn number(self, name: &'static str) -> Result<u64> {
        let number: i64 = self.0.try_get(name).map_err(|_| garbled(name))?;
        u64::try_from(number).map_err(|_| garbled(name))
    }

    pub(crate) fn amount(self, name: &'static str) -> Result<U256> {
        U256::from_str_radix(&self.text(name)?, 10).map_err(|_| garbled(name))
    }

    pub(crate) fn bytes(self, name: &'static str) -> Result<Bytes> {
        let bytes: Vec<u8> = self.0.try_get(name).map_err(|_| garbled(name))?;
        Ok(bytes.into())
    }

    pub(crate) fn address(self, name: &'static str) -> Result<Address> {
        let bytes: &[u8] = self.0.try_get(name).map_err(|_| garbled(name))?;
        Address::try_from(bytes).map_err(|_| garbled(name))
    }

    pub(crate) fn word(self, name: &'static str) -> Result<B256> {
        let bytes: &[u8] = self.0.try_get(name).map_err(|_| garbled(name))?;
        B256::try_from(bytes).map_err(|_| garbled(name))
    }

    pub(crate) fn tag(self, names: [&'static str; 4]) -> Result<Tag> {
        let mut word = B256::ZERO;
        for (bytes, name) in word.as_chunks_mut::<8>().0.iter_mut().rev().zip(names) {
            let column: i64 = self.0.try_get(name).map_err(|_| garbled(name))?;
            *bytes = column.to_be_bytes();
        }
        Ok(Tag(word))
    }
}

fn garbled(what: &'static str) -> Error {
    Error::Garbled { what }
}
