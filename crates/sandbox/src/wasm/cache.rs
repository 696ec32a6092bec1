//! Compiled programs, in memory and on disk, by the hash of the program.
//!
//! Loading compiled code means running it unchecked, so a file of the cache counts only when its seal is right: a keyed
//! hash over the engine, the program and the code, with a key that lives in the same private directory. That keeps out
//! torn writes, files of another engine version, and anybody who may write the directory but not read it.

use std::collections::HashMap;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::B256;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, InstancePre, Module, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use super::{State, p1, p2, read_program};
use crate::FailureKind;
use crate::run::{Config, private_dir};

/// A program ready to be started any number of times.
#[derive(Clone)]
pub(super) enum Program {
    /// A WASI preview 1 module.
    Module(InstancePre<State>),
    /// A WASI preview 2 component.
    Component(CommandPre<State>),
}

impl Program {
    /// Runs it to its end. An exit code comes back as an error, as it does from wasmtime.
    pub(super) async fn start(&self, store: &mut Store<State>) -> wasmtime::Result<()> {
        match self {
            Self::Module(module) => {
                let instance = module.instantiate_async(&mut *store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
                start.call_async(store, ()).await
            }
            Self::Component(component) => {
                let command = component.instantiate_async(&mut *store).await?;
                let ended = command.wasi_cli_run().call_run(store).await?;
                ended.map_err(|()| wasmtime_wasi::I32Exit(1).into())
            }
        }
    }
}

/// What kind of WebAssembly a file is, by its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    Component,
}

pub(super) struct Cache {
    engine: Engine,
    modules: wasmtime::Linker<State>,
    components: wasmtime::component::Linker<State>,
    disk: Disk,
    /// The second value orders uses, for eviction.
    ready: Mutex<(HashMap<B256, Slot>, u64)>,
    capacity: usize,
}

struct Slot {
    program: Arc<Mutex<Option<Program>>>,
    used: u64,
}

impl Cache {
    pub(super) fn open(engine: Engine, config: &Config) -> wasmtime::Result<Self> {
        let modules = p1::linker(&engine)?;
        let components = p2::linker(&engine)?;
        let disk = Disk::open(&config.dir.join("programs"), &engine, config.cached_bytes)?;
        let ready = Mutex::new((HashMap::new(), 0));
        Ok(Self {
            engine,
            modules,
            components,
            disk,
            ready,
            capacity: config.cached_programs.max(1),
        })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The program in that file, compiled at most once at a time.
    pub(super) fn program(&self, path: &Path, max_bytes: u64) -> Result<Program, FailureKind> {
        let bytes = read_program(path, max_bytes)?;
        let kind = kind_of(&bytes)?;
        let hash = B256::from_slice(&Sha256::digest(&bytes));
        let slot = self.slot(hash);
        // Others who want the same program wait here for one compilation.
        let mut program = slot.lock();
        if let Some(program) = &*program {
            return Ok(program.clone());
        }
        let made = match kind {
            Kind::Module => self.module(hash, &bytes)?,
            Kind::Component => self.component(hash, &bytes)?,
        };
        *program = Some(made.clone());
        Ok(made)
    }

    fn slot(&self, hash: B256) -> Arc<Mutex<Option<Program>>> {
        let mut ready = self.ready.lock();
        let (slots, clock) = &mut *ready;
        *clock += 1;
        if !slots.contains_key(&hash) && slots.len() >= self.capacity {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(hash, _)| *hash);
            oldest.and_then(|hash| slots.remove(&hash));
        }
        let slot = slots.entry(hash).or_insert_with(|| Slot { program: Arc::default(), used: 0 });
        slot.used = *clock;
        slot.program.clone()
    }

    fn module(&self, hash: B256, bytes: &[u8]) -> Result<Program, FailureKind> {
        let module = match self.disk.load(hash).and_then(|code| load_module(&self.engine, &code)) {
            Some(module) => module,
            None => {
                let module =
                    Module::new(&self.engine, bytes).map_err(|error| uncompilable(&error))?;
                self.disk.keep(hash, module.serialize());
                module
            }
        };
        if module.get_export("_start").is_none() {
            return Err(FailureKind::NoEntryPoint);
        }
        if let Some(import) = module.imports().find(|import| import.module() != p1::MODULE) {
            return Err(FailureKind::MissingImport {
                name: format!("{}::{}", import.module(), import.name()),
            });
        }
        self.modules
            .instantiate_pre(&module)
            .map(Program::Module)
            .map_err(|error| missing_import(&error))
    }

    fn component(&self, hash: B256, bytes: &[u8]) -> Result<Program, FailureKind> {
        let component =
            match self.disk.load(hash).and_then(|code| load_component(&self.engine, &code)) {
                Some(component) => component,
                None => {
                    let component = Component::new(&self.engine, bytes)
                        .map_err(|error| uncompilable(&error))?;
                    self.disk.keep(hash, component.serialize());
                    component
                }
            };
        let linked =
            self.components.instantiate_pre(&component).map_err(|error| missing_import(&error))?;
        CommandPre::new(linked).map(Program::Component).map_err(|_| FailureKind::NoEntryPoint)
    }
}

fn kind_of(bytes: &[u8]) -> Result<Kind, FailureKind> {
    let looks_like = match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Ok(Kind::Module),
        [0, b'a', b's', b'm', _, 0, 1, 0, ..] => return Ok(Kind::Component),
        [0, b'a', b's', b'm', ..] => "WebAssembly of a version that is not known",
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', ..] => "a native Linux program (ELF)",
        [b'#', b'!', ..] => "a script",
        [b'M', b'Z', ..] => "a native Windows program",
        [b'(', ..] => "WebAssembly text: assemble it first",
        [b'P', b'K', ..] => "a zip archive",
        _ => "a file of another kind",
    };
    Err(FailureKind::NotWasm { detail: format!("it is {looks_like}") })
}

fn uncompilable(error: &wasmtime::Error) -> FailureKind {
    FailureKind::Uncompilable { detail: one_line(error) }
}

fn missing_import(error: &wasmtime::Error) -> FailureKind {
    // wasmtime names it between backquotes: unknown import: `module::name` has not been defined
    let text = one_line(error);
    let name = text.split('`').nth(1).unwrap_or(&text);
    FailureKind::MissingImport { name: name.to_owned() }
}

fn one_line(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(300).collect()
}

#[expect(unsafe_code, reason = "loads compiled code, whose seal the disk cache has just checked")]
fn load_module(engine: &Engine, code: &[u8]) -> Option<Module> {
    // SAFETY: the bytes are what this engine wrote, proved by a keyed hash; wasmtime checks version and settings too.
    unsafe { Module::deserialize(engine, code).ok() }
}

#[expect(unsafe_code, reason = "loads compiled code, whose seal the disk cache has just checked")]
fn load_component(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: as for modules.
    unsafe { Component::deserialize(engine, code).ok() }
}

/// The part on disk. Losing any of it only costs a compilation, so its errors are not the caller's.
struct Disk {
    dir: PathBuf,
    key: [u8; 32],
    /// Which engine wrote the code.
    engine: [u8; 32],
    max_bytes: u64,
}

impl Disk {
    fn open(dir: &Path, engine: &Engine, max_bytes: u64) -> io::Result<Self> {
        private_dir(dir)?;
        let mut settings = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut settings);
        let key = read_or_make_key(&dir.join("key"))?;
        Ok(Self { dir: dir.to_owned(), key, engine: settings.0.finalize().into(), max_bytes })
    }

    fn path(&self, hash: B256) -> PathBuf {
        self.dir.join(format!("{hash:x}.cwasm"))
    }

    fn seal(&self, hash: B256, code: &[u8]) -> [u8; 32] {
        let inner = Sha256::new()
            .chain_update(self.key)
            .chain_update(self.engine)
            .chain_update(hash)
            .chain_update(code);
        Sha256::new().chain_update(self.key).chain_update(inner.finalize()).finalize().into()
    }

    fn load(&self, hash: B256) -> Option<Vec<u8>> {
        let mut file = fs::read(self.path(hash)).ok()?;
        let code = file.split_off(32.min(file.len()));
        (file == self.seal(hash, &code)).then_some(code)
    }

    fn keep(&self, hash: B256, code: wasmtime::Result<Vec<u8>>) {
        let Ok(code) = code else { return };
        let kept = tempfile::NamedTempFile::new_in(&self.dir).and_then(|mut file| {
            file.write_all(&self.seal(hash, &code))?;
            file.write_all(&code)?;
            file.persist(self.path(hash)).map_err(|error| error.error)
        });
        if let Err(error) = kept.and_then(|_| self.make_room()) {
            tracing::warn!(%error, "a compiled program could not be kept on disk");
        }
    }

    /// Removes the oldest until the rest fits.
    fn make_room(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
                let meta = entry.metadata()?;
                kept.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in kept {
            if total <= self.max_bytes {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    if let Some(key) = fs::read(path).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Ok(key);
    }
    let key = B256::random().0;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(key)
}

/// Feeds whatever an engine says about itself into a stable hash.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash: [u8; 32] = self.0.clone().finalize().into();
        u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";

    /// A cache in that directory, and whether the program was there already.
    fn check(dir: &Path, want_kept: bool) {
        let engine = super::super::engine().unwrap();
        let bytes = wat::parse_str(ANSWER).unwrap();
        let path = dir.join("app.wasm");
        fs::write(&path, &bytes).unwrap();
        let cache = Cache::open(engine, &Config::new(dir, 1)).unwrap();
        let hash = B256::from_slice(&Sha256::digest(&bytes));
        assert_eq!(cache.disk.load(hash).is_some(), want_kept);
        assert!(cache.program(&path, 1_000).is_ok());
        assert!(cache.disk.load(hash).is_some(), "kept from now on");
    }

    fn kept_file(dir: &Path) -> PathBuf {
        let mut files =
            fs::read_dir(dir.join("programs")).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == "cwasm")).unwrap()
    }

    #[test]
    fn compiled_programs_outlive_the_process_unless_somebody_touched_them() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), false);
        check(dir.path(), true);
        let mut code = fs::read(kept_file(dir.path())).unwrap();
        *code.last_mut().unwrap() ^= 1;
        fs::write(kept_file(dir.path()), code).unwrap();
        check(dir.path(), false);
        fs::write(kept_file(dir.path()), b"short").unwrap();
        check(dir.path(), false);
        fs::remove_file(dir.path().join("programs/key")).unwrap();
        check(dir.path(), false);
    }

    #[test]
    fn the_oldest_code_goes_when_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path(), &super::super::engine().unwrap(), 300).unwrap();
        for n in 0..5 {
            disk.keep(B256::repeat_byte(n), Ok(vec![0; 100]));
        }
        let left = (0..5).filter(|n| disk.load(B256::repeat_byte(*n)).is_some()).count();
        assert_eq!(left, 2, "132 bytes each, of 300");
    }
}
