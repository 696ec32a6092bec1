//! WASI preview 1, with the four calls replaced through which the host would show: listing a directory, the two that
//! tell a file's metadata, and waiting.
//!
//! - `fd_readdir` lists in the order of names instead of the file system's;
//! - `fd_filestat_get` and `path_filestat_get` tell no inode, device or times;
//! - `poll_oneoff` on clocks alone moves the virtual clock instead of sleeping.

use wasmtime::{AsContextMut, Caller, Engine, Extern, Linker};
use wasmtime_wasi::p1::{add_to_linker_async, wasi_snapshot_preview1 as wasi};
use wiggle::GuestMemory;

use super::State;
use super::determinism::VirtualClock;

/// The module that a WASI preview 1 program imports from.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const FAULT: i32 = 21;
const INVAL: i32 = 28;

/// `filestat`: 64 bytes, of which these parts tell about the host: device and inode, then three times.
const FILESTAT_BYTES: usize = 64;
const FILESTAT_HOST_PARTS: [std::ops::Range<usize>; 2] = [0..16, 40..64];

pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    linker.allow_shadowing(true);
    linker.func_wrap_async(
        MODULE,
        "fd_filestat_get",
        |mut caller: Caller<'_, State>, (fd, out): (i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let errno = wasi::fd_filestat_get(
                    &mut state.wasi,
                    &mut GuestMemory::Unshared(memory),
                    fd,
                    out,
                )
                .await?;
                blank_filestat(memory, out, errno);
                Ok::<i32, wasmtime::Error>(errno)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "path_filestat_get",
        |mut caller: Caller<'_, State>, (fd, flags, path, len, out): (i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let mut guest = GuestMemory::Unshared(memory);
                let errno =
                    wasi::path_filestat_get(&mut state.wasi, &mut guest, fd, flags, path, len, out)
                        .await?;
                blank_filestat(memory, out, errno);
                Ok::<i32, wasmtime::Error>(errno)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_readdir",
        |mut caller: Caller<'_, State>, (fd, buf, len, cookie, out): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                read_dir(memory, state, fd, (buf, len), cookie, out).await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, State>, (subs, events, count, out): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                if let Some(errno) = sleep(memory, &state.clock, subs, events, count, out) {
                    return Ok(errno);
                }
                let mut guest = GuestMemory::Unshared(memory);
                wasi::poll_oneoff(&mut state.wasi, &mut guest, subs, events, count, out).await
            })
        },
    )?;
    Ok(linker)
}

/// The program's memory and its state.
fn parts<'a>(caller: &'a mut Caller<'_, State>) -> wasmtime::Result<(&'a mut [u8], &'a mut State)> {
    // How much one call may copy; the wrappers that these calls replace set it the same way.
    let fuel = caller.as_context_mut().hostcall_fuel();
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let (memory, state) = memory.data_and_store_mut(caller);
            wasi::WasiSnapshotPreview1::set_hostcall_fuel(&mut state.wasi, fuel);
            Ok((memory, state))
        }
        _ => Err(wasmtime::Error::msg("the program exports no memory")),
    }
}

/// A piece of the program's memory, if it is all there.
fn slice(memory: &mut [u8], at: i32, len: usize) -> Option<&mut [u8]> {
    let at = at.cast_unsigned() as usize;
    memory.get_mut(at..at.checked_add(len)?)
}

fn blank_filestat(memory: &mut [u8], out: i32, errno: i32) {
    if errno != SUCCESS {
        return;
    }
    if let Some(stat) = slice(memory, out, FILESTAT_BYTES) {
        for part in FILESTAT_HOST_PARTS {
            stat[part].fill(0);
        }
    }
}

/// The header of a directory entry: `d_next`, `d_ino`, `d_namlen`, `d_type`.
const DIRENT_BYTES: usize = 24;
/// A directory whose listing is longer than this is refused: some ten thousand files of ordinary names.
const MAX_LISTING: usize = 4 << 20;

async fn read_dir(
    memory: &mut [u8],
    state: &mut State,
    fd: i32,
    (buf, len): (i32, i32),
    cookie: i64,
    out: i32,
) -> wasmtime::Result<i32> {
    let (errno, listing) = list(state, fd).await?;
    if errno != SUCCESS {
        return Ok(errno);
    }
    let skip = usize::try_from(cookie).unwrap_or(usize::MAX);
    let all = sorted(&listing, skip);
    let len = len.cast_unsigned() as usize;
    let used = all.len().min(len);
    let Some(into) = slice(memory, buf, len) else { return Ok(FAULT) };
    into[..used].copy_from_slice(&all[..used]);
    let Some(into) = slice(memory, out, 4) else { return Ok(FAULT) };
    into.copy_from_slice(&u32::try_from(used)?.to_le_bytes());
    Ok(SUCCESS)
}

/// The host's whole listing of a directory, asked for through a memory of our own.
async fn list(state: &mut State, fd: i32) -> wasmtime::Result<(i32, Vec<u8>)> {
    let mut room = 16 << 10;
    loop {
        // The first eight bytes take the answer's length.
        let mut scratch = vec![0; 8 + room];
        let mut guest = GuestMemory::Unshared(&mut scratch);
        let errno =
            wasi::fd_readdir(&mut state.wasi, &mut guest, fd, 8, i32::try_from(room)?, 0, 0)
                .await?;
        if errno != SUCCESS {
            return Ok((errno, Vec::new()));
        }
        let used = u32_at(&scratch, 0) as usize;
        if used < room {
            scratch.truncate(8 + used);
            scratch.drain(..8);
            return Ok((SUCCESS, scratch));
        }
        if room >= MAX_LISTING {
            return Err(wasmtime::Error::msg(
                "a directory of the program has too many files to be listed",
            ));
        }
        room *= 4;
    }
}

/// The same entries by name, renumbered, without inodes, from the entry after `skip` on.
fn sorted(listing: &[u8], skip: usize) -> Vec<u8> {
    let mut entries: Vec<(&[u8], &[u8])> = Vec::new();
    let mut rest = listing;
    while rest.len() >= DIRENT_BYTES {
        let (header, after) = rest.split_at(DIRENT_BYTES);
        let Some((name, after)) = after.split_at_checked(u32_at(header, 16) as usize) else {
            break;
        };
        entries.push((name, header));
        rest = after;
    }
    entries.sort();
    let mut bytes = Vec::new();
    for ((name, header), next) in entries.into_iter().zip(1_u64..).skip(skip) {
        bytes.extend_from_slice(&next.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&header[16..]);
        bytes.extend_from_slice(name);
    }
    bytes
}

const SUBSCRIPTION_BYTES: usize = 48;
const EVENT_BYTES: usize = 32;
const CLOCK: u8 = 0;
const REALTIME: u32 = 0;
const ABSOLUTE: u16 = 1;

/// Waits for the first of several clocks by moving time there. Nothing if it waits for anything else too: files and the
/// captured streams are always ready, so that never sleeps.
fn sleep(
    memory: &mut [u8],
    clock: &VirtualClock,
    subs: i32,
    events: i32,
    count: i32,
    out: i32,
) -> Option<i32> {
    let count = count.cast_unsigned() as usize;
    if count == 0 {
        return Some(INVAL);
    }
    let Some(all) = slice(memory, subs, count.checked_mul(SUBSCRIPTION_BYTES)?) else {
        return Some(FAULT);
    };
    let (unix_ns, elapsed_ns) = (clock.unix_ns(), clock.elapsed_ns());
    let mut first: Option<(u64, u64)> = None;
    for sub in all.chunks_exact(SUBSCRIPTION_BYTES) {
        if sub[8] != CLOCK {
            return None;
        }
        let timeout = u64_at(sub, 24);
        let absolute = u16::from_le_bytes([sub[40], sub[41]]) & ABSOLUTE != 0;
        let now = if u32_at(sub, 16) == REALTIME { unix_ns } else { elapsed_ns };
        let wait = if absolute { timeout.saturating_sub(now) } else { timeout };
        if first.is_none_or(|(shortest, _)| wait < shortest) {
            first = Some((wait, u64_at(sub, 0)));
        }
    }
    let (wait, userdata) = first?;
    clock.advance(wait);
    let Some(event) = slice(memory, events, EVENT_BYTES) else { return Some(FAULT) };
    event.fill(0);
    event[..8].copy_from_slice(&userdata.to_le_bytes());
    let Some(happened) = slice(memory, out, 4) else { return Some(FAULT) };
    happened.copy_from_slice(&1_u32.to_le_bytes());
    Some(SUCCESS)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
