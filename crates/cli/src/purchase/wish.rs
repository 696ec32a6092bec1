//! What is wanted, read from the command line and checked as far as this machine can check it alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, Bytes};
use alloy_signer_local::PrivateKeySigner;
use primitives::Nrlc;
use sha2::{Digest, Sha256};
use url::Url;

use crate::accounts::read_key;
use crate::args::RunArgs;
use crate::failure::{Exit, Failure, OrFail};

/// What the name of an image in a registry begins with, to tell it from an app of the market.
const REGISTRY: &str = "docker://";

/// The program that is wanted.
#[derive(Debug, Clone)]
pub(super) enum Program {
    File {
        path: PathBuf,
        code: Bytes,
    },
    /// The archive of a container's image, which may be large.
    Image {
        path: PathBuf,
        sha256: B256,
    },
    /// An image in a registry, by the name that `docker pull` takes.
    Registry {
        image: String,
    },
    Address(Address),
    Name(String),
}

/// An input that is wanted.
#[derive(Debug, Clone)]
pub(super) enum Input {
    File(PathBuf),
    Url(Url),
}

/// What is wanted, after everything was checked that this machine can check by itself.
#[derive(Debug, Clone)]
pub struct Wish {
    pub(super) program: Program,
    pub(super) args: Vec<String>,
    pub(super) inputs: Vec<Input>,
    pub(super) trust: u64,
    pub(super) category: u64,
    pub(super) max_price: Option<Nrlc>,
    pub(super) tasks: u32,
    pub(super) out: Option<PathBuf>,
    pub(super) key: Option<PrivateKeySigner>,
}

impl Wish {
    /// Reads what the command line asks for.
    ///
    /// # Errors
    /// GM-5001 no such program, GM-5002 not WebAssembly, GM-5003 no such input, GM-5004 no usable key, GM-5007 no place
    /// for the results, GM-5011 unknown category.
    pub fn of(args: &RunArgs) -> Result<Self, Failure> {
        Ok(Self {
            program: Program::of(&args.app)?,
            args: args.args.clone(),
            inputs: args.inputs.iter().map(|text| Input::of(text)).collect::<Result<_, _>>()?,
            trust: args.trust,
            category: category(&args.category)?,
            max_price: args.max_price,
            tasks: args.tasks,
            out: args.out.as_deref().map(writable).transpose()?,
            key: args.key_file.as_deref().map(read_key).transpose()?,
        })
    }

    /// How sure the result is to be.
    pub fn trust(&self) -> u64 {
        self.trust
    }

    /// So many tasks of an app of the market, each done by at least two workers.
    pub fn replicated(app: &str, tasks: u32) -> Self {
        Self {
            program: Program::Name(app.to_owned()),
            args: Vec::new(),
            inputs: Vec::new(),
            trust: 4,
            category: 0,
            max_price: None,
            tasks,
            out: None,
            key: None,
        }
    }
}

impl Program {
    fn of(text: &str) -> Result<Self, Failure> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(image) = text.strip_prefix(REGISTRY) {
            return Ok(Self::Registry { image: image.to_owned() });
        }
        if !looks_like_file(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        let path = PathBuf::from(text);
        let unreadable = |error: std::io::Error| {
            Failure::new("GM-5001", Exit::Usage, format!("there is no program at {text}"))
                .because(error)
                .fix("check the path: a .wasm file, or a .tar that docker save has written")
        };
        if is_tar(&path).map_err(unreadable)? {
            let sha256 = sha256_of(&path).map_err(unreadable)?;
            return Ok(Self::Image { path, sha256 });
        }
        let code = std::fs::read(&path).map_err(unreadable)?;
        if !code.starts_with(b"\0asm") {
            return Err(Failure::new("GM-5002", Exit::Usage, format!("{text} is neither WebAssembly nor an image"))
                .because("it does not start with the bytes \\0asm, and it is no tar as docker save writes it")
                .fix("compile for wasm32-wasip1, for example with: rustc --target wasm32-wasip1, or zig cc -target wasm32-wasi"));
        }
        Ok(Self::File { path, code: code.into() })
    }
}

/// Whether a file is a tar, by the word that all tars of the last decades have in the same place.
fn is_tar(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    std::fs::File::open(path)?.take(262).read_to_end(&mut start)?;
    Ok(start.get(257..) == Some(b"ustar"))
}

fn sha256_of(path: &Path) -> std::io::Result<B256> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
    Ok(B256::from_slice(&hash.finalize()))
}

impl Input {
    fn of(text: &str) -> Result<Self, Failure> {
        if let Some(url) = as_url(text) {
            return Ok(Self::Url(url));
        }
        let readable = std::fs::File::open(text).and_then(|file| file.metadata());
        let failure =
            || Failure::new("GM-5003", Exit::Usage, format!("the input {text} cannot be used"));
        match readable {
            Ok(data) if data.is_file() => Ok(Self::File(text.into())),
            Ok(_) => Err(failure().because("it is not a file").fix("give files one by one")),
            Err(error) => Err(failure().because(error).fix("check the path")),
        }
    }
}

fn category(text: &str) -> Result<u64, Failure> {
    const NAMES: [&str; 5] = ["XS", "S", "M", "L", "XL"];
    let by_name = NAMES.iter().position(|name| text.eq_ignore_ascii_case(name));
    let number = match by_name {
        Some(place) => u64::try_from(place).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| {
        Failure::new("GM-5011", Exit::Usage, format!("there is no category '{text}'"))
            .fix("XS, S, M, L, XL, or a category's number")
    })
}

fn writable(out: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(out).or_fail(
        "GM-5007",
        Exit::Usage,
        &format!("cannot put results into {}", out.display()),
    )?;
    Ok(out.to_path_buf())
}

/// Whether an argument means a place on the network.
fn as_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Whether an argument looks like a file rather than the name of an app.
fn looks_like_file(text: &str) -> bool {
    Path::new(text).exists() || text.contains(['/', '\\']) || text.ends_with(".wasm")
}
