;; Prints the inputs that its arguments name, one after the other; an input that is not there is left out. What was printed
;; is its result.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 512) "computed.json")
  (data (i32.const 544) "{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}")

  (func $print (param $descriptor i32) (param $text i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (local.get $descriptor) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $length (param $text i32) (result i32)
    (local $at i32)
    (local.set $at (local.get $text))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.sub (local.get $at) (local.get $text)))

  ;; Descriptor 3 is /iexec_in.
  (func $copy (param $name i32)
    (if (call $path_open (i32.const 3) (i32.const 1) (local.get $name) (call $length (local.get $name))
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 24))
      (then (return)))
    (block $done
      (loop $next
        (i32.store (i32.const 32) (i32.const 131072))
        (i32.store (i32.const 36) (i32.const 65536))
        (br_if $done (call $fd_read (i32.load (i32.const 24)) (i32.const 32) (i32.const 1) (i32.const 40)))
        (br_if $done (i32.eqz (i32.load (i32.const 40))))
        (call $print (i32.const 1) (i32.const 131072) (i32.load (i32.const 40)))
        (br $next)))
    (drop (call $fd_close (i32.load (i32.const 24)))))

  (func (export "_start")
    (local $number i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (drop (call $args_get (i32.const 4096) (i32.const 16384)))
    (local.set $number (i32.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $number) (i32.load (i32.const 16))))
        (call $copy (i32.load (i32.add (i32.const 4096) (i32.shl (local.get $number) (i32.const 2)))))
        (local.set $number (i32.add (local.get $number) (i32.const 1)))
        (br $next)))
    ;; Descriptor 4 is /iexec_out.
    (drop (call $path_open (i32.const 4) (i32.const 0) (i32.const 512) (i32.const 13)
      (i32.const 1) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 24)))
    (call $print (i32.load (i32.const 24)) (i32.const 544) (i32.const 53))
    (drop (call $fd_close (i32.load (i32.const 24))))))
