//! The keys of an embedded market: development accounts that everybody knows, and service keys that nobody does.
//!
//! Development accounts come from the mnemonic that every Ethereum tool uses for tests, so that wallets and scripts find
//! them without being told. The market's own schedulers and workers use keys made for its data directory.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use alloy_primitives::{Address, B256, keccak256};
use alloy_signer_local::coins_bip39::English;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};

use crate::failure::{Exit, Failure, OrFail};

/// The mnemonic of Ethereum's test tools. Never send anything of value to its accounts.
pub use devchain::TEST_MNEMONIC;

/// How many development accounts a market has.
pub const ACCOUNTS: u32 = 16;

/// What a development account stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Buys runs; holds RLC.
    Requester,
    /// Owns the apps that `run` registers, and earns when they are used.
    AppOwner,
    /// For those who try datasets.
    DatasetOwner,
    /// Free for whoever tries things.
    User,
    /// Owns the contracts.
    Admin,
    /// Holds what the crowdsale sold: 69 % of all RLC, less what the requester has of it.
    Crowdsale,
    /// Holds the ecosystem's share, from which the market's providers get their stake.
    Ecosystem,
    /// Holds the reserve for rewards.
    RewardsReserve,
    /// Holds the team's share.
    Team,
}

impl Role {
    /// The account's place in the mnemonic's derivation.
    pub fn index(self) -> u32 {
        match self {
            Self::Requester => 0,
            Self::AppOwner => 1,
            Self::DatasetOwner => 2,
            Self::User => 3,
            Self::Admin => 10,
            Self::Crowdsale => 11,
            Self::Ecosystem => 12,
            Self::RewardsReserve => 13,
            Self::Team => 14,
        }
    }

    /// What the account at that place stands for.
    pub fn of(index: u32) -> Self {
        match index {
            0 => Self::Requester,
            1 => Self::AppOwner,
            2 => Self::DatasetOwner,
            10 => Self::Admin,
            11 => Self::Crowdsale,
            12 => Self::Ecosystem,
            13 => Self::RewardsReserve,
            14 => Self::Team,
            _ => Self::User,
        }
    }

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::AppOwner => "app-owner",
            Self::DatasetOwner => "dataset-owner",
            Self::User => "user",
            Self::Admin => "admin",
            Self::Crowdsale => "crowdsale",
            Self::Ecosystem => "ecosystem",
            Self::RewardsReserve => "rewards-reserve",
            Self::Team => "team",
        }
    }
}

/// The signer of a development account.
pub fn development(index: u32) -> PrivateKeySigner {
    MnemonicBuilder::<English>::default()
        .phrase(TEST_MNEMONIC)
        .index(index)
        .and_then(|builder| builder.build())
        .unwrap_or_else(|error| unreachable!("the test mnemonic derives: {error}"))
}

/// The secret from which a market's own keys are made; lives as `service.key` in its data directory.
///
/// It is neither printed nor serialised; the file is readable by its owner alone.
pub struct ServiceKeys(B256);

impl ServiceKeys {
    /// New ones, kept nowhere.
    pub fn random() -> Self {
        Self(B256::random())
    }

    /// Those of a data directory, made at the first time.
    ///
    /// # Errors
    /// If the file can be neither read nor made, or does not hold a key.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let path = dir.join("service.key");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Self).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} does not hold 32 bytes of hex", path.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let keys = Self::random();
                let mut file = owner_only(&path)?;
                writeln!(file, "{}", keys.0)?;
                file.sync_all()?;
                Ok(keys)
            }
            Err(error) => Err(error),
        }
    }

    /// The key of a workerpool's owner.
    pub fn pool_owner(&self, pool: usize) -> PrivateKeySigner {
        self.derive(&format!("pool/{pool}/owner"))
    }

    /// The key of one worker of a workerpool.
    pub fn worker(&self, pool: usize, worker: usize) -> PrivateKeySigner {
        self.derive(&format!("pool/{pool}/worker/{worker}"))
    }

    fn derive(&self, label: &str) -> PrivateKeySigner {
        let mut round = keccak256([self.0.as_slice(), label.as_bytes()].concat());
        loop {
            // A hash is a valid key but for one in 2^127 or so; then the next one is taken.
            match PrivateKeySigner::from_bytes(&round) {
                Ok(signer) => return signer,
                Err(_) => round = keccak256(round),
            }
        }
    }
}

/// The signer whose private key a file holds, as 64 hexadecimal digits.
///
/// # Errors
/// GM-5004 there is no key in it.
pub fn read_key(path: &Path) -> Result<PrivateKeySigner, Failure> {
    let what = format!("no private key can be read from {}", path.display());
    let fix = "name a file with a private key, as 64 hexadecimal digits";
    let text = std::fs::read_to_string(path);
    let text = text.or_fail("GM-5004", Exit::Usage, &what).map_err(|failure| failure.fix(fix))?;
    text.trim().parse().map_err(|_| {
        // The content is a secret, or close to one: it is not repeated.
        Failure::new("GM-5004", Exit::Usage, what)
            .because("what is in it is no private key")
            .fix(fix)
    })
}

/// The addresses of all development accounts, in order.
pub fn development_addresses() -> Vec<Address> {
    (0..ACCOUNTS).map(|index| development(index).address()).collect()
}

fn owner_only(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_account_is_the_one_every_tool_knows() {
        let known = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        assert_eq!(development(0).address().to_string(), known);
    }

    #[test]
    fn roles_and_places_agree() {
        for index in 0..ACCOUNTS {
            let role = Role::of(index);
            assert!(role == Role::User || role.index() == index, "{index}");
        }
    }

    #[test]
    fn service_keys_stay_with_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = ServiceKeys::of(dir.path()).unwrap();
        let again = ServiceKeys::of(dir.path()).unwrap();
        assert_eq!(first.worker(1, 2).address(), again.worker(1, 2).address());
        assert_ne!(first.worker(1, 2).address(), first.worker(2, 1).address());
        assert_ne!(ServiceKeys::random().pool_owner(0).address(), first.pool_owner(0).address());
    }
}
