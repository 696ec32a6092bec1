//! `gristmill receipt`: writes the file that shows what came of a task, and checks one.
//!
//! What a file must be like is in `receipts`, where its parts come from in `chain`. Here is who is asked, what is trusted,
//! and what people are told of it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use alloy_primitives::{Address, B256};
use chain::{Client, Collected, ProofError};
use primitives::{Nrlc, TaskId};
use receipts::{Anchor, FILE_BYTES_MAX, Fate, Receipt, Refused, SignedBy, Verified};
use serde_json::{Value, json};
use url::Url;

use crate::args::{ReceiptArgs, ReceiptCommand, ReceiptVerifyArgs, TaskSource};
use crate::failure::{Exit, Failure, OrFail, chain_of};
use crate::purchase::Access;

/// Writes or checks a receipt.
///
/// # Errors
/// GM-8301 it does not stand, GM-8302 its block is not the one that is trusted, GM-8303 no task that is over, GM-8304 the
/// node does not tell enough, GM-8305 the file, GM-8306 nothing to trust was named, GM-5006 no market.
pub async fn receipt(args: ReceiptArgs) -> Result<(), Failure> {
    if let Some(ReceiptCommand::Verify(args)) = args.command {
        return check(args).await;
    }
    let Some(task) = args.task else {
        return Err(Failure::new("GM-8303", Exit::Usage, "no task was named")
            .fix("gristmill receipt TASK, with the id that gristmill run printed"));
    };
    let client = connect(&args.source).await?;
    let Collected { receipt, notes } = collect(&client, task).await?;
    for note in &notes {
        eprintln!("note      {note}");
    }
    match &args.out {
        Some(path) => {
            write(path, &receipt)?;
            let anchors = anchors_of(&receipt)?;
            if args.json {
                let anchors: Vec<Value> = anchors.iter().map(anchor_json).collect();
                say(&json!({ "file": path, "trust": anchors, "notes": notes }).to_string())
            } else {
                let mut text = format!("receipt     {}", path.display());
                for anchor in anchors {
                    let _ = write!(text, "\nhangs on    block {} {}", anchor.number, anchor.hash);
                }
                let _ = write!(
                    text,
                    "\ncheck with  gristmill receipt verify {} --rpc URL   (or --block-hash HASH)",
                    path.display()
                );
                say(&text)
            }
        }
        None => say(receipt.to_text().trim_end()),
    }
}

/// A client of the chain that was named, or of a market's.
pub(crate) async fn connect(source: &TaskSource) -> Result<Client, Failure> {
    match (&source.rpc, source.hub) {
        (Some(rpc), Some(hub)) => Client::connect(rpc, hub).await.map_err(|error| {
            Failure::new("GM-3102", Exit::Market, "the chain does not answer")
                .because(chain_of(&error))
        }),
        _ => Ok(reach(source.market.as_ref()).await?.client().clone()),
    }
}

/// The market that was named, or one that runs here.
pub(crate) async fn reach(market: Option<&Url>) -> Result<Access, Failure> {
    match market {
        Some(origin) => Access::to(origin).await,
        None => Access::running().await.ok_or_else(|| {
            Failure::new("GM-5006", Exit::Market, "no market runs on this machine")
                .fix("name one with --market, or a chain with --rpc and --hub")
        }),
    }
}

/// The receipt of a task, from that node.
///
/// # Errors
/// GM-8303 or GM-8304.
pub async fn collect(client: &Client, task: TaskId) -> Result<Collected, Failure> {
    client.receipt_of(task).await.map_err(|error| match error {
        ProofError::NoTask | ProofError::NotOver => {
            let what = format!("there is no receipt of task {task}");
            Failure::new("GM-8303", Exit::Usage, what)
                .because(error)
                .fix("gristmill task why TASK tells what it waits for")
        }
        error => {
            let what = format!("no receipt of task {task} can be made from what the node tells");
            let failure = Failure::new("GM-8304", Exit::Market, what).because(chain_of(&error));
            match error.is_of_the_node() {
                true => failure.fix("ask another node with --rpc and --hub"),
                false => failure,
            }
        }
    })
}

/// Puts a receipt into a file.
///
/// # Errors
/// GM-8305.
pub fn write(path: &Path, receipt: &Receipt) -> Result<(), Failure> {
    let what = format!("the receipt cannot be written to {}", path.display());
    std::fs::write(path, receipt.to_text()).or_fail("GM-8305", Exit::Usage, &what)
}

fn anchors_of(receipt: &Receipt) -> Result<Vec<Anchor>, Failure> {
    receipts::anchors(receipt.to_text().as_bytes()).map_err(refused)
}

async fn check(args: ReceiptVerifyArgs) -> Result<(), Failure> {
    let bytes = read(&args.file)?;
    let anchors = receipts::anchors(&bytes).map_err(refused)?;
    let mut trusted = args.block_hash.clone();
    let mut why = Vec::new();
    if !args.block_hash.is_empty() {
        why.push("as given with --block-hash".to_owned());
    }
    if let Some(rpc) = &args.rpc {
        trusted.extend(ask(rpc, &anchors, &bytes).await?);
        why.push(format!("as the node at {} tells", rpc.host_str().unwrap_or("the given address")));
    }
    if why.is_empty() {
        let list: Vec<String> =
            anchors.iter().map(|it| format!("block {} {}", it.number, it.hash)).collect();
        return Err(Failure::new("GM-8306", Exit::Usage, "nothing was named to trust")
            .because(format!("the receipt hangs on {}", list.join(" and ")))
            .fix("look the hash up where you trust it and give it with --block-hash, or ask a node with --rpc"));
    }
    let verified = receipts::verify(&bytes, &trusted).map_err(refused)?;
    if let Some(hub) = args.hub
        && hub != verified.receipt.evidence.hub
    {
        let what = "the receipt is of another hub";
        return Err(Failure::new("GM-8301", Exit::Unverified, what)
            .because(format!("it is of {}, not {hub}", verified.receipt.evidence.hub)));
    }
    let why = why.join(", ");
    say(&if args.json { verified_json(&verified, &why).to_string() } else { told(&verified, &why) })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let what = format!("the receipt {} cannot be read", path.display());
    let file = std::fs::File::open(path).or_fail("GM-8305", Exit::Usage, &what)?;
    let mut bytes = Vec::new();
    // One more than is taken, so that what is too large is told as that.
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).or_fail("GM-8305", Exit::Usage, &what)?;
    Ok(bytes)
}

/// What a node says of the blocks that a receipt hangs on.
async fn ask(rpc: &Url, anchors: &[Anchor], file: &[u8]) -> Result<Vec<B256>, Failure> {
    let silent = |error: chain::Error| {
        Failure::new("GM-3102", Exit::Market, "the chain does not answer").because(chain_of(&error))
    };
    let client = Client::connect_bare(rpc).await.map_err(silent)?;
    let chain_id = Receipt::read(file).map_err(refused)?.evidence.chain_id;
    if client.chain_id() != chain_id {
        let what = "the node is of another chain than the receipt";
        return Err(Failure::new("GM-8302", Exit::Unverified, what)
            .because(format!("the node's chain is {}, the receipt's {chain_id}", client.chain_id()))
            .fix("ask a node of the receipt's chain"));
    }
    let mut hashes = Vec::new();
    for anchor in anchors {
        hashes.extend(client.block_hash(anchor.number).await.map_err(silent)?);
    }
    Ok(hashes)
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Untrusted { .. } => {
            Failure::new("GM-8302", Exit::Unverified, "the receipt hangs on a block that is not trusted")
                .because(refused)
                .fix("look up the hash of the block of that number; if it differs, the receipt shows nothing")
        }
        refused => Failure::new("GM-8301", Exit::Unverified, "the receipt does not stand")
            .because(refused)
            .fix("get the file again from who made it; any changed byte makes it worthless"),
    }
}

/// What is not shown, for the text and for programs.
fn not_proven(verified: &Verified) -> Vec<&'static str> {
    let mut list = vec![
        "that the hub is the market's: compare its address",
        "that the signers owned what they offered: the hub checked it when it made the deal",
    ];
    if verified.signatures.iter().any(|(_, by)| *by == SignedBy::NotShown) {
        list.push("the signatures that are not shown: the hub checked them");
    }
    if !verified.complete {
        list.push("that nobody else contributed");
    }
    list
}

fn signer(by: SignedBy) -> String {
    match by {
        SignedBy::Account(account) => account.to_string(),
        SignedBy::Contract => "a contract, or signed on the chain".to_owned(),
        SignedBy::NotShown => "not shown".to_owned(),
    }
}

fn told(verified: &Verified, why: &str) -> String {
    let Receipt { claims, evidence, .. } = &verified.receipt;
    let mut lines = vec![
        "receipt     stands: every byte of it is proven".to_owned(),
        format!("task        {}", claims.task),
        format!("deal        {}  (task {} of {})", evidence.deal, evidence.index, claims.volume),
        format!("hub         {} on chain {}", evidence.hub, evidence.chain_id),
        match claims.fate {
            Fate::Completed => "ended       completed".to_owned(),
            Fate::Failed => "ended       without a result, refunded".to_owned(),
        },
    ];
    if claims.fate == Fate::Completed {
        lines.push(format!("digest      {}", claims.digest));
        let results = claims.results_text.clone().unwrap_or_else(|| claims.results.to_string());
        lines.push(format!("result      {results}"));
    }
    for one in &claims.contributions {
        let verdict = match one.accurate {
            Some(true) => "right",
            Some(false) => "WRONG",
            None if one.revealed.is_some() => "revealed",
            None => "not revealed",
        };
        lines.push(format!("worker      {}  {verdict}", one.worker));
    }
    for payment in &claims.payments {
        let verb = if payment.taken { "taken from" } else { "paid to" };
        lines.push(format!("{verb:<11} {}  {}", payment.account, Nrlc(payment.amount)));
    }
    for (kind, by) in &verified.signatures {
        let kind = kind.to_string();
        lines.push(format!("order       {kind:<10}  signed by {}", signer(*by)));
    }
    for anchor in &verified.anchors {
        lines.push(format!("trusted     block {} {}  ({why})", anchor.number, anchor.hash));
    }
    lines.extend(not_proven(verified).into_iter().map(|it| format!("not proven  {it}")));
    lines.join("\n")
}

fn anchor_json(anchor: &Anchor) -> Value {
    json!({
        "block": anchor.number, "hash": anchor.hash.to_string(), "timestamp": anchor.timestamp,
    })
}

fn verified_json(verified: &Verified, why: &str) -> Value {
    let Receipt { claims, evidence, .. } = &verified.receipt;
    json!({
        "stands": true,
        "chainId": evidence.chain_id,
        "hub": evidence.hub.to_string(),
        "deal": evidence.deal.to_string(),
        "index": evidence.index.to_string(),
        "claims": claims,
        "dealTimestamp": verified.from_to.0,
        "endTimestamp": verified.from_to.1,
        "signatures": verified.signatures.iter()
            .map(|(kind, by)| (kind.to_string(), json!(match by {
                SignedBy::Account(account) => Some(Address::to_string(account)),
                SignedBy::Contract | SignedBy::NotShown => None,
            })))
            .collect::<serde_json::Map<_, _>>(),
        "complete": verified.complete,
        "trusted": verified.anchors.iter().map(anchor_json).collect::<Vec<_>>(),
        "trustedBecause": why,
        "notProven": not_proven(verified),
    })
}

pub(crate) fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").or_fail(
        "GM-5009",
        Exit::Usage,
        "stdout does not take the output",
    )
}
