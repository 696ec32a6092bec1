//! `cargo xtask contracts`: Solidity in, `contracts/artifacts` out.
//!
//! The compiler is the `solc` package pinned in `contracts/package-lock.json`, run by node. What it makes is committed,
//! so that nobody needs node to build the rest; a fingerprint over everything that goes in tells stale artifacts apart.
//!
//! ```text
//! src/**/*.sol ─┐
//! settings ─────┼─► sha256 = fingerprint ──► artifacts/fingerprint.json
//! package-lock ─┘        │
//!                        └─► solc ──► artifacts/<Contract>.json, artifacts/storage-layout.json
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// The limit on deployed code (EIP-170), in bytes.
const CODE_LIMIT: usize = 24_576;

/// The limit on creation code (EIP-3860), in bytes; the extension brings its parts along.
const CREATION_LIMIT: usize = 49_152;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compile and compare with what is committed, writing nothing
    #[arg(long)]
    check: bool,
}

/// One file in `artifacts/`: the ABI of an interface, the code of the contract `name`.
struct Artifact {
    name: &'static str,
    /// Source file and interface whose ABI is published.
    abi: (&'static str, &'static str),
    /// Source file of the contract whose code is deployed.
    code: &'static str,
}

const ARTIFACTS: &[Artifact] = &[
    artifact("Hub", ("src/interfaces/IHub.sol", "IGristmillHub"), "src/hub/Hub.sol"),
    artifact(
        "HubExtension",
        ("src/interfaces/IHubExtension.sol", "IHubExtension"),
        "src/hub/HubExtension.sol",
    ),
    artifact("HubViews", ("src/interfaces/IHubViews.sol", "IHubViews"), "src/hub/HubViews.sol"),
    artifact(
        "HubSettlement",
        ("src/interfaces/IHubSettlement.sol", "IHubSettlement"),
        "src/hub/HubSettlement.sol",
    ),
    artifact("HubBoost", ("src/interfaces/IHubBoost.sol", "IHubBoost"), "src/hub/HubBoost.sol"),
    artifact("HubProxy", ("src/interfaces/IHub.sol", "IHubAdditions"), "src/hub/HubProxy.sol"),
    artifact("RLC", ("src/interfaces/IRLC.sol", "IRLC"), "src/token/RLC.sol"),
    artifact(
        "AppRegistry",
        ("src/interfaces/IRegistries.sol", "IAppRegistry"),
        "src/registries/AppRegistry.sol",
    ),
    artifact(
        "DatasetRegistry",
        ("src/interfaces/IRegistries.sol", "IDatasetRegistry"),
        "src/registries/DatasetRegistry.sol",
    ),
    artifact(
        "WorkerpoolRegistry",
        ("src/interfaces/IRegistries.sol", "IWorkerpoolRegistry"),
        "src/registries/WorkerpoolRegistry.sol",
    ),
    artifact("App", ("src/interfaces/IEntries.sol", "IApp"), "src/registries/App.sol"),
    artifact("Dataset", ("src/interfaces/IEntries.sol", "IDataset"), "src/registries/Dataset.sol"),
    artifact(
        "Workerpool",
        ("src/interfaces/IEntries.sol", "IWorkerpool"),
        "src/registries/Workerpool.sol",
    ),
];

/// The contract whose storage outlives its code, and so must never change its layout.
const LAYOUT: (&str, &str) = ("src/hub/HubStorage.sol", "HubStorageLayout");

const fn artifact(
    name: &'static str,
    abi: (&'static str, &'static str),
    code: &'static str,
) -> Artifact {
    Artifact { name, abi, code }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let home = home();
    let sources = sources(&home)?;
    install(&home)?;
    let output = compile(&home, &sources)?;
    let files = artifacts(&output, &fingerprint(&home)?)?;
    let folder = home.join("artifacts");
    if args.check {
        return compare(&folder, &files);
    }
    fs::create_dir_all(&folder)?;
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// What the artifacts are made from, as one hash: compiler settings, dependency lock and every source in order.
pub(crate) fn fingerprint(home: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut part = |name: &str, content: &[u8]| {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    };
    part("settings", settings().to_string().as_bytes());
    part("package-lock.json", &fs::read(home.join("package-lock.json"))?);
    for (name, content) in sources(home)? {
        part(&name, content.as_bytes());
    }
    Ok(hex::encode(hash.finalize()))
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// Compiler settings. `runs` weighs cheap calls against the code limit; the metadata trailer is left out so that
/// comments do not change the bytecode.
fn settings() -> Value {
    // Keys in alphabetical order: then the text is the same whether or not serde_json keeps theirs.
    json!({
        "evmVersion": "cancun",
        "metadata": { "appendCBOR": false, "bytecodeHash": "none" },
        "optimizer": { "enabled": true, "runs": 1000 },
        "outputSelection": {
            "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "storageLayout"] }
        },
        "viaIR": true
    })
}

/// Every source below `src`, by its path from `contracts/`, in order.
fn sources(home: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![home.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "sol") {
                let name = path.strip_prefix(home)?.to_string_lossy().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found)
}

/// Fetches the compiler and libraries when they are missing or older than the lock.
fn install(home: &Path) -> anyhow::Result<()> {
    let stamp =
        fs::metadata(home.join("node_modules/.package-lock.json")).and_then(|m| m.modified());
    let lock = fs::metadata(home.join("package-lock.json")).and_then(|m| m.modified());
    if let (Ok(stamp), Ok(lock)) = (stamp, lock)
        && stamp >= lock
    {
        return Ok(());
    }
    let done = Command::new("npm").args(["ci", "--silent"]).current_dir(home).status();
    ensure!(done.context("npm is needed to compile the contracts")?.success(), "npm ci failed");
    Ok(())
}

fn compile(home: &Path, sources: &BTreeMap<String, String>) -> anyhow::Result<Value> {
    let input = json!({
        "language": "Solidity",
        "sources": sources
            .iter()
            .map(|(name, content)| (name.clone(), json!({ "content": content })))
            .collect::<Map<_, _>>(),
        "settings": settings(),
    });
    // By files: the wrapper neither waits for a pipe to be filled nor for one to be emptied.
    let question = home.join("node_modules/.solc-question.json");
    let answer = home.join("node_modules/.solc-answer.json");
    fs::write(&question, input.to_string())?;
    let solc = Command::new("node")
        .args(["node_modules/solc/solc.js", "--standard-json"])
        .args(["--base-path", ".", "--include-path", "node_modules"])
        .current_dir(home)
        .stdin(fs::File::open(&question)?)
        .stdout(fs::File::create(&answer)?)
        .status()
        .context("node is needed to compile the contracts")?;
    ensure!(solc.success(), "the compiler failed");
    let text = fs::read_to_string(&answer)?;
    // It may say something about SMT solvers first.
    let start = text.find('{').context("the compiler said nothing")?;
    let output: Value = serde_json::from_str(&text[start..])?;
    let mut failed = false;
    for error in output["errors"].as_array().into_iter().flatten() {
        let message = error["formattedMessage"].as_str().unwrap_or_default();
        if error["severity"] == "error" || message.contains("--> src/") {
            eprintln!("{message}");
        }
        failed |= error["severity"] == "error";
    }
    ensure!(!failed, "the contracts do not compile");
    Ok(output)
}

/// File name and content of everything in `artifacts/`.
fn artifacts(output: &Value, fingerprint: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for artifact in ARTIFACTS {
        let abi = contract(output, artifact.abi)?;
        let code = contract(output, (artifact.code, artifact.name)).unwrap_or(&Value::Null);
        let creation = code["evm"]["bytecode"]["object"].as_str().unwrap_or_default();
        let deployed = code["evm"]["deployedBytecode"]["object"].as_str().unwrap_or_default();
        let size = deployed.len() / 2;
        eprintln!("{:20} {size:6} bytes", artifact.name);
        ensure!(size <= CODE_LIMIT, "{} is larger than {CODE_LIMIT} bytes", artifact.name);
        let creation_size = creation.len() / 2;
        ensure!(
            creation_size <= CREATION_LIMIT,
            "{} takes {creation_size} bytes to create, more than {CREATION_LIMIT}",
            artifact.name
        );
        ensure!(!creation.contains('_'), "{} is not linked", artifact.name);
        let text = json!({
            "contractName": artifact.name,
            "deployedSize": size,
            "abi": abi["abi"],
            "bytecode": format!("0x{creation}"),
        });
        files.insert(format!("{}.json", artifact.name), pretty(&text)?);
    }
    let layout = layout(contract(output, LAYOUT).unwrap_or(&Value::Null));
    files.insert("storage-layout.json".into(), pretty(&layout)?);
    let made_from = json!({ "fingerprint": fingerprint, "settings": settings() });
    files.insert("fingerprint.json".into(), pretty(&made_from)?);
    Ok(files)
}

fn contract<'a>(output: &'a Value, (file, name): (&str, &str)) -> anyhow::Result<&'a Value> {
    let found = &output["contracts"][file][name];
    if found.is_null() {
        bail!("{file} has no contract {name}");
    }
    Ok(found)
}

/// The storage layout without the compiler's internal numbering, which moves with unrelated edits.
fn layout(contract: &Value) -> Value {
    let types = &contract["storageLayout"]["types"];
    let members = |of: &Value| -> Vec<Value> {
        of.as_array()
            .into_iter()
            .flatten()
            .map(|field| {
                let ty = field["type"].as_str().unwrap_or_default();
                json!({
                    "label": field["label"],
                    "slot": field["slot"],
                    "offset": field["offset"],
                    "type": types[ty]["label"],
                })
            })
            .collect()
    };
    let mut structs = Map::new();
    for ty in types.as_object().into_iter().flat_map(|types| types.values()) {
        if let Some(label) = ty["label"].as_str().filter(|_| ty["members"].is_array()) {
            structs.insert(label.to_owned(), Value::Array(members(&ty["members"])));
        }
    }
    json!({ "state": members(&contract["storageLayout"]["storage"]), "structs": structs })
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn compare(folder: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let stale: Vec<_> = files
        .iter()
        .filter(|(name, text)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(stale.is_empty(), "stale, run `cargo xtask contracts`: {}", stale.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_artifacts_are_made_from_the_committed_sources() {
        let text = fs::read_to_string(home().join("artifacts/fingerprint.json")).unwrap();
        let committed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            committed["fingerprint"].as_str(),
            Some(fingerprint(&home()).unwrap().as_str()),
            "the artifacts are stale: run `cargo xtask contracts`",
        );
    }
}
