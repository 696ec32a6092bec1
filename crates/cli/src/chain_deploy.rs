//! `gristmill chain deploy`: a market's contracts on any EVM chain, put up or looked at.
//!
//! What is sent and in which order is `chain::deploy`'s; here are the flags, the file that remembers, and the words.

mod args;
mod file;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, U256};
use alloy_signer_local::PrivateKeySigner;
use chain::deploy::{
    self, Check, Cost, DeployConfig, Deployment, Keep, Site, SiteError, SiteOptions, StepRecord,
    Token,
};
use chain::{Client, ErrorKind};
use serde_json::json;

pub use args::{ChainArgs, ChainCommand, DeployArgs};

use crate::failure::{Exit, Failure, OrFail, chain_of};
use crate::progress::Talk;
use file::File;

/// Where a key may be instead of in a file.
const KEY_VARIABLE: &str = "GRISTMILL_KEY";
/// A token's decimals that prices and stakes of the market are made for.
const DECIMALS: u8 = 9;

/// Does what the command says.
///
/// # Errors
/// GM-3201 no key, GM-3202 the node is not reached, GM-3203 another chain, GM-3204 the file is of another deployment,
/// GM-3205 no money, GM-3206 a step failed, GM-3207 what is on chain is not right, GM-3208 the file is not usable,
/// GM-3209 the token is not usable.
pub async fn chain(command: ChainCommand) -> Result<(), Failure> {
    match command {
        ChainCommand::Deploy(args) => deploy(*args).await,
        ChainCommand::Serve(args) => crate::apart::serve(crate::apart::Service::Chain, args).await,
    }
}

async fn deploy(args: DeployArgs) -> Result<(), Failure> {
    let talk = Talk::new(args.json);
    let client = Client::connect_bare(&args.rpc).await.or_fail(
        "GM-3202",
        Exit::Market,
        "the chain's node is not reached",
    )?;
    if args.chain_id.is_some_and(|wanted| wanted != client.chain_id()) {
        let what = format!("the node is of chain {}", client.chain_id());
        return Err(Failure::new("GM-3203", Exit::Usage, what)
            .because("--chain-id names another")
            .fix("the --rpc of a node of that chain, or that chain's id"));
    }
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("gristmill-chain-{}.json", client.chain_id())));
    let mut file = File::open(&path)?;
    let (deployment, config) = match args.verify {
        true => (known(&file, &client)?, wanted(&args, Address::ZERO)),
        false => build(&args, &client, &mut file, &talk).await?,
    };
    let checks = deploy::verify(&client, &deployment, &config).await.or_fail(
        "GM-3202",
        Exit::Market,
        "the node does not say what is on the chain",
    )?;
    if let Some(failure) = unsound(&checks, &deployment, &path) {
        return Err(failure);
    }
    if let Some(path) = &args.chain_json {
        write_chain_json(path, &args, &deployment)?;
    }
    let said = match args.json {
        true => format!("{}\n", to_json(&deployment, &checks, &path)),
        false => to_text(&deployment, &checks, &path),
    };
    // If stdout is closed there is nobody left to tell; the file has it all.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}

/// What the file knows, for a look at it without a key.
fn known(file: &File, client: &Client) -> Result<Deployment, Failure> {
    let Some(deployment) = file.known() else {
        let what = format!("there is no deployment in {}", file.path().display());
        return Err(Failure::new("GM-3208", Exit::Usage, what).fix("name its file with --out"));
    };
    if deployment.chain_id != client.chain_id() {
        let (kept, found) = (deployment.chain_id, client.chain_id());
        return Err(explained(SiteError::OtherChain { kept, found }, file.path()));
    }
    Ok(deployment.clone())
}

async fn build(
    args: &DeployArgs,
    client: &Client,
    file: &mut File,
    talk: &Talk,
) -> Result<(Deployment, DeployConfig), Failure> {
    let signer = signer(args)?;
    let config = wanted(args, signer.address());
    if let Token::Existing(token) = config.token {
        check_token(client, token).await?;
    }
    let path = file.path().to_owned();
    let failed = |error| explained(error, &path);
    let options = SiteOptions::default();
    let kept = file.known().cloned();
    let mut site =
        Site::survey(&args.rpc, signer, config.clone(), kept, options).await.map_err(failed)?;
    let done = site.deployment().steps.iter().filter(|step| step.mined.is_some()).count();
    let all = site.step_count();
    talk.say(match (site.deployment().complete, done) {
        (true, _) => "everything is put up already; looking at it".to_owned(),
        (false, 0) => format!("{all} transactions; what is done is kept in {}", path.display()),
        (false, done) => format!("going on after {done} of {all} transactions"),
    });
    let mut keeper = Keeper { file, talk };
    let deployment = site.build(&mut keeper).await.map_err(failed)?;
    Ok((deployment, config))
}

/// Writes each step down before it is sent, and tells of it when it is mined.
struct Keeper<'a> {
    file: &'a mut File,
    talk: &'a Talk,
}

impl Keep for Keeper<'_> {
    fn keep(&mut self, deployment: &Deployment) -> std::io::Result<()> {
        self.file.write(deployment)
    }

    fn done(&mut self, step: &StepRecord, done: usize, all: usize) {
        let address = step.address.map(|address| format!("  {address}")).unwrap_or_default();
        self.talk.say(format!("  {done:>2}/{all}  {}{address}", step.name));
    }
}

/// The market that the flags describe. All of a new token goes to the owner.
fn wanted(args: &DeployArgs, deployer: Address) -> DeployConfig {
    let owner = args.owner.unwrap_or(deployer);
    let token = args.token.map_or_else(|| Token::New(deploy::all_to(owner)), Token::Existing);
    DeployConfig {
        owner: Some(owner),
        base_uri: args.base_uri.clone(),
        ..DeployConfig::with_token(token)
    }
}

fn signer(args: &DeployArgs) -> Result<PrivateKeySigner, Failure> {
    let unusable = |what: String| {
        // The content is a secret, or close to one: it is not repeated.
        Failure::new("GM-3201", Exit::Usage, what)
            .fix("--key-file with a file of 64 hexadecimal digits, or the same in GRISTMILL_KEY")
    };
    let (text, place) = match &args.key_file {
        Some(path) => {
            let place = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| {
                unusable(format!("no private key can be read from {place}")).because(error)
            })?;
            (text, place)
        }
        None => match std::env::var(KEY_VARIABLE) {
            Ok(text) => (text, KEY_VARIABLE.to_owned()),
            Err(_) => return Err(unusable("no private key to deploy with".to_owned())),
        },
    };
    text.trim().parse().map_err(|_| unusable(format!("no private key is in {place}")))
}

/// That a token has the units which the market counts in. What else it does is the deployer's affair.
async fn check_token(client: &Client, token: Address) -> Result<(), Failure> {
    let unusable = |why: String| {
        Failure::new("GM-3209", Exit::Usage, format!("{token} cannot be the market's token"))
            .because(why)
            .fix("the address of RLC on this chain, or no --token for a new one")
    };
    match client.view(token, bindings::rlc::RLC::decimalsCall {}).await {
        Ok(DECIMALS) => Ok(()),
        Ok(decimals) => Err(unusable(format!("it has {decimals} decimals, not {DECIMALS}"))),
        Err(error) => Err(unusable(chain_of(&error))),
    }
}

/// A failure to deploy, in words.
fn explained(error: SiteError, path: &Path) -> Failure {
    let place = path.display();
    let other = |cause: String| {
        Failure::new("GM-3204", Exit::Usage, format!("{place} is of another deployment"))
            .because(cause)
            .fix("another file with --out, or what this one was begun with")
    };
    match error {
        SiteError::Chain(error) => match error.kind() {
            ErrorKind::NoGas { address } => Failure::new(
                "GM-3205",
                Exit::Refused,
                format!("{address} cannot pay the next step"),
            )
            .fix("send it ether, and the same command again: it goes on where it was"),
            _ => {
                Failure::new("GM-3202", Exit::Market, "the chain's node does not do what is needed")
                    .because(chain_of(&error))
                    .fix("the same command again: it goes on where it was")
            }
        },
        SiteError::NoMoney { deployer, cost } => no_money(deployer, cost),
        SiteError::Step { .. } => {
            Failure::new("GM-3206", Exit::Market, "a step of the deployment failed")
                .because(error)
                .fix("when the cause is gone, the same command again: it goes on where it was")
        }
        SiteError::Keep(error) => {
            Failure::new("GM-3208", Exit::Usage, format!("{place} cannot be written"))
                .because(error)
                .fix("another file with --out, or make this one writable")
        }
        other_terms => other(other_terms.to_string()),
    }
}

fn no_money(deployer: Address, cost: Cost) -> Failure {
    let what = format!("{deployer} has too little ether: {} are missing", ether(cost.missing()));
    Failure::new("GM-3205", Exit::Refused, what)
        .because(format!(
            "what is left to do needs about {} at today's price of gas, and there are {}",
            ether(cost.needs),
            ether(cost.has)
        ))
        .fix(format!("send {deployer} that much, and the same command again"))
}

/// Rounded up to a millionth.
fn ether(wei: U256) -> String {
    let millionths = wei.div_ceil(U256::from(1_000_000_000_000_u64));
    let (whole, part) = millionths.div_rem(U256::from(1_000_000));
    format!("{whole}.{:06} ether", part.saturating_to::<u64>())
}

fn unsound(checks: &[Check], deployment: &Deployment, path: &Path) -> Option<Failure> {
    let troubles: Vec<String> = checks
        .iter()
        .filter_map(|check| Some(format!("{}: {}", check.what, check.trouble.as_ref()?)))
        .collect();
    if troubles.is_empty() {
        return None;
    }
    let fix = match deployment.complete {
        true => "ask whoever changed it, or deploy another market into another --out",
        false => "finish it: the same command without --verify",
    };
    let what =
        format!("what is on chain {} is not what {} says", deployment.chain_id, path.display());
    Some(Failure::new("GM-3207", Exit::Unverified, what).because(troubles.join("\n")).fix(fix))
}

fn to_json(deployment: &Deployment, checks: &[Check], path: &Path) -> serde_json::Value {
    let mut object = json!(deployment);
    object["file"] = json!(path);
    object["checks"] = checks.iter().map(|check| check.what.clone()).collect();
    object
}

fn to_text(deployment: &Deployment, checks: &[Check], path: &Path) -> String {
    let mut text = format!("chain id    {}\n", deployment.chain_id);
    if let Some(contracts) = &deployment.contracts {
        let _ = write!(
            text,
            "hub         {}\nRLC         {}\nregistries  {} apps\n            {} datasets\n            {} workerpools\n",
            contracts.hub,
            contracts.rlc,
            contracts.app_registry,
            contracts.dataset_registry,
            contracts.workerpool_registry,
        );
    }
    let _ = write!(
        text,
        "owner       {}\n{} checks hold; saved in {}\n",
        deployment.owner,
        checks.len(),
        path.display()
    );
    text
}

/// A chain.json for the official CLI. Services are added to it when there are any.
fn write_chain_json(
    path: &Path,
    args: &DeployArgs,
    deployment: &Deployment,
) -> Result<(), Failure> {
    let hub = deployment.contracts.map(|contracts| contracts.hub.to_string());
    let chain = json!({
        "default": "gristmill",
        "chains": { "gristmill": {
            "id": deployment.chain_id.to_string(), "host": args.rpc, "hub": hub,
        }},
    });
    std::fs::write(path, format!("{chain:#}\n")).or_fail(
        "GM-3208",
        Exit::Usage,
        &format!("cannot write {}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_ether_is_rounded_up() {
        let check = |wei: u64, expected| assert_eq!(ether(U256::from(wei)), expected);
        check(0, "0.000000 ether");
        check(1, "0.000001 ether");
        check(1_500_000_000_000_000_000, "1.500000 ether");
        check(12_345_000_000_000_001, "0.012346 ether");
    }
}
