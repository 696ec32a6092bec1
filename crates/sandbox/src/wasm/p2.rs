//! WASI preview 2, with the calls replaced through which the host would show, as in preview 1: metadata of files tells no
//! times and no identity, directories list in the order of names, and waiting for a clock moves the virtual clock.

use std::collections::{HashMap, VecDeque};

use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime::{Engine, StoreContextMut};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::filesystem::WasiFilesystemView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorStat, DirectoryEntry, DirectoryEntryStream, ErrorCode, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, add_to_linker_async};

use super::State;

/// Directory listings being read, in order, by the stream's handle.
pub(super) type Listings = HashMap<u32, VecDeque<DirectoryEntry>>;

/// The versions of the interfaces that the bindings are made from; older ones of 0.2 resolve to them.
const FILES: &str = "wasi:filesystem/types@0.2.12";
const CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";

pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    add_to_linker_async(&mut linker)?;
    linker.allow_shadowing(true);
    metadata(&mut linker.instance(FILES)?)?;
    listings(&mut linker.instance(FILES)?)?;
    waiting(&mut linker.instance(CLOCK)?)?;
    Ok(linker)
}

/// An error that the program may see, or one that ends it.
fn answer<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => error.downcast().map(|code| (Err(code),)),
    }
}

fn blank(stat: DescriptorStat) -> DescriptorStat {
    DescriptorStat {
        data_access_timestamp: None,
        data_modification_timestamp: None,
        status_change_timestamp: None,
        ..stat
    }
}

const NO_IDENTITY: MetadataHashValue = MetadataHashValue { lower: 0, upper: 0 };

fn metadata(files: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    files.func_wrap_async(
        "[method]descriptor.stat",
        |mut store: StoreContextMut<'_, State>, (fd,): (Resource<Descriptor>,)| {
            Box::new(async move { answer(store.data_mut().filesystem().stat(fd).await.map(blank)) })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut store: StoreContextMut<'_, State>,
         (fd, flags, path): (Resource<Descriptor>, PathFlags, String)| {
            Box::new(async move {
                answer(store.data_mut().filesystem().stat_at(fd, flags, path).await.map(blank))
            })
        },
    )?;
    // Asked of the host all the same, so that a missing file is still an error.
    files.func_wrap_async(
        "[method]descriptor.metadata-hash",
        |mut store: StoreContextMut<'_, State>, (fd,): (Resource<Descriptor>,)| {
            Box::new(async move {
                answer(store.data_mut().filesystem().metadata_hash(fd).await.map(|_| NO_IDENTITY))
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.metadata-hash-at",
        |mut store: StoreContextMut<'_, State>,
         (fd, flags, path): (Resource<Descriptor>, PathFlags, String)| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                answer(files.metadata_hash_at(fd, flags, path).await.map(|_| NO_IDENTITY))
            })
        },
    )
}

fn listings(files: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    files.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, State>, (fd,): (Resource<Descriptor>,)| {
            Box::new(async move { answer(open_listing(store.data_mut(), fd).await) })
        },
    )?;
    files.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<DirectoryEntryStream>,)| {
            Box::new(async move {
                let listing = store.data_mut().listings.get_mut(&stream.rep());
                answer(Ok(listing.and_then(VecDeque::pop_front)))
            })
        },
    )
}

/// Reads the whole directory and keeps it, sorted, for the stream that the program gets.
async fn open_listing(
    state: &mut State,
    fd: Resource<Descriptor>,
) -> FsResult<Resource<DirectoryEntryStream>> {
    let stream = state.filesystem().read_directory(fd).await?;
    let mut entries = Vec::new();
    while let Some(entry) =
        state.filesystem().read_directory_entry(Resource::new_borrow(stream.rep())).await?
    {
        entries.push(entry);
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    // A handle that was used before is used again only once its stream is gone: nothing is overwritten that is needed.
    state.listings.insert(stream.rep(), entries.into());
    Ok(stream)
}

fn waiting(clock: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    clock.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, State>, (wait,): (u64,)| {
            let state = store.data_mut();
            state.clock.advance(wait);
            state.clocks().subscribe_duration(0).map(|ready| (ready,))
        },
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut store: StoreContextMut<'_, State>, (when,): (u64,)| {
            let state = store.data_mut();
            state.clock.advance(when.saturating_sub(state.clock.elapsed_ns()));
            state.clocks().subscribe_duration(0).map(|ready| (ready,))
        },
    )
}
