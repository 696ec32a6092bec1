;; Prints its arguments, a line each, and then its environment, a line each; what was printed is its result. Says one
;; word on stderr, so that logs have something of both.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 512) "computed.json")
  (data (i32.const 544) "{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}")
  (data (i32.const 640) "echoed\n")

  (func $print (param $descriptor i32) (param $text i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (local.get $descriptor) (i32.const 0) (i32.const 1) (i32.const 8))))

  ;; Ends every one of these strings with a new line instead of a zero, and prints them.
  (func $lines (param $text i32) (param $length i32)
    (local $at i32)
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $at) (local.get $length)))
        (if (i32.eqz (i32.load8_u (i32.add (local.get $text) (local.get $at))))
          (then (i32.store8 (i32.add (local.get $text) (local.get $at)) (i32.const 10))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (call $print (i32.const 1) (local.get $text) (local.get $length)))

  (func (export "_start")
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 4096) (i32.const 16384)))
    (call $lines (i32.const 16384) (i32.load (i32.const 20)))
    (drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $environ_get (i32.const 4096) (i32.const 65536)))
    (call $lines (i32.const 65536) (i32.load (i32.const 20)))
    (call $print (i32.const 2) (i32.const 640) (i32.const 7))
    ;; descriptor 4 is /iexec_out
    (drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 512) (i32.const 13)
      (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 24)))
    (call $print (i32.load (i32.const 24)) (i32.const 544) (i32.const 53))
    (drop (call $fd_close (i32.load (i32.const 24))))))
