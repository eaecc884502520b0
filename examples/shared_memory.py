"""NumPy and a module work on the same bytes: no copies, also after the memory has grown.

Needs NumPy (`pip install numpy`), which tinywasm itself does not.

Prints:

    brightened: [ 40 140 240 255 255]
    the view still shows the memory: [  1 140 240 255 255]
    inverted: [254 115  15   0   0]
    16777216 bytes are 256 pages
"""

import tinywasm

try:
    import numpy as np
except ImportError:
    raise SystemExit("this example needs NumPy: pip install numpy") from None

PIXELS = """
(module
  (memory (export "memory") 1)
  (func (export "brighten") (param $address i32) (param $count i32) (param $by i32) (local $value i32)
    (loop $next
      (local.set $value (i32.add (i32.load8_u (local.get $address)) (local.get $by)))
      (if (i32.gt_u (local.get $value) (i32.const 255)) (then (local.set $value (i32.const 255))))
      (i32.store8 (local.get $address) (local.get $value))
      (local.set $address (i32.add (local.get $address) (i32.const 1)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $next (local.get $count))))
  (func (export "grow") (param i32) (drop (memory.grow (local.get 0)))))
"""

instance = tinywasm.instantiate(PIXELS)
memory, store = instance.exports.memory, instance.store

# `numpy.frombuffer(memory)` does the same from Python 3.12 on, or where the native engine is built.
pixels = np.frombuffer(memory.get_buffer_ptr(store), dtype=np.uint8)
pixels[:5] = [0, 100, 200, 230, 255]
instance.exports.brighten(0, 5, 40)
print("brightened:", pixels[:5])

# The bytes never move: the old view stays good, and a new one shows what has been added.
instance.exports.grow(255)
memory[0] = 1
print("the view still shows the memory:", pixels[:5])
np.subtract(255, pixels, out=pixels)
print("inverted:", np.array(list(memory[:5])))
print(memory.data_len(store), "bytes are", memory.size(store), "pages")
