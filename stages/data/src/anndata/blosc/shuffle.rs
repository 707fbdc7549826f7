//! Undoes blosc's filters, which put bytes or bits of one significance next to each other.
//!
//! Source: c-blosc 1.21, `shuffle-generic.h` and `bitshuffle-generic.c`.

/// The first byte of every element of `type_size` bytes comes first in `filtered`, then the second ones, and so on;
/// bytes that make no whole element come last as they are.
pub(super) fn unshuffle(filtered: &[u8], out: &mut [u8], type_size: usize) {
    match type_size {
        2 => planes::<2>(filtered, out),
        4 => planes::<4>(filtered, out),
        8 => planes::<8>(filtered, out),
        _ => {
            let n = out.len() / type_size;
            let whole = n * type_size;
            for (byte, plane) in filtered[..whole].chunks_exact(n.max(1)).enumerate() {
                let elements = out.chunks_exact_mut(type_size);
                for (element, value) in elements.zip(plane) {
                    element[byte] = *value;
                }
            }
            out[whole..].copy_from_slice(&filtered[whole..]);
        }
    }
}

fn planes<const SIZE: usize>(filtered: &[u8], out: &mut [u8]) {
    let n = out.len() / SIZE;
    let planes: [&[u8]; SIZE] = std::array::from_fn(|byte| &filtered[byte * n..][..n]);
    let (elements, rest) = out.as_chunks_mut::<SIZE>();
    for (i, element) in elements.iter_mut().enumerate() {
        *element = std::array::from_fn(|byte| planes[byte][i]);
    }
    rest.copy_from_slice(&filtered[n * SIZE..]);
}

/// For each byte of an element and each of its bits, lowest first, a row of that bit of all elements. Blosc turns
/// nothing in a block whose number of elements is no multiple of 8.
pub(super) fn bitunshuffle(filtered: &[u8], out: &mut [u8], type_size: usize) {
    let n = out.len() / type_size;
    if !n.is_multiple_of(8) {
        out.copy_from_slice(filtered);
        return;
    }
    let row = n / 8;
    for byte in 0..type_size {
        let rows: [&[u8]; 8] =
            std::array::from_fn(|bit| &filtered[(byte * 8 + bit) * row..][..row]);
        for (i, eight) in out.chunks_exact_mut(8 * type_size).enumerate() {
            let turned = transpose(std::array::from_fn(|bit| rows[bit][i]));
            for (element, value) in turned.into_iter().enumerate() {
                eight[element * type_size + byte] = value;
            }
        }
    }
    let whole = n * type_size;
    out[whole..].copy_from_slice(&filtered[whole..]);
}

/// Transposes 8 x 8 bits: bit `i` of byte `j` becomes bit `j` of byte `i`.
///
/// Source: Warren, Hacker's Delight, 2nd edition, section 7-3.
fn transpose(rows: [u8; 8]) -> [u8; 8] {
    let mut x = u64::from_le_bytes(rows);
    for (shift, mask) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let t = (x ^ (x >> shift)) & mask;
        x ^= t ^ (t << shift);
    }
    x.to_le_bytes()
}
