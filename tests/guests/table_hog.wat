;; Grows a table on every event until it is refused, then traps.
;;
;; A core module by hand, for world `bot`, as no compiler makes a `table.grow`. The tests encode it as a component. It is
;; the one guest that does not answer `!ping`: every event is one too many.
(module
  (memory (export "memory") 1)
  (table $elements 0 funcref)

  ;; The first free byte. All below 1,024 is what the exports return.
  (global $free (mut i32) (i32.const 1024))

  ;; Where the manifest and the result lie: see the layouts below.
  (global $manifest i32 (i32.const 0))
  (global $result i32 (i32.const 64))

  ;; `manifest`: name, version, summary, commands, wants as (pointer, length) from byte 0 on; no settings schema (byte 40).
  (data (i32.const 0) "\80\00\00\00\09\00\00\00" "\90\00\00\00\05\00\00\00")
  (data (i32.const 128) "table_hog")
  (data (i32.const 144) "0.1.0")

  ;; Hands out memory in ascending order and takes none back: an instance lives for one event.
  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    ;; The next multiple of the alignment, which is a power of two.
    (local.set $start
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $start) (local.get $size)))
    (block $enough
      (loop $grow
        (br_if $enough
          (i32.le_u (global.get $free) (i32.shl (memory.size) (i32.const 16))))
        (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        unreachable))
    ;; A block that grows takes its content along.
    (memory.copy (local.get $start) (local.get $old) (local.get $old_size))
    (local.get $start))

  (func (export "bothost:bot/guest@0.1.0#describe") (result i32)
    (global.get $manifest))

  ;; Returns `ok`: a result whose first byte is 0.
  (func (export "bothost:bot/guest@0.1.0#init") (param $reason i32) (result i32)
    (global.get $result))

  (func (export "bothost:bot/guest@0.1.0#handle") (param $event i32) (result i32)
    (loop $grow
      (br_if $grow
        (i32.ne
          (table.grow $elements (ref.null func) (i32.const 1000))
          (i32.const -1))))
    unreachable))
