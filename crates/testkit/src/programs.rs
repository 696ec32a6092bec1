//! Small WebAssembly programs, put together from text: good ones, and bad ones that each fail in their own way.

use anyhow::Result;

/// What every program here can use: `$print` to a descriptor, `$save` as a file among the results, `$declare` that what
/// was printed is the result.
const LIBRARY: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write"
      (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (data (i32.const 512) "computed.json")
    (data (i32.const 544) "{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}")
    (func $print (param $descriptor i32) (param $text i32) (param $length i32)
      (i32.store (i32.const 0) (local.get $text))
      (i32.store (i32.const 4) (local.get $length))
      (drop (call $fd_write (local.get $descriptor) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $save (param $name i32) (param $name_length i32) (param $text i32) (param $length i32)
      (drop (call $path_open (i32.const 4) (i32.const 0)
        (local.get $name) (local.get $name_length)
        (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 16)))
      (call $print (i32.load (i32.const 16)) (local.get $text) (local.get $length))
      (drop (call $fd_close (i32.load (i32.const 16)))))
    (func $declare
      (call $save (i32.const 512) (i32.const 13) (i32.const 544) (i32.const 53)))
"#;

fn program(data: &str, body: &str) -> Result<Vec<u8>> {
    let text = format!(r#"(module {LIBRARY} {data} (func (export "_start") {body}))"#);
    Ok(wat::parse_str(text)?)
}

/// A program that does something, prints, and does something more.
fn printing(text: &str, before: &str, after: &str) -> Result<Vec<u8>> {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let data = format!(r#"(data (i32.const 1024) "{escaped}")"#);
    let print = format!("(call $print (i32.const 1) (i32.const 1024) (i32.const {}))", text.len());
    program(&data, &format!("{before} {print} {after}"))
}

/// Prints that text, which is its result.
pub fn greeting(text: &str) -> Result<Vec<u8>> {
    printing(text, "", "(call $declare)")
}

/// Gives those bytes to the contract that its deal names.
pub fn caller(data: &[u8]) -> Result<Vec<u8>> {
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    let declared = format!(r#"{{\"callback-data\":\"0x{hex}\"}}"#);
    let length = declared.replace('\\', "").len();
    let data = format!(r#"(data (i32.const 1024) "{declared}")"#);
    let save = "(call $save (i32.const 512) (i32.const 13) (i32.const 1024)";
    program(&data, &format!("{save} (i32.const {length}))"))
}

/// The same after so many turns of a loop: a few million take some milliseconds.
pub fn slow_greeting(text: &str, turns: u64) -> Result<Vec<u8>> {
    let wait = format!(
        "(loop $again
           (local.set $left (i64.add (local.get $left) (i64.const 1)))
           (br_if $again (i64.ne (local.get $left) (i64.const {turns}))))"
    );
    printing(text, &format!("(local $left i64) {wait}"), "(call $declare)")
}

/// Bytes that [`bulk`] writes at a time.
const BULK_PIECE: u64 = 65_536;

/// Writes a file of so many bytes that no packing makes smaller, which is its result.
pub fn bulk(bytes: u64) -> Result<Vec<u8>> {
    let data = r#"(data (i32.const 1024) "bulk.bin")
        (data (i32.const 1040) "{\"deterministic-output-path\":\"/iexec_out/bulk.bin\"}")"#;
    let body = format!(
        "(local $word i64) (local $at i32) (local $left i64)
         (local.set $word (i64.const 0x2545f4914f6cdd1d))
         (local.set $left (i64.const {bytes}))
         (drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 1024) (i32.const 8)
           (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 16)))
         (loop $piece
           (local.set $at (i32.const {BULK_PIECE}))
           (loop $fill
             (local.set $word (i64.xor (local.get $word) (i64.shl (local.get $word) (i64.const 13))))
             (local.set $word (i64.xor (local.get $word) (i64.shr_u (local.get $word) (i64.const 7))))
             (local.set $word (i64.xor (local.get $word) (i64.shl (local.get $word) (i64.const 17))))
             (i64.store (local.get $at) (local.get $word))
             (local.set $at (i32.add (local.get $at) (i32.const 8)))
             (br_if $fill (i32.lt_u (local.get $at) (i32.const {end}))))
           (call $print (i32.load (i32.const 16)) (i32.const {BULK_PIECE})
             (select (i32.const {BULK_PIECE}) (i32.wrap_i64 (local.get $left))
               (i64.gt_u (local.get $left) (i64.const {BULK_PIECE}))))
           (local.set $left (i64.sub (local.get $left) (i64.extend_i32_u (i32.load (i32.const 8)))))
           (br_if $piece (i64.gt_s (local.get $left) (i64.const 0))))
         (drop (call $fd_close (i32.load (i32.const 16))))
         (call $save (i32.const 512) (i32.const 13) (i32.const 1040) (i32.const 51))",
        end = 2 * BULK_PIECE,
    );
    program(data, &body)
}

/// Ends in a trap, after a last word.
pub fn trap() -> Result<Vec<u8>> {
    printing("about to fall\n", "", "(unreachable)")
}

/// Takes memory until there is none.
pub fn glutton() -> Result<Vec<u8>> {
    program("", "(loop $again (drop (memory.grow (i32.const 256))) (br $again))")
}

/// Never ends.
pub fn treadmill() -> Result<Vec<u8>> {
    program("", "(loop $again (br $again))")
}

/// Ends well and says nothing about its result.
pub fn silent() -> Result<Vec<u8>> {
    printing("I did it\n", "", "")
}

/// Ends with an exit code of its own.
pub fn quitter() -> Result<Vec<u8>> {
    printing("no input\n", "", "(call $exit (i32.const 3))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_are_well_formed() {
        let all = [
            greeting("a \"b\"\n"),
            caller(b"abc"),
            trap(),
            glutton(),
            treadmill(),
            silent(),
            quitter(),
            slow_greeting("x", 9),
            bulk(1 << 20),
        ];
        for program in all {
            assert!(program.unwrap().starts_with(b"\0asm"));
        }
    }
}
