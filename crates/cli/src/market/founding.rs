//! Putting a market's contracts, workerpools and stakes on its chain, once; and what is remembered of it.
//!
//! Founding is not atomic and need not be: what is remembered is written last, so a market whose founding was interrupted
//! is founded anew, with other contracts, the next time.

use std::path::Path;

use alloy_primitives::{Address, U256};
use chain::deploy::{DeployConfig, deploy};
use chain::{Client, Contracts, Wallet, calls};
use devchain::Handle;
use futures::future::try_join_all;
use primitives::Nrlc;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::accounts::{self, Role};
use crate::failure::{Exit, Failure, OrFail};

/// Shares of all RLC, in thousandths, after the public tokenomics.
const SHARES: [(Role, u64); 4] =
    [(Role::Crowdsale, 690), (Role::Team, 172), (Role::Ecosystem, 69), (Role::RewardsReserve, 69)];
/// The requester's RLC, from the crowdsale's share.
const REQUESTER_RLC: u64 = 1_000_000;
/// Ether that a service's account is given when it has less than half of it, in wei: a thousand.
const SERVICE_WEI: u128 = 1_000 * 1_000_000_000_000_000_000;

/// What must be remembered to open a market again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Founded {
    /// The contracts.
    pub(super) contracts: Contracts,
    /// The workerpools, in the order of their keys.
    pub(super) workerpools: Vec<Address>,
}

impl Founded {
    /// What the directory remembers, if a market was founded in it.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, Failure> {
        let path = dir.join("market.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::new(
                    "GM-6003",
                    Exit::Market,
                    format!("cannot read {}", path.display()),
                )
                .because(error));
            }
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::new("GM-6001", Exit::Market, format!("{} makes no sense", path.display()))
                .because(error)
                .fix("start over with --fresh")
        })
    }

    /// Remembers. The file is there whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Failure> {
        let path = dir.join("market.json");
        let half = dir.join("market.json.new");
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, &path)).or_fail(
            "GM-6003",
            Exit::Market,
            &format!("cannot write {}", path.display()),
        )
    }
}

/// Deploys the contracts and gives the requester its RLC.
pub(super) async fn contracts(rpc: &Url) -> Result<Contracts, Failure> {
    let owner = accounts::development(Role::Admin.index());
    let contracts = deploy(rpc, owner, DeployConfig::new(allocation()))
        .await
        .map_err(|error| not_founded(&error))?;
    let client = Client::connect(rpc, contracts.hub).await.map_err(|error| not_founded(&error))?;
    let crowdsale = wallet(&client, Role::Crowdsale).await?;
    let requester = accounts::development(Role::Requester.index()).address();
    let grant = calls::transfer_rlc(&contracts, requester, Nrlc::from_rlc(REQUESTER_RLC));
    crowdsale.execute(grant).await.map_err(|error| not_founded(&error))?;
    Ok(contracts)
}

/// Gives accounts ether for gas. On this chain it costs nothing, and services must never stop for want of it.
pub(super) async fn ether(chain: &Handle, accounts: &[Address]) -> Result<(), Failure> {
    for account in accounts {
        let failed = |error: devchain::RequestError| {
            Failure::new("GM-5012", Exit::Market, format!("cannot give {account} ether"))
                .because(error)
        };
        let balance =
            chain.request("eth_getBalance", json!([account, "latest"])).await.map_err(failed)?;
        let balance: U256 = balance.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        if balance < U256::from(SERVICE_WEI / 2) {
            let amount = U256::from(SERVICE_WEI);
            chain.request("hardhat_setBalance", json!([account, amount])).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Sees that each account has that much stake in the hub, from the ecosystem's share.
pub(super) async fn stakes(client: &Client, wanted: &[(Address, Nrlc)]) -> Result<(), Failure> {
    let accounts = try_join_all(wanted.iter().map(|(account, _)| client.account(*account)))
        .await
        .map_err(|error| not_founded(&error))?;
    let missing: Vec<(Address, Nrlc)> = wanted
        .iter()
        .zip(accounts)
        .map(|((account, stake), has)| (*account, stake.saturating_sub(has.stake)))
        .filter(|(_, missing)| !missing.is_zero())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let ecosystem = wallet(client, Role::Ecosystem).await?;
    let total = missing.iter().map(|(_, amount)| *amount).sum();
    let mut sent = vec![
        ecosystem
            .send(calls::approve(&client.contracts(), total))
            .await
            .map_err(|error| not_founded(&error))?,
    ];
    for (account, amount) in missing {
        let deposit = calls::deposit_for(client.hub(), amount, account);
        sent.push(ecosystem.send(deposit).await.map_err(|error| not_founded(&error))?);
    }
    for pending in sent {
        pending.mined().await.map_err(|error| not_founded(&error))?;
    }
    Ok(())
}

/// Registers a workerpool of that wallet's and gives its address.
pub(super) async fn workerpool(owner: &Wallet, description: &str) -> Result<Address, Failure> {
    let client = owner.client();
    let pool = calls::NewWorkerpool { owner: owner.address(), description: description.to_owned() };
    let address = pool.address(client).await.map_err(|error| not_founded(&error))?;
    owner
        .execute(calls::create_workerpool(&client.contracts(), pool))
        .await
        .map_err(|error| not_founded(&error))?;
    Ok(address)
}

async fn wallet(client: &Client, role: Role) -> Result<Wallet, Failure> {
    Wallet::new(client, accounts::development(role.index()))
        .await
        .map_err(|error| not_founded(&error))
}

fn allocation() -> Vec<(Address, Nrlc)> {
    let supply = bindings::rlc::SUPPLY;
    SHARES
        .iter()
        .map(|(role, thousandths)| {
            let holder = accounts::development(role.index()).address();
            (holder, Nrlc(supply / U256::from(1000) * U256::from(*thousandths)))
        })
        .collect()
}

/// A failure of the chain while the market is being put on it.
pub(super) fn not_founded(error: &chain::Error) -> Failure {
    Failure::new("GM-5012", Exit::Market, "the market could not be put on its chain")
        .because(crate::failure::chain_of(error))
        .fix("start over with --fresh; if that fails too, it is a fault of ours: -vv tells more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_there_is() {
        let total: Nrlc = allocation().into_iter().map(|(_, amount)| amount).sum();
        assert_eq!(total.0, bindings::rlc::SUPPLY);
        let crowdsale = allocation()[0].1;
        assert_eq!(crowdsale, Nrlc::from_rlc(60_030_000));
    }

    #[test]
    fn what_is_remembered_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Founded::read(dir.path()).unwrap(), None);
        let contracts = Contracts {
            hub: Address::repeat_byte(1),
            rlc: Address::repeat_byte(2),
            app_registry: Address::repeat_byte(3),
            dataset_registry: Address::repeat_byte(4),
            workerpool_registry: Address::repeat_byte(5),
        };
        let founded = Founded { contracts, workerpools: vec![Address::repeat_byte(6)] };
        founded.write(dir.path()).unwrap();
        assert_eq!(Founded::read(dir.path()).unwrap(), Some(founded));
        std::fs::write(dir.path().join("market.json"), "{").unwrap();
        assert_eq!(Founded::read(dir.path()).unwrap_err().code, "GM-6001");
    }
}
