//! Programs on disk, each fetched once and checked against what is registered.
//!
//! Images of containers are fetched here too: as archives from the gateway or the web, or by name from a registry
//! ([`crate::registry`]), as a directory. What an image is pinned to may be a digest inside of it, so the sandbox checks
//! that.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, hex};
use parking_lot::Mutex;
use primitives::DealId;
use sandbox::{Kind, Sandbox};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;

use crate::deals::{Facts, ProgramAt};
use crate::fetch::{Allowance, FetchError, Fetcher};
use crate::recent::Recent;
use crate::registry::{self, Reference, Wanted};
use crate::trouble::Trouble;

/// Programs kept; the oldest makes room.
const PROGRAMS_KEPT: usize = 64;
const FETCH_TIME: Duration = Duration::from_secs(120);
const FETCH_TIME_IMAGE: Duration = Duration::from_secs(900);

/// A program's file. It stays as long as somebody holds this, also when it was thrown out of the cache meanwhile.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    kind: Kind,
    /// Of WebAssembly that is registered as an image: several apps may name the same file, each with its own checksum.
    sha256: Option<B256>,
}

impl Program {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, whatever it is registered as.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What the sandbox has to check for an app; a program that is no image was checked here.
    pub(crate) fn pin(&self, app: &ProgramAt) -> Option<B256> {
        (self.kind == Kind::Container && !app.checksum.is_zero()).then_some(app.checksum)
    }

    fn check(&self, app: &ProgramAt) -> Result<(), Trouble> {
        match self.sha256 {
            Some(found) if !app.checksum.is_zero() && found != app.checksum => {
                let from = app.address.chars().take(200).collect();
                Err(Trouble::OtherProgram { from, found: found.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// The same program is the same file for all deals. One without a checksum is only the same within its deal: what is
/// behind its address may change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Checksum(B256),
    /// An image by its address, or by the digest in it, which names its content.
    Content(String),
    Unchecked(DealId),
}

type Known = Arc<OnceCell<Arc<Program>>>;

/// Which programs are at hand.
struct Shelf {
    known: Recent<Key, Known>,
    /// Thrown out while somebody ran them. Whoever asks for one meanwhile gets the same, or its file would go under his run.
    leaving: HashMap<Key, Arc<Program>>,
}

impl Shelf {
    fn new(room: usize) -> Self {
        Self { known: Recent::new(room), leaving: HashMap::new() }
    }

    /// A program's place, with the program if it is at hand; and those that nobody needs any more.
    fn place(&mut self, key: &Key) -> (Known, Vec<Arc<Program>>) {
        let back = self.leaving.remove(key);
        let (known, gone) = self.known.get_or_insert(key, || Arc::new(OnceCell::new_with(back)));
        if let Some((key, gone)) = gone
            && let Some(program) = gone.get()
        {
            self.leaving.insert(key, Arc::clone(program));
        }
        let is_free = |_: &Key, program: &mut Arc<Program>| Arc::strong_count(program) == 1;
        let free = self.leaving.extract_if(is_free).map(|(_, program)| program).collect();
        (known, free)
    }

    /// The same; what nobody needs any more loses its name at once and its bytes soon.
    fn tidy_place(&mut self, key: &Key) -> Known {
        let (known, free) = self.place(key);
        for program in free {
            let gone = program.path.with_extension("gone");
            if let Err(error) = std::fs::rename(&program.path, &gone) {
                tracing::debug!(path = %program.path.display(), %error, "removing a program");
                continue;
            }
            tokio::task::spawn_blocking(move || {
                // What stays goes with the next start.
                if let Err(error) = crate::space::remove(&gone) {
                    tracing::debug!(path = %gone.display(), %error, "removing a program");
                }
            });
        }
        known
    }
}

/// The cache.
pub(crate) struct Programs {
    dir: PathBuf,
    fetcher: Fetcher,
    /// What runs images, if anything does.
    images: Option<Sandbox>,
    shelf: Mutex<Shelf>,
}

impl Programs {
    /// A cache in that directory; images are taken in only where something runs them.
    pub(crate) fn new(dir: PathBuf, fetcher: Fetcher, images: Option<Sandbox>) -> Self {
        Self { dir, fetcher, images, shelf: Mutex::new(Shelf::new(PROGRAMS_KEPT)) }
    }

    /// The program of a deal, fetched if it is not here.
    pub(crate) async fn get(&self, facts: &Facts) -> Result<Arc<Program>, Trouble> {
        let program = &facts.program;
        let key = match (program.kind, program.checksum) {
            (Kind::Container, _) => image_key(program, facts.id)?,
            (Kind::Wasm, B256::ZERO) => Key::Unchecked(facts.id),
            (Kind::Wasm, checksum) => Key::Checksum(checksum),
        };
        let known = self.shelf.lock().tidy_place(&key);
        let program = known.get_or_try_init(|| self.load(facts, &key)).await.cloned()?;
        program.check(&facts.program)?;
        Ok(program)
    }

    async fn load(&self, facts: &Facts, key: &Key) -> Result<Arc<Program>, Trouble> {
        if facts.program.kind == Kind::Container
            && let Some(image) = in_registry(&facts.program.address)?
        {
            let path = self.pulled(facts, key, image).await?;
            return Ok(Arc::new(Program { path, kind: Kind::Container, sha256: None }));
        }
        let allowance = match facts.program.kind {
            Kind::Wasm => Allowance { bytes: facts.limits.program_bytes, time: FETCH_TIME },
            Kind::Container if self.images.is_some() => {
                Allowance { bytes: facts.limits.image_bytes, time: FETCH_TIME_IMAGE }
            }
            // It can only be WebAssembly then.
            Kind::Container => Allowance { bytes: facts.limits.program_bytes, time: FETCH_TIME },
        };
        let path = match key {
            Key::Checksum(checksum) => {
                let path = self.dir.join(hex::encode(checksum));
                if !is_intact(path.clone(), *checksum).await {
                    self.fetch(&facts.program, &path, allowance).await?;
                }
                path
            }
            Key::Content(id) => {
                // Whole, since it gets its name when it is; and what is in it, the sandbox checks.
                let path = self.dir.join(format!("image-{id}"));
                if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
                    self.fetch(&facts.program, &path, allowance).await?;
                }
                path
            }
            Key::Unchecked(deal) => {
                let path = self.dir.join(format!("unchecked-{deal}"));
                self.fetch(&facts.program, &path, allowance).await?;
                path
            }
        };
        let kind = match facts.program.kind {
            Kind::Wasm => Kind::Wasm,
            Kind::Container => kind_of(&path).await?,
        };
        let sha256 = match kind {
            Kind::Container => None,
            Kind::Wasm if facts.program.kind == Kind::Wasm => None,
            Kind::Wasm => {
                let hashed = sha256_of(path.clone()).await;
                Some(hashed.map_err(Trouble::host("reading a program"))?)
            }
        };
        Ok(Arc::new(Program { path, kind, sha256 }))
    }

    /// The directory of an image that was pulled, now or before.
    async fn pulled(&self, facts: &Facts, key: &Key, image: Reference) -> Result<PathBuf, Trouble> {
        let Some(sandbox) = &self.images else {
            let no_images = sandbox::FailureKind::NoRuntime { what: "containers" };
            return Err(sandbox::Failure::from(no_images).into());
        };
        let (path, is_known) = match key {
            Key::Content(id) => (self.dir.join(format!("image-{id}")), true),
            _ => (self.dir.join(format!("unchecked-{}", facts.id)), false),
        };
        if is_known && tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(path);
        }
        let part = path.with_extension("part");
        let clear = |path: PathBuf| async move {
            let cleared = tokio::task::spawn_blocking(move || crate::space::remove(&path)).await;
            cleared.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        clear(part.clone()).await.map_err(Trouble::host("making room for an image"))?;
        let limit_bytes = facts.limits.image_bytes;
        if sandbox.save_local(&facts.program.address, &part, limit_bytes).await? {
            tokio::fs::rename(&part, &path).await.map_err(Trouble::host("keeping an image"))?;
            return Ok(path);
        }
        let pin = (!facts.program.checksum.is_zero()).then_some(facts.program.checksum);
        let wanted = Wanted { image, pin, limit_bytes };
        let pulling = registry::pull(&self.fetcher, &wanted, &part, &self.dir);
        let late = |_| FetchError::TooSlow(FETCH_TIME_IMAGE.as_secs()).into();
        let pulled = tokio::time::timeout(FETCH_TIME_IMAGE, pulling).await.map_err(late).flatten();
        if let Err(error) = pulled {
            if let Err(error) = clear(part).await {
                tracing::debug!(%error, "half an image stays behind");
            }
            return Err(Trouble::Registry { image: short(&facts.program.address), error });
        }
        clear(path.clone()).await.map_err(Trouble::host("making room for an image"))?;
        tokio::fs::rename(&part, &path).await.map_err(Trouble::host("keeping an image"))?;
        Ok(path)
    }

    async fn fetch(
        &self,
        program: &ProgramAt,
        path: &Path,
        allowance: Allowance,
    ) -> Result<(), Trouble> {
        let from: String = program.address.chars().take(200).collect();
        let part = path.with_extension("part");
        let checked_here = program.kind == Kind::Wasm && !program.checksum.is_zero();
        let expected = checked_here.then_some(program.checksum);
        let fetched = self.fetcher.to_file(&program.address, &part, allowance, expected).await;
        let fetched = fetched.map_err(|error| match error {
            FetchError::TooLarge(_) if program.kind == Kind::Container && self.images.is_none() => {
                let no_images = sandbox::FailureKind::NoRuntime { what: "containers" };
                Trouble::from(sandbox::Failure::from(no_images))
            }
            error => Trouble::Program { from: from.clone(), error },
        })?;
        if checked_here && fetched.sha256 != program.checksum {
            crate::space::remove_file(&part).await;
            return Err(Trouble::OtherProgram { from, found: fetched.sha256.to_string() });
        }
        tracing::debug!(from, bytes = fetched.bytes, "program fetched");
        tokio::fs::rename(&part, path).await.map_err(Trouble::host("keeping a program"))
    }
}

/// The image that an address names, if it is no place of a file.
fn in_registry(address: &str) -> Result<Option<Reference>, Trouble> {
    let is_file =
        ["/ipfs/", "/p2p/", "http://", "https://"].iter().any(|it| address.starts_with(it));
    if is_file {
        return Ok(None);
    }
    let no_name = || Trouble::NoImageName { image: short(address) };
    Reference::parse(address).map(Some).ok_or_else(no_name)
}

/// An image is known by its content id or its digest, or only within its deal.
fn image_key(program: &ProgramAt, deal: DealId) -> Result<Key, Trouble> {
    if let Some(id) = program.address.strip_prefix("/ipfs/") {
        let plain = id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        return Ok(if plain { Key::Content(id.to_owned()) } else { Key::Unchecked(deal) });
    }
    let Some(image) = in_registry(&program.address)? else { return Ok(Key::Unchecked(deal)) };
    // Both together, since the name's digest and the checksum may be of different parts of it.
    Ok(match (image.digest, program.checksum) {
        (None, B256::ZERO) => Key::Unchecked(deal),
        (digest, checksum) => {
            let mut hash = Sha256::new();
            hash.update(digest.unwrap_or_default());
            hash.update(checksum);
            hash.update(image.origin());
            hash.update(image.name);
            Key::Content(hex::encode(hash.finalize()))
        }
    })
}

fn short(address: &str) -> String {
    address.chars().take(200).collect()
}

/// By its first bytes.
async fn kind_of(path: &Path) -> Result<Kind, Trouble> {
    let mut magic = [0; 4];
    let reading = Trouble::host("reading a program");
    let mut file = tokio::fs::File::open(path).await.map_err(&reading)?;
    match file.read_exact(&mut magic).await {
        Ok(_) if magic == *b"\0asm" => Ok(Kind::Wasm),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(reading(error)),
        _ => Ok(Kind::Container),
    }
}

/// Whether an earlier process left that very program.
async fn is_intact(path: PathBuf, checksum: B256) -> bool {
    matches!(sha256_of(path).await, Ok(found) if found == checksum)
}

async fn sha256_of(path: PathBuf) -> io::Result<B256> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
        Ok(B256::from_slice(&hash.finalize()))
    });
    hashed.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key::Checksum(B256::repeat_byte(1));
    const B: Key = Key::Checksum(B256::repeat_byte(2));

    fn put(shelf: &mut Shelf, key: &Key, name: &str) -> Arc<Program> {
        let program = Arc::new(Program { path: name.into(), kind: Kind::Wasm, sha256: None });
        shelf.place(key).0.set(Arc::clone(&program)).unwrap();
        program
    }

    fn free(shelf: &mut Shelf, key: &Key) -> Vec<PathBuf> {
        shelf.place(key).1.into_iter().map(|program| program.path.clone()).collect()
    }

    #[test]
    fn what_is_thrown_out_while_it_runs_is_taken_up_again() {
        let mut shelf = Shelf::new(1);
        let run = put(&mut shelf, &A, "a");
        assert_eq!(free(&mut shelf, &B), Vec::<PathBuf>::new(), "somebody runs it");
        let (again, _) = shelf.place(&A);
        assert!(again.get().is_some_and(|program| Arc::ptr_eq(program, &run)));
        drop(again);
        assert_eq!(free(&mut shelf, &B), Vec::<PathBuf>::new());
        drop(run);
        assert_eq!(free(&mut shelf, &B), [PathBuf::from("a")], "nobody needs it");
        assert!(shelf.place(&A).0.get().is_none(), "it is fetched anew");
    }
}
