//! What a provider does on the chain before its services run: `gristmill account …` and `gristmill workerpool …`.
//!
//! Each verb here sends at most two transactions and says what they changed. Not here: the services themselves (`apart`), and
//! what a requester does (`run`).

use std::io::Write as _;

use alloy_primitives::Address;
use chain::{AssetKind, Client, Wallet, calls};
use primitives::Nrlc;
use serde_json::{Value, json};
use url::Url;

use crate::accounts::read_key;
use crate::apart::silent_chain;
use crate::args::{AccountCommand, ChainAccess, WorkerpoolCommand};
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// `gristmill account`.
///
/// # Errors
/// GM-5004 no usable key, GM-5014 the chain does not answer, GM-5015 and GM-5016 settings, GM-3103 the transaction failed.
pub async fn account(command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Show { address, access } => {
            let client = connect(&access).await?;
            let address = match address {
                Some(address) => address,
                None => signer(&access)?.address(),
            };
            tell(&access, &standing(&client, address).await?)
        }
        AccountCommand::Deposit { amount, to, access } => {
            let (client, wallet) = unlocked(&access).await?;
            let target = to.unwrap_or_else(|| wallet.address());
            let purse = client.rlc_balance(wallet.address()).await;
            covered(
                "the deposit",
                amount,
                purse.map_err(|error| silent_chain(&error))?,
                "RLC outside of the hub",
            )?;
            if target == wallet.address() {
                execute(&wallet, calls::stake(&client.contracts(), amount), "the deposit").await?;
            } else {
                let what = "the permission for the deposit";
                execute(&wallet, calls::approve(&client.contracts(), amount), what).await?;
                let deposit = calls::deposit_for(client.hub(), amount, target);
                execute(&wallet, deposit, "the deposit").await?;
            }
            tell(&access, &standing(&client, target).await?)
        }
        AccountCommand::Withdraw { amount, access } => {
            let (client, wallet) = unlocked(&access).await?;
            let account = client.account(wallet.address()).await;
            let free = account.map_err(|error| silent_chain(&error))?.stake;
            covered("the withdrawal", amount, free, "stake that is not locked")?;
            execute(&wallet, calls::withdraw(client.hub(), amount), "the withdrawal").await?;
            tell(&access, &standing(&client, wallet.address()).await?)
        }
    }
}

/// `gristmill workerpool`.
///
/// # Errors
/// As [`account`].
pub async fn workerpool(command: WorkerpoolCommand) -> Result<(), Failure> {
    let WorkerpoolCommand::Create { description, access } = command;
    let (client, wallet) = unlocked(&access).await?;
    let pool = calls::NewWorkerpool { owner: wallet.address(), description: description.clone() };
    let address = pool.address(&client).await.map_err(|error| silent_chain(&error))?;
    // The address follows from owner and description, so that doing it twice makes one workerpool.
    let known = client.is_registered(AssetKind::Workerpool, address).await;
    if !known.map_err(|error| silent_chain(&error))? {
        let created = calls::create_workerpool(&client.contracts(), pool);
        execute(&wallet, created, "the registration of the workerpool").await?;
    }
    let told = json!({
        "workerpool": address.to_string(),
        "owner": wallet.address().to_string(),
        "description": description,
    });
    tell(&access, &told)
}

async fn standing(client: &Client, address: Address) -> Result<Value, Failure> {
    let account = client.account(address).await.map_err(|error| silent_chain(&error))?;
    let rlc = client.rlc_balance(address).await.map_err(|error| silent_chain(&error))?;
    let ether = client.ether(address).await.map_err(|error| silent_chain(&error))?;
    Ok(json!({
        "address": address.to_string(),
        "stake": amount(account.stake),
        "locked": amount(account.locked),
        "rlc": amount(rlc),
        "wei": ether.to_string(),
    }))
}

fn amount(nrlc: Nrlc) -> String {
    nrlc.to_string()
}

async fn connect(access: &ChainAccess) -> Result<Client, Failure> {
    let settings = Settings::load(access.service.config.as_deref(), &access.service.set)?;
    let rpc: Url = settings.need("market.rpc")?;
    let hub: Address = settings.need("market.hub")?;
    Client::connect(&rpc, hub).await.map_err(|error| silent_chain(&error))
}

fn signer(access: &ChainAccess) -> Result<alloy_signer_local::PrivateKeySigner, Failure> {
    match &access.key_file {
        Some(file) => read_key(file),
        None => Err(Failure::new("GM-5004", Exit::Usage, "there is no key to do this with")
            .fix("--key-file FILE, or $GRISTMILL_KEY_FILE: a file with 64 hexadecimal digits")),
    }
}

async fn unlocked(access: &ChainAccess) -> Result<(Client, Wallet), Failure> {
    let signer = signer(access)?;
    let client = connect(access).await?;
    let wallet = Wallet::new(&client, signer).await.map_err(|error| silent_chain(&error))?;
    Ok((client, wallet))
}

async fn execute(wallet: &Wallet, call: chain::TxRequest, what: &str) -> Result<(), Failure> {
    wallet.execute(call).await.map(drop).map_err(|error| {
        Failure::new("GM-3103", Exit::Refused, format!("{what} did not go through"))
            .because(crate::failure::chain_of(&error))
            .fix("gristmill account show tells what the account has")
    })
}

/// Contracts refuse what is not there without a word.
fn covered(what: &str, amount: Nrlc, available: Nrlc, kind: &str) -> Result<(), Failure> {
    if amount <= available {
        return Ok(());
    }
    Err(Failure::new("GM-3103", Exit::Refused, format!("{what} did not go through"))
        .because(format!("it is {amount}, and of {kind} there are {available}"))
        .fix(format!("at most {available}; gristmill account show tells what the account has")))
}

fn tell(access: &ChainAccess, told: &Value) -> Result<(), Failure> {
    let text = if access.json {
        format!("{told}\n")
    } else {
        let lines = told.as_object().into_iter().flatten().map(|(name, value)| {
            let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name:<12}{plain}\n")
        });
        lines.collect()
    };
    // Whoever asked may have stopped listening.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
