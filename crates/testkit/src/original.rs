//! The original contracts, put on a chain from what their authors publish.
//!
//! The package is fetched from npm when a test asks for it and kept under the build directory; nothing of it is in this
//! repository. It has the facets of the hub, the registries and their libraries; the token comes from its own package.
//! Left out are facets of the diamond standard itself, whose code is not published there: this hub cannot be cut. Other
//! facets ask it who owns it, so that one view is replaced by a dozen bytes of our own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use alloy_primitives::{Address, Bytes, FixedBytes, U256, keccak256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolValue, sol};
use anyhow::{Context, Result, ensure};
use chain::{Client, Contracts, Pending, TxRequest, Wallet};
use serde_json::Value;
use tokio::process::Command;
use url::Url;

const POCO: &str = "@iexec/poco@6.1.0";
const TOKEN: &str = "rlc-faucet-contract@1.0.10";
/// Set where a missing npm must not pass unnoticed.
const REQUIRED: &str = "GRISTMILL_REQUIRE_NODE";
const FACETS: [&str; 11] = [
    "IexecPoco1Facet",
    "IexecPoco2Facet",
    "IexecPocoAccessorsFacet",
    "IexecAccessorsABILegacyFacet",
    "IexecCategoryManagerFacet",
    "IexecConfigurationFacet",
    "IexecConfigurationExtraFacet",
    "IexecERC20Facet",
    "IexecEscrowTokenFacet",
    "IexecOrderManagementFacet",
    "IexecRelayFacet",
];
/// Under these selectors the diamond looks for its `receive` and its `fallback`.
const FALLBACKS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];
const FALLBACK_FACET: &str = "IexecEscrowTokenFacet";
const REGISTRIES: [&str; 3] =
    ["apps/AppRegistry", "datasets/DatasetRegistry", "workerpools/WorkerpoolRegistry"];
const CATEGORIES: [(&str, u64); 5] =
    [("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000)];
const CREATE_GAS: u64 = 12_000_000;
const CALL_GAS: u64 = 1_000_000;

sol! {
    struct FacetCut {
        address facetAddress;
        uint8 action;
        bytes4[] functionSelectors;
    }

    struct DiamondArgs {
        address owner;
        address init;
        bytes initCalldata;
    }

    function owner() external view returns (address);
    function initialize(address previous) external;
    function configure(address token, string name, string symbol, uint8 decimals, address appregistry, address datasetregistry, address workerpoolregistry, address v3_iexecHub) external;
    function createCategory(string name, string description, uint256 workClockTimeRef) external returns (uint256);
}

/// The published packages, unpacked.
#[derive(Debug, Clone)]
pub struct Original {
    poco: PathBuf,
    token: PathBuf,
}

impl Original {
    /// Fetches them into a directory, unless they are there. Nothing, said loudly, on a machine without npm.
    ///
    /// # Errors
    /// npm or its registry fails; or npm is missing, where `GRISTMILL_REQUIRE_NODE` is 1.
    pub async fn fetch(directory: &Path) -> Result<Option<Self>> {
        let found = Command::new("npm").arg("--version").stdout(Stdio::null()).status().await;
        if !found.is_ok_and(|it| it.success()) {
            ensure!(std::env::var(REQUIRED).as_deref() != Ok("1"), "npm is required and not found");
            eprintln!(
                "\n*** SKIPPED: npm is not installed, so the original contracts were NOT tested ***\n"
            );
            return Ok(None);
        }
        let (poco, token) = tokio::try_join!(
            unpacked(directory, "poco", POCO),
            unpacked(directory, "token", TOKEN)
        )?;
        Ok(Some(Self { poco, token }))
    }

    /// Puts the whole market up. The deployer owns it, and has all of its token.
    ///
    /// # Errors
    /// The chain refuses something.
    pub async fn deploy(&self, rpc: &Url, deployer: PrivateKeySigner) -> Result<Contracts> {
        let client = Client::connect_bare(rpc).await?;
        let mut site = Site { wallet: Wallet::new(&client, deployer).await?, sent: Vec::new() };
        let rlc = site.create(self.token_code()?).await?;
        let library = site.create(self.code("libs/IexecLibOrders_v5", None)?).await?;
        let mut cuts = Vec::new();
        let mut cut_already = BTreeSet::new();
        for name in FACETS {
            let facet = format!("facets/{name}");
            let address = site.create(self.code(&facet, Some(library))?).await?;
            let mut selectors = self.selectors(&facet)?;
            if name == FALLBACK_FACET {
                selectors.extend(FALLBACKS);
            }
            selectors.retain(|selector| cut_already.insert(*selector));
            let function_selectors = selectors.into_iter().map(FixedBytes::from).collect();
            let cut = FacetCut {
                facetAddress: address,
                action: 0,
                functionSelectors: function_selectors,
            };
            cuts.push(cut);
        }
        let asked = FixedBytes::from(ownerCall::SELECTOR);
        let owner_facet = site.create(owner_facet()).await?;
        cuts.push(FacetCut {
            facetAddress: owner_facet,
            action: 0,
            functionSelectors: vec![asked],
        });
        let owner = site.wallet.address();
        let arguments = DiamondArgs { owner, init: Address::ZERO, initCalldata: Bytes::new() };
        let diamond = [self.code("Diamond", None)?.to_vec(), (cuts, arguments).abi_encode_params()];
        let hub = site.create(diamond.concat().into()).await?;
        let mut registries = Vec::new();
        for registry in REGISTRIES {
            let address = site.create(self.code(&format!("registries/{registry}"), None)?).await?;
            site.call(address, initializeCall { previous: Address::ZERO }).await?;
            registries.push(address);
        }
        let [app_registry, dataset_registry, workerpool_registry] = registries[..] else {
            anyhow::bail!("three registries");
        };
        let configure = configureCall {
            token: rlc,
            name: "Staked RLC".into(),
            symbol: "SRLC".into(),
            decimals: 9,
            appregistry: app_registry,
            datasetregistry: dataset_registry,
            workerpoolregistry: workerpool_registry,
            v3_iexecHub: Address::ZERO,
        };
        site.call(hub, configure).await?;
        for (name, seconds) in CATEGORIES {
            let category = createCategoryCall {
                name: name.into(),
                description: "{}".into(),
                workClockTimeRef: U256::from(seconds),
            };
            site.call(hub, category).await?;
        }
        site.finish().await?;
        Ok(Contracts { hub, rlc, app_registry, dataset_registry, workerpool_registry })
    }

    fn artifact(&self, path: &str) -> Result<Value> {
        let name = path.rsplit('/').next().unwrap_or(path);
        read(&self.poco.join(format!("artifacts/contracts/{path}.sol/{name}.json")))
    }

    /// Creation code with the only library there is put into its places.
    fn code(&self, path: &str, library: Option<Address>) -> Result<Bytes> {
        let artifact = self.artifact(path)?;
        let mut text = artifact["bytecode"].as_str().context("no bytecode")?.to_owned();
        let files = artifact["linkReferences"].as_object().into_iter().flat_map(|it| it.values());
        let places = files
            .filter_map(Value::as_object)
            .flat_map(|libraries| libraries.values())
            .filter_map(Value::as_array)
            .flatten();
        for place in places {
            let library = library.context("a library that is not there")?;
            let start = place["start"].as_u64().context("no place")?;
            let start = 2 + 2 * usize::try_from(start)?;
            text.replace_range(start..start + 40, &alloy_primitives::hex::encode(library));
        }
        Ok(text.parse()?)
    }

    fn token_code(&self) -> Result<Bytes> {
        let artifact = read(&self.token.join("build/contracts/RLC.json"))?;
        Ok(artifact["bytecode"].as_str().context("no bytecode")?.parse()?)
    }

    /// Of every function that the facet has.
    fn selectors(&self, path: &str) -> Result<Vec<[u8; 4]>> {
        let artifact = self.artifact(path)?;
        let entries = artifact["abi"].as_array().context("no ABI")?;
        let functions = entries.iter().filter(|entry| entry["type"] == "function");
        functions
            .map(|function| {
                let name = function["name"].as_str().context("no name")?;
                let signature = format!("{name}{}", tuple(&function["inputs"])?);
                Ok(*keccak256(signature).first_chunk().context("a hash is long enough")?)
            })
            .collect()
    }
}

/// Creation code of a contract that answers everything with the owner that a diamond has stored.
fn owner_facet() -> Bytes {
    let storage = U256::from_be_bytes(keccak256("diamond.standard.diamond.storage").0);
    let slot = (storage + U256::from(3)).to_be_bytes::<32>();
    // PUSH32 slot, SLOAD, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
    let runtime = [&[0x7f][..], &slot, &[0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3]].concat();
    // PUSH1 length, DUP1, PUSH1 9, PUSH0, CODECOPY, PUSH0, RETURN
    let length = u8::try_from(runtime.len()).unwrap_or_default();
    let installer = [0x60, length, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3];
    [&installer[..], &runtime].concat().into()
}

/// Parameters as a signature has them: `(address,(uint256,bytes)[])`.
fn tuple(parameters: &Value) -> Result<String> {
    let types: Vec<String> = parameters
        .as_array()
        .context("no parameters")?
        .iter()
        .map(|parameter| {
            let kind = parameter["type"].as_str().context("no type")?;
            match kind.strip_prefix("tuple") {
                Some(array) => Ok(tuple(&parameter["components"])? + array),
                None => Ok(kind.to_owned()),
            }
        })
        .collect::<Result<_>>()?;
    Ok(format!("({})", types.join(",")))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// The package's content, fetched if it is not there.
async fn unpacked(directory: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let place = directory.join(name);
    if place.join("package.json").exists() {
        return Ok(place);
    }
    // Elsewhere first: what is at the place is whole.
    let scratch = tempfile::Builder::new().prefix(name).tempdir_in(made(directory)?)?;
    let run = async |command: &mut Command| -> Result<String> {
        let output = command.current_dir(scratch.path()).kill_on_drop(true).output().await?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let packed = run(Command::new("npm").args(["pack", "--silent", package])).await?;
    let archive = packed.lines().last().context("npm names no file")?;
    run(Command::new("tar").args(["xzf", archive])).await?;
    match std::fs::rename(scratch.path().join("package"), &place) {
        // Another test was faster.
        Err(_) if place.join("package.json").exists() => {}
        moved => moved?,
    }
    Ok(place)
}

fn made(directory: &Path) -> Result<&Path> {
    std::fs::create_dir_all(directory)?;
    Ok(directory)
}

struct Site {
    wallet: Wallet,
    sent: Vec<Pending>,
}

impl Site {
    async fn create(&mut self, code: Bytes) -> Result<Address> {
        let address = self.wallet.address().create(self.wallet.next_nonce());
        self.sent.push(self.wallet.send(TxRequest::create(code).gas(CREATE_GAS)).await?);
        Ok(address)
    }

    async fn call(&mut self, to: Address, call: impl SolCall) -> Result<()> {
        let request = TxRequest::call(to, call.abi_encode()).gas(CALL_GAS);
        self.sent.push(self.wallet.send(request).await?);
        Ok(())
    }

    async fn finish(self) -> Result<()> {
        for (number, pending) in self.sent.iter().enumerate() {
            pending.mined().await.with_context(|| format!("transaction {number}"))?;
        }
        Ok(())
    }
}
