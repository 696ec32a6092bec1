//! `gristmill verify`: runs a task again on this machine and compares the digest with the chain's.

use std::path::PathBuf;

use primitives::ResultDigest;
use serde_json::{Value, json};
use worker::{Again, AgainError, Rerun, again};

use crate::args::VerifyArgs;
use crate::failure::{Exit, Failure, OrFail};
use crate::proof::{collect, reach, say};
use crate::purchase::Access;

/// What a mismatch's file says it is.
const FORMAT: &str = "gristmill-mismatch/1";

/// Runs the task again and compares.
///
/// # Errors
/// GM-8310 the digests differ, GM-8311 the task cannot be repeated, GM-8312 the run failed, GM-8303 no task with a result,
/// GM-8305 the evidence cannot be written, GM-5006 no market, GM-3102 the chain does not answer.
pub async fn verify(args: VerifyArgs) -> Result<(), Failure> {
    let access = reach(args.market.as_ref()).await?;
    let on_chain = access.client().task(args.task).await.or_fail(
        "GM-3102",
        Exit::Market,
        "the chain does not answer",
    )?;
    let dir = tempfile::tempdir().or_fail("GM-5012", Exit::Market, "the sandbox does not start")?;
    let run = rerun(&access, &args, dir.path().to_owned()).await?;
    if run.digest == on_chain.digest {
        return say(&match args.json {
            true => json!({
                "task": args.task.to_string(),
                "same": true,
                "digest": run.digest.to_string(),
                "fuelUsed": run.fuel_used,
            })
            .to_string(),
            false => format!(
                "task        {}\ndigest      {}  on chain\n            {}  of the run here: the same",
                args.task, on_chain.digest, run.digest
            ),
        });
    }
    Err(mismatch(&access, &args, on_chain.digest, &run).await?)
}

async fn rerun(access: &Access, args: &VerifyArgs, dir: PathBuf) -> Result<Rerun, Failure> {
    let sandbox = sandbox::Config {
        containers: sandbox::Containers::Off,
        ..sandbox::Config::new(dir.join("sandbox"), 1)
    };
    let sandbox = tokio::task::spawn_blocking(move || sandbox::Sandbox::new(&sandbox))
        .await
        .or_fail("GM-5012", Exit::Market, "the sandbox does not start")?
        .or_fail("GM-5012", Exit::Market, "the sandbox does not start")?;
    let with = Again {
        client: access.client().clone(),
        sandbox,
        gateway: access.gateway()?,
        dir: dir.join("task"),
        allow_private: args.allow_private,
    };
    again(with, args.task).await.map_err(|error| match error {
        AgainError::NoResult(why) => {
            let what = format!("task {} cannot be compared", args.task);
            Failure::new("GM-8303", Exit::Usage, what).because(why)
        }
        AgainError::NotRepeatable(why) => {
            let what = format!("task {} cannot be repeated here", args.task);
            Failure::new("GM-8311", Exit::Usage, what)
                .because(why)
                .fix("ask for more trust instead: then several workers must agree")
        }
        AgainError::Failed { code, message, remedy } => {
            let what = format!("task {} failed when it was run again", args.task);
            Failure::new("GM-8312", Exit::TaskFailed, what)
                .because(format!("{message} ({code})"))
                .fix(remedy)
        }
    })
}

/// Puts everything that somebody else needs to see the same into a file.
async fn mismatch(
    access: &Access,
    args: &VerifyArgs,
    on_chain: ResultDigest,
    run: &Rerun,
) -> Result<Failure, Failure> {
    let receipt = match collect(access.client(), args.task).await {
        Ok(collected) => Some(collected.receipt),
        Err(failure) => {
            eprintln!("note      the evidence is without a receipt: {}", failure.what);
            None
        }
    };
    let path = args
        .evidence
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("mismatch-{}.json", args.task)));
    let evidence = evidence(args, on_chain, run, &json!(receipt));
    let text = serde_json::to_string_pretty(&evidence).unwrap_or_default() + "\n";
    let what = format!("the evidence cannot be written to {}", path.display());
    std::fs::write(&path, text).or_fail("GM-8305", Exit::Usage, &what)?;
    let what = format!("the result of task {} is not what its program gives", args.task);
    Ok(Failure::new("GM-8310", Exit::Unverified, what)
        .because(format!("on chain    {on_chain}\nrun here    {}", run.digest))
        .fix(format!("all that it takes to see the same is in {}", path.display())))
}

fn evidence(args: &VerifyArgs, on_chain: ResultDigest, run: &Rerun, receipt: &Value) -> Value {
    json!({
        "format": FORMAT,
        "task": args.task.to_string(),
        "digestOnChain": on_chain.to_string(),
        "digestHere": run.digest.to_string(),
        // Each release is pinned to one engine.
        "engine": concat!("gristmill ", env!("CARGO_PKG_VERSION")),
        "fuelUsed": run.fuel_used,
        "args": run.args,
        "ingredients": run.ingredients.iter().map(|one| json!({
            "role": one.role, "from": one.from, "sha256": one.sha256.to_string(),
        })).collect::<Vec<_>>(),
        "receipt": receipt,
    })
}
