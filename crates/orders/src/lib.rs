//! Signed orders: types, EIP-712 hashes, validity, matching and why not
