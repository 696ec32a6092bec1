//! Small programs in WebAssembly text. Each is a few calls of WASI preview 1; [`command`] gives them the calls, a memory
//! and two helpers.

/// Assembles a command from its `_start` body and data segments.
///
/// In reach: `$write` (path, its length, bytes, their length; creates a file in `/iexec_out`, descriptor 4),
/// `$print` (descriptor, bytes, length), and every import below. The first 1,024 bytes of memory are scratch.
pub(crate) fn command(data: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $truncate (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $env_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 2)
        (table $table 1 funcref)
        (func $print (param $fd i32) (param $at i32) (param $len i32)
          (i32.store (i32.const 0) (local.get $at))
          (i32.store (i32.const 4) (local.get $len))
          (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func $open (param $path i32) (param $len i32) (result i32)
          (drop (call $path_open (i32.const 4) (i32.const 0) (local.get $path) (local.get $len)
            (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 12)))
          (i32.load (i32.const 12)))
        (func $write (param $path i32) (param $len i32) (param $at i32) (param $n i32)
          (local $fd i32)
          (local.set $fd (call $open (local.get $path) (local.get $len)))
          (call $print (local.get $fd) (local.get $at) (local.get $n))
          (drop (call $fd_close (local.get $fd))))
        ;; Prints the input whose name is the one letter there, as far as it fits into a page.
        (func $copy (param $name i32)
          (drop (call $path_open (i32.const 3) (i32.const 0) (local.get $name) (i32.const 1)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12)))
          (i32.store (i32.const 0) (i32.const 8192))
          (i32.store (i32.const 4) (i32.const 4096))
          (drop (call $fd_read (i32.load (i32.const 12)) (i32.const 0) (i32.const 1) (i32.const 8)))
          (call $print (i32.const 1) (i32.const 8192) (i32.load (i32.const 8))))
        {data}
        (func $declare (call $write (i32.const 1024) (i32.const 13) (i32.const 1040) (i32.const 53)))
        (data (i32.const 1024) "computed.json")
        (data (i32.const 1040) "{{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}}")
        (func (export "_start") {body}))"#
    );
    wat::parse_str(text).unwrap()
}

/// Prints a text and declares it as the result.
pub(crate) fn printing(text: &str) -> Vec<u8> {
    let escaped = text.replace('\n', "\\n");
    command(
        &format!(r#"(data (i32.const 2048) "{escaped}")"#),
        &format!(
            "(call $print (i32.const 1) (i32.const 2048) (i32.const {})) (call $declare)",
            text.len()
        ),
    )
}
