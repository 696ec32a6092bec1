//! Development accounts: keys that everybody knows.

use alloy_primitives::Address;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};

use crate::Error;

/// The mnemonic of every Ethereum development tool. Its keys are public: never send anything of value to them.
pub const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// An account of the chain that it signs for.
#[derive(Clone, Debug)]
pub struct DevAccount {
    /// Its address.
    pub address: Address,
    /// Its key.
    pub signer: PrivateKeySigner,
}

/// The first `count` accounts of `mnemonic` at m/44'/60'/0'/0/i.
///
/// The seed is stretched once for all of them: that is what takes time.
pub(crate) fn derive(mnemonic: &str, count: u32) -> Result<Vec<DevAccount>, Error> {
    let bad = |error: alloy_signer_local::LocalSignerError| Error::Mnemonic(error.to_string());
    let parent =
        MnemonicBuilder::<English>::default().phrase(mnemonic).build_parent_key().map_err(bad)?;
    (0..count)
        .map(|index| {
            let signer = parent.child(index).map_err(bad)?.signer();
            Ok(DevAccount { address: signer.address(), signer })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::address;

    #[test]
    fn the_well_known_accounts_come_out() {
        let accounts = derive(TEST_MNEMONIC, 3).unwrap();
        let addresses: Vec<_> = accounts.iter().map(|it| it.address).collect();
        assert_eq!(
            addresses,
            [
                address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
                address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
                address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
            ]
        );
    }

    #[test]
    fn a_wrong_mnemonic_is_refused() {
        assert!(derive("one two three", 1).unwrap_err().to_string().starts_with("GM-1105"));
    }
}
