//! What is in a block, as it is encoded there.

use alloy_primitives::{Address, B256, Bloom, Bytes, Log, keccak256};
use alloy_rlp::{BufMut, Decodable, Encodable, Header as RlpHeader};

use crate::Refused;

/// What a header says that we need; chains differ in the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) hash: B256,
    pub(crate) parent: B256,
    pub(crate) state_root: B256,
    pub(crate) transactions_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
}

/// The number in an encoded header, if it is one.
pub fn header_number(encoded: &[u8]) -> Option<u64> {
    Head::read(encoded).ok().map(|head| head.number)
}

impl Head {
    /// Reads an encoded header: by place, since later fields come and go with a chain's rules.
    pub(crate) fn read(encoded: &[u8]) -> Result<Self, Refused> {
        let refuse = |_| Refused::Header("it is not RLP");
        let mut rest = encoded;
        let mut fields = RlpHeader::decode_bytes(&mut rest, true).map_err(refuse)?;
        if !rest.is_empty() {
            return Err(Refused::Header("it goes on after its end"));
        }
        let mut list: Vec<&[u8]> = Vec::with_capacity(24);
        while !fields.is_empty() {
            list.push(RlpHeader::decode_bytes(&mut fields, false).map_err(refuse)?);
        }
        let word = |place: usize| {
            let field = list.get(place).and_then(|field| B256::try_from(*field).ok());
            field.ok_or(Refused::Header("a hash is missing"))
        };
        let number = |place: usize| {
            let field = list.get(place).filter(|field| field.len() <= 8);
            field
                .map(|field| field.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte)))
                .ok_or(Refused::Header("a number is missing"))
        };
        Ok(Self {
            hash: keccak256(encoded),
            parent: word(0)?,
            state_root: word(3)?,
            transactions_root: word(4)?,
            receipts_root: word(5)?,
            number: number(8)?,
            timestamp: number(11)?,
        })
    }
}

/// What a transaction came to, as the first field of its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whether it took effect.
    Status(bool),
    /// The state after it, on chains of before 2017.
    Root(B256),
}

/// A transaction's receipt as it is in a block, whatever its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transaction's type; 0 for none.
    pub kind: u8,
    /// What it came to.
    pub outcome: Outcome,
    /// Gas used in the block up to and including it.
    pub cumulative_gas: u64,
    /// What it logged, summed up.
    pub bloom: Bloom,
    /// What it logged.
    pub logs: Vec<Log>,
}

impl Entry {
    /// As it is in the trie of receipts.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        match &self.outcome {
            Outcome::Status(done) => done.encode(&mut fields),
            Outcome::Root(root) => root.encode(&mut fields),
        }
        self.cumulative_gas.encode(&mut fields);
        self.bloom.encode(&mut fields);
        self.logs.encode(&mut fields);
        let mut out = Vec::with_capacity(fields.len() + 5);
        if self.kind != 0 {
            out.put_u8(self.kind);
        }
        RlpHeader { list: true, payload_length: fields.len() }.encode(&mut out);
        out.extend_from_slice(&fields);
        out
    }

    /// The receipt in those bytes; nothing if there is anything else in them.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, mut rest) = match bytes.split_first()? {
            (first, rest) if *first < 0x80 => (*first, rest),
            _ => (0, bytes),
        };
        let mut fields = RlpHeader::decode_bytes(&mut rest, true).ok()?;
        let outcome = match fields.first()? {
            0xa0 => Outcome::Root(B256::decode(&mut fields).ok()?),
            _ => Outcome::Status(bool::decode(&mut fields).ok()?),
        };
        let read = Self {
            kind,
            outcome,
            cumulative_gas: u64::decode(&mut fields).ok()?,
            bloom: Bloom::decode(&mut fields).ok()?,
            logs: Vec::<Log>::decode(&mut fields).ok()?,
        };
        (rest.is_empty() && fields.is_empty()).then_some(read)
    }
}

/// What a transaction hands to the contract that it calls. Knows the types that may call contracts: 0 to 4 but blobs' 3,
/// which is like 2.
pub(crate) fn call_data(transaction: &[u8]) -> Option<(Option<Address>, Bytes)> {
    let (kind, mut rest) = match transaction.split_first()? {
        (first, rest) if *first < 0x80 => (*first, rest),
        _ => (0, transaction),
    };
    let mut fields = RlpHeader::decode_bytes(&mut rest, true).ok()?;
    // What comes before the recipient: nonce, price(s), gas; and the chain's id in all but the first.
    let before = match kind {
        0 => 3,
        1 => 4,
        2..=4 => 5,
        _ => return None,
    };
    for _ in 0..before {
        RlpHeader::decode_bytes(&mut fields, false).ok()?;
    }
    let recipient = RlpHeader::decode_bytes(&mut fields, false).ok()?;
    RlpHeader::decode_bytes(&mut fields, false).ok()?;
    let data = RlpHeader::decode_bytes(&mut fields, false).ok()?;
    Some((Address::try_from(recipient).ok(), Bytes::copy_from_slice(data)))
}
