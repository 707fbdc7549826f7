"""Writes chunks.tsv, read by the tests of stages/data/src/anndata/blosc: `python make.py > chunks.tsv`.

numcodecs 0.16.6 (c-blosc 1.21.7), numpy 2.4.6. One chunk a line: compressor, shuffle (0 none, 1 bytes, 2 bits),
bytes of an element, level, number of elements, step, the chunk in hexadecimal. Element i is the lowest bytes of
(i // step * 37) % 251 + 256 * (i // step % 5) + 65536 * (i // step % 3).
"""

import numcodecs
import numpy as np


def line(cname, shuffle, size, level, n, step):
    i = np.arange(n, dtype=np.uint64) // step
    whole = i * 37 % 251 + 256 * (i % 5) + 65536 * (i % 3)
    data = np.ascontiguousarray(whole.astype("<u8")[:, None].view(np.uint8)[:, :size]).reshape(-1)
    chunk = numcodecs.Blosc(cname=cname, clevel=level, shuffle=shuffle).encode(data.view(f"V{size}"))
    assert chunk[3] == size
    assert bytes(numcodecs.blosc.decompress(chunk)) == data.tobytes()
    print(cname, shuffle, size, level, n, step, chunk.hex(), sep="\t")


# Two blocks and a rest of no multiple of 8 elements, in the block sizes that level 1 gives.
LONG = 2 * 32768 + 1003
for cname in ("lz4", "lz4hc", "zstd", "zlib", "blosclz"):
    for shuffle in (0, 1, 2):
        for size in (1, 2, 4, 8):
            line(cname, shuffle, size, 5, 512, 9)
        line(cname, shuffle, 4, 1, LONG, 2000)
    line(cname, 1, 3, 5, 1000, 5)
    # Of no multiple of 8 elements: blosc turns no bits.
    line(cname, 2, 4, 5, 500, 3)
for size in (1, 2, 8):
    line("lz4", 1, size, 1, LONG, 2000)
# Stored as it is, by level and because nothing can be gained.
line("lz4", 1, 4, 0, 20, 1)
line("lz4", 1, 4, 5, 4, 1)
