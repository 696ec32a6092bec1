//! Images for tests, made from one static program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use alloy_primitives::{B256, hex};
use sandbox::{Config, Container, Sandbox, Unavailable, find_runtime};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The other runtime.
pub(crate) const CRUN_PROGRAM: &str = "/usr/bin/crun";

/// Containers, and a place for their jobs.
pub(crate) struct Containers {
    pub(crate) sandbox: Sandbox,
    pub(crate) dir: TempDir,
}

/// Containers, where the machine runs them; says so loudly where not, and fails where it must.
pub(crate) fn containers() -> Option<&'static Containers> {
    static CONTAINERS: OnceLock<Option<Containers>> = OnceLock::new();
    let found = CONTAINERS.get_or_init(|| match find_runtime().and_then(run_by) {
        Ok(containers) => Some(containers),
        Err(why) => {
            let required = std::env::var_os("GRISTMILL_REQUIRE_RUNC").is_some();
            assert!(!required, "GRISTMILL_REQUIRE_RUNC is set, and {why}");
            eprintln!("NOT TESTED: containers, since {why}. {}", why.remedy());
            None
        }
    });
    found.as_ref()
}

/// The same by the other runtime, where that works too: crun beside runc.
pub(crate) fn by_crun() -> Option<&'static Containers> {
    static CRUN: OnceLock<Option<Containers>> = OnceLock::new();
    let found = CRUN.get_or_init(|| {
        let crun = PathBuf::from(CRUN_PROGRAM);
        if !crun.exists() || find_runtime().ok()? == crun {
            return None;
        }
        run_by(crun)
            .inspect_err(|why| eprintln!("NOT TESTED: containers by crun, since {why}"))
            .ok()
    });
    found.as_ref()
}

fn run_by(program: PathBuf) -> Result<Containers, Unavailable> {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path().join("sandbox"), 4);
    let runtime = Arc::new(Container::open(program, &config).unwrap()?);
    let sandbox = Sandbox::with_runtime(&config, runtime).unwrap();
    Ok(Containers { sandbox, dir })
}

/// The prober, built once.
pub(crate) fn prober() -> &'static [u8] {
    static PROBER: OnceLock<Vec<u8>> = OnceLock::new();
    PROBER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("prober");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/prober.rs");
        let built = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "opt-level=1"])
            .arg("-o")
            .arg(&program)
            .arg(source)
            .status()
            .unwrap();
        assert!(built.success());
        fs::read(program).unwrap()
    })
}

/// One file of a layer.
pub(crate) type File<'a> = (&'a str, u32, &'a [u8]);

/// A layer's tar.
pub(crate) fn layer(files: &[File<'_>]) -> Vec<u8> {
    tar_of(files.iter().map(|(name, mode, content)| ((*name).to_owned(), *mode, content.to_vec())))
}

fn tar_of(files: impl IntoIterator<Item = (String, u32, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, &*content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> B256 {
    B256::from_slice(&Sha256::digest(bytes))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(bytes)))
}

/// An image of those layers that starts the prober.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) start: Value,
    pub(crate) architecture: &'static str,
}

impl Image {
    pub(crate) fn of(layers: Vec<Vec<u8>>) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let start =
            json!({ "Entrypoint": ["/prober"], "Env": ["FLAVOUR=plain"], "WorkingDir": "/" });
        Self { layers, start, architecture }
    }

    /// Only the prober, which only its owner may start, as far as the image says.
    pub(crate) fn prober() -> Self {
        Self::of(vec![layer(&[("prober", 0o700, prober())])])
    }

    pub(crate) fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.start,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        config.to_string().into_bytes()
    }

    /// As older `docker save` writes it.
    pub(crate) fn saved(&self) -> Vec<u8> {
        let config = self.config();
        let name = format!("{}.json", hex::encode(sha256(&config)));
        let layers: Vec<_> = (0..self.layers.len()).map(|n| format!("{n}/layer.tar")).collect();
        let manifest = json!([{ "Config": name, "RepoTags": ["prober:1"], "Layers": layers }]);
        let files = layers.into_iter().zip(&self.layers).map(|(at, it)| (at, 0o644, it.clone()));
        let about = [
            (name, 0o644, config),
            ("manifest.json".to_owned(), 0o644, manifest.to_string().into_bytes()),
        ];
        tar_of(files.chain(about))
    }

    /// As OCI tools write it, with layers packed by gzip; and its manifest's digest.
    pub(crate) fn layout(&self) -> (Vec<u8>, B256) {
        let mut blobs: Vec<Vec<u8>> = self.layers.iter().map(|layer| gzip(layer)).collect();
        let about = |bytes: &[u8]| json!({ "digest": digest(bytes), "size": bytes.len() });
        let config = self.config();
        let manifest = json!({
            "schemaVersion": 2, "config": about(&config),
            "layers": blobs.iter().map(|blob| about(blob)).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({ "schemaVersion": 2, "manifests": [about(&manifest)] });
        let pin = sha256(&manifest);
        blobs.extend([config, manifest]);
        let named = blobs
            .into_iter()
            .map(|blob| (format!("blobs/sha256/{}", hex::encode(sha256(&blob))), 0o644, blob));
        let index = ("index.json".to_owned(), 0o644, index.to_string().into_bytes());
        (tar_of(named.chain([index])), pin)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// The prober's image in a file, written once.
pub(crate) fn prober_image() -> &'static Path {
    static IMAGE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prober.tar");
        fs::write(&path, Image::prober().saved()).unwrap();
        (dir, path)
    });
    path
}
