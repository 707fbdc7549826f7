//! Dense products with the same bits on every processor, at any number of threads.
//!
//! Each output is one chain, `acc = a[i][p] * b[p][j] + acc` for p = 0, 1, 2, ..., each step rounded
//! once (a fused multiply-add). Nothing else affects a bit: blocks over p continue from the values in
//! the output, so neither the tile, the width of the vectors, the cache nor the threads can matter. A
//! processor without fused multiply-add (x86-64 before 2013) computes the same by a slow function call.
//!
//! The layout is that of every fast product (Goto and van de Geijn 2008): a block of `b` is packed in panels as
//! wide as a few vectors, rows of `a` in panels of as many rows as there are registers for, and a kernel
//! keeps a tile of outputs in registers while it walks down a pair of panels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Steps of a chain that are packed together: a panel of `b` stays in the first-level cache.
const DEPTH: usize = 128;
/// Rows of one task.
const ROWS: usize = 64;
/// Most vectors in a row of a tile.
const VECTORS: usize = 3;
/// Below this many multiply-adds a product is one task.
const SMALL: usize = 1 << 16;

/// View of a matrix in a slice, with any strides.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    values: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> View<'a, T> {
    /// `rows x cols`, row after row.
    ///
    /// # Panics
    /// Where the slice holds fewer values.
    pub fn row_major(values: &'a [T], rows: usize, cols: usize) -> Self {
        assert!(rows * cols <= values.len(), "a matrix within its slice");
        Self {
            values,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// `n` columns from `first` on.
    ///
    /// # Panics
    /// Where there are fewer.
    #[must_use]
    pub fn columns(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.cols, "columns within the matrix");
        let start = (first * self.col_stride).min(self.values.len());
        Self {
            values: &self.values[start..],
            cols: n,
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    #[inline(always)]
    fn at(&self, row: usize, col: usize) -> T {
        self.values[row * self.row_stride + col * self.col_stride]
    }
}

/// `f32` or `f64`.
pub trait Element: Copy + Default + Send + Sync + vectors::Vectors {}

impl Element for f32 {}
impl Element for f64 {}

mod vectors {
    use pulp::Simd;

    /// The vector operations of a product.
    pub trait Vectors: Sized {
        type Vector<S: Simd>: Copy;
        fn lanes<S: Simd>() -> usize;
        fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
        fn mul_add<S: Simd>(
            simd: S,
            a: Self::Vector<S>,
            b: Self::Vector<S>,
            c: Self::Vector<S>,
        ) -> Self::Vector<S>;
        fn read<S: Simd>(values: &[Self]) -> &[Self::Vector<S>];
        fn write<S: Simd>(values: &mut [Self]) -> &mut [Self::Vector<S>];
    }

    macro_rules! vectors {
        ($float:ty, $vector:ident, $lanes:ident, $splat:ident, $mul_add:ident, $read:ident, $write:ident) => {
            impl Vectors for $float {
                type Vector<S: Simd> = S::$vector;
                #[inline(always)]
                fn lanes<S: Simd>() -> usize {
                    S::$lanes
                }
                #[inline(always)]
                fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                    simd.$splat(value)
                }
                #[inline(always)]
                fn mul_add<S: Simd>(
                    simd: S,
                    a: S::$vector,
                    b: S::$vector,
                    c: S::$vector,
                ) -> S::$vector {
                    simd.$mul_add(a, b, c)
                }
                #[inline(always)]
                fn read<S: Simd>(values: &[Self]) -> &[S::$vector] {
                    S::$read(values).0
                }
                #[inline(always)]
                fn write<S: Simd>(values: &mut [Self]) -> &mut [S::$vector] {
                    S::$write(values).0
                }
            }
        };
    }

    vectors!(
        f64,
        f64s,
        F64_LANES,
        splat_f64s,
        mul_add_f64s,
        as_simd_f64s,
        as_mut_simd_f64s
    );
    vectors!(
        f32,
        f32s,
        F32_LANES,
        splat_f32s,
        mul_add_f32s,
        as_simd_f32s,
        as_mut_simd_f32s
    );
}

/// `a b` into the row-major `out` (`a.rows() x b.cols()`), on rayon's threads.
///
/// # Panics
/// Where the inner dimensions or the size of `out` do not agree.
pub fn product_into<T: Element>(a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    out.fill(T::default());
    add_product(a, b, out);
}

/// `out + a b` into the row-major `out`: every chain continues from the value in `out`.
///
/// # Panics
/// As [`product_into`].
pub fn add_product<T: Element>(a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    check(&a, &b, out);
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    if m * n * k <= SMALL {
        return crate::math::vectors().dispatch(Whole { a, b, out });
    }
    let arch = crate::math::vectors();
    let mut packed = Vec::new();
    for first in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - first);
        let width = arch.dispatch(Width::<T>(n, std::marker::PhantomData));
        packed.resize(n.div_ceil(width) * width * depth, T::default());
        let panels = packed.par_chunks_mut(width * depth).with_min_len(4);
        panels.enumerate().for_each(|(panel, packed)| {
            pack_columns(&b, first, panel * width, width, packed);
        });
        let packed = &packed;
        let tasks = out.par_chunks_mut(ROWS * n).with_max_len(1);
        tasks.enumerate().for_each(|(task, out)| {
            arch.dispatch(Rows {
                a,
                first_row: task * ROWS,
                first,
                depth,
                packed,
                out,
                n,
            });
        });
    }
}

/// [`add_product`] on the calling thread alone: for callers that are one task of many.
///
/// # Panics
/// As [`product_into`].
pub fn add_product_in_task<T: Element>(a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    check(&a, &b, out);
    if a.rows > 0 && b.cols > 0 {
        crate::math::vectors().dispatch(Whole { a, b, out });
    }
}

fn check<T>(a: &View<'_, T>, b: &View<'_, T>, out: &[T]) {
    assert_eq!(a.cols, b.rows, "inner dimensions agree");
    assert_eq!(
        out.len(),
        a.rows * b.cols,
        "an output of the product's size"
    );
}

/// Columns of a panel of a `b` of so many columns.
struct Width<T>(usize, std::marker::PhantomData<T>);

impl<T: Element> WithSimd for Width<T> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        self.0.div_ceil(T::lanes::<S>()).min(VECTORS) * T::lanes::<S>()
    }
}

/// The whole product on one thread.
struct Whole<'a, T> {
    a: View<'a, T>,
    b: View<'a, T>,
    out: &'a mut [T],
}

impl<T: Element> WithSimd for Whole<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, out } = self;
        let n = b.cols;
        let width = Width::<T>(n, std::marker::PhantomData).with_simd(simd);
        let columns = n.div_ceil(width) * width;
        let mut packed = vec![T::default(); columns * DEPTH.min(a.cols)];
        for first in (0..a.cols).step_by(DEPTH) {
            let depth = DEPTH.min(a.cols - first);
            let packed = &mut packed[..columns * depth];
            for (panel, packed) in packed.chunks_exact_mut(width * depth).enumerate() {
                pack_columns(&b, first, panel * width, width, packed);
            }
            for (task, out) in out.chunks_mut(ROWS * n).enumerate() {
                let rows = Rows {
                    a,
                    first_row: task * ROWS,
                    first,
                    depth,
                    packed,
                    out,
                    n,
                };
                rows.with_simd(simd);
            }
        }
    }
}

/// `width` columns of `b` from `column` on, rows `first` to `first + packed.len() / width`: row after row, zeros
/// beyond the last column.
fn pack_columns<T: Element>(
    b: &View<'_, T>,
    first: usize,
    column: usize,
    width: usize,
    packed: &mut [T],
) {
    let used = width.min(b.cols - column);
    if b.col_stride == 1 {
        for (p, row) in packed.chunks_exact_mut(width).enumerate() {
            let start = (first + p) * b.row_stride + column;
            row[..used].copy_from_slice(&b.values[start..start + used]);
            row[used..].fill(T::default());
        }
    } else {
        packed.fill(T::default());
        for j in 0..used {
            for (p, row) in packed.chunks_exact_mut(width).enumerate() {
                row[j] = b.at(first + p, column + j);
            }
        }
    }
}

/// `ROWS` rows of the output, or as many as `out` has, over `depth` steps of their chains.
struct Rows<'a, T> {
    a: View<'a, T>,
    first_row: usize,
    first: usize,
    depth: usize,
    packed: &'a [T],
    out: &'a mut [T],
    n: usize,
}

impl<T: Element> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            a,
            first_row,
            first,
            depth,
            packed,
            out,
            n,
        } = self;
        let rows = out.len() / n;
        let most = if S::REGISTER_COUNT >= 32 { 8 } else { 4 };
        let width = Width::<T>(n, std::marker::PhantomData).with_simd(simd);
        let mut steps = vec![T::default(); rows * depth];
        let mut bands = Vec::with_capacity(rows.div_ceil(most) + 2);
        let mut row = 0;
        while row < rows {
            let height = match rows - row {
                left if left >= most => most,
                left if left >= 4 => 4,
                left if left >= 2 => 2,
                _ => 1,
            };
            pack_rows(
                &a,
                first_row + row,
                first,
                height,
                &mut steps[row * depth..][..height * depth],
            );
            bands.push((row, height));
            row += height;
        }
        for (panel, column) in packed
            .chunks_exact(width * depth)
            .zip((0..n).step_by(width))
        {
            for &(row, height) in &bands {
                let steps = &steps[row * depth..][..height * depth];
                let out = &mut out[row * n + column..];
                let used = width.min(n - column);
                match width / T::lanes::<S>() {
                    1 => band::<S, T, 1>(simd, height, steps, panel, used, n, out),
                    2 => band::<S, T, 2>(simd, height, steps, panel, used, n, out),
                    _ => band::<S, T, VECTORS>(simd, height, steps, panel, used, n, out),
                }
            }
        }
    }
}

/// The tile of `height` rows.
#[inline(always)]
fn band<S: Simd, T: Element, const V: usize>(
    simd: S,
    height: usize,
    steps: &[T],
    panel: &[T],
    used: usize,
    n: usize,
    out: &mut [T],
) {
    match height {
        8 => tile::<S, T, 8, V>(simd, steps, panel, used, n, out),
        4 => tile::<S, T, 4, V>(simd, steps, panel, used, n, out),
        2 => tile::<S, T, 2, V>(simd, steps, panel, used, n, out),
        _ => tile::<S, T, 1, V>(simd, steps, panel, used, n, out),
    }
}

/// `height` rows of `a` from `row` on, columns from `first` on: column after column.
#[inline(always)]
fn pack_rows<T: Element>(
    a: &View<'_, T>,
    row: usize,
    first: usize,
    height: usize,
    steps: &mut [T],
) {
    if a.row_stride == 1 {
        for (p, step) in steps.chunks_exact_mut(height).enumerate() {
            let start = (first + p) * a.col_stride + row;
            step.copy_from_slice(&a.values[start..start + height]);
        }
        return;
    }
    for i in 0..height {
        for (p, step) in steps.chunks_exact_mut(height).enumerate() {
            step[i] = a.at(row + i, first + p);
        }
    }
}

/// A tile of `HEIGHT` rows and the panel's columns, of which `used` are the output's.
#[inline(always)]
fn tile<S: Simd, T: Element, const HEIGHT: usize, const V: usize>(
    simd: S,
    steps: &[T],
    panel: &[T],
    used: usize,
    n: usize,
    out: &mut [T],
) {
    let width = V * T::lanes::<S>();
    if used == width {
        let mut sums: [[T::Vector<S>; V]; HEIGHT] = std::array::from_fn(|i| {
            let row = T::read::<S>(&out[i * n..][..width]);
            std::array::from_fn(|v| row[v])
        });
        walk::<S, T, HEIGHT, V>(simd, steps, panel, &mut sums);
        for (i, sums) in sums.iter().enumerate() {
            T::write::<S>(&mut out[i * n..][..width]).copy_from_slice(sums);
        }
        return;
    }
    // The widest tile there is: 3 vectors of 16 f32.
    let mut kept = [[T::default(); 64]; HEIGHT];
    for (kept, out) in kept.iter_mut().zip(out.chunks(n)) {
        kept[..used].copy_from_slice(&out[..used]);
    }
    let mut sums: [[T::Vector<S>; V]; HEIGHT] = std::array::from_fn(|i| {
        let row = T::read::<S>(&kept[i][..width]);
        std::array::from_fn(|v| row[v])
    });
    walk::<S, T, HEIGHT, V>(simd, steps, panel, &mut sums);
    for (i, (kept, sums)) in kept.iter_mut().zip(&sums).enumerate() {
        T::write::<S>(&mut kept[..width]).copy_from_slice(sums);
        out[i * n..][..used].copy_from_slice(&kept[..used]);
    }
}

/// Walks a tile down a pair of panels.
#[inline(always)]
fn walk<S: Simd, T: Element, const HEIGHT: usize, const V: usize>(
    simd: S,
    steps: &[T],
    panel: &[T],
    tile: &mut [[T::Vector<S>; V]; HEIGHT],
) {
    let mut sums = *tile;
    let (steps, _) = steps.as_chunks::<HEIGHT>();
    let (rows, _) = T::read::<S>(panel).as_chunks::<V>();
    for (a, b) in steps.iter().zip(rows) {
        for i in 0..HEIGHT {
            let a = T::splat(simd, a[i]);
            for v in 0..V {
                sums[i][v] = T::mul_add(simd, a, b[v], sums[i][v]);
            }
        }
    }
    *tile = sums;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition.
    fn chain(a: &View<'_, f64>, b: &View<'_, f64>, start: f64) -> Vec<f64> {
        let mut out = Vec::new();
        for i in 0..a.rows {
            for j in 0..b.cols {
                out.push((0..a.cols).fold(start, |acc, p| a.at(i, p).mul_add(b.at(p, j), acc)));
            }
        }
        out
    }

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    const SHAPES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (3, 5, 2),
        (130, 70, 40),
        (64, 600, 33),
        (7, 257, 300),
        (1, 300, 50),
        (200, 300, 1),
        (5, 0, 4),
        (0, 3, 2),
    ];

    #[test]
    fn every_output_is_the_chain_to_the_last_bit() {
        for (m, k, n) in SHAPES {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let (a, b) = (View::row_major(&a, m, k), View::row_major(&b, k, n));
            let mut out = vec![f64::NAN; m * n];
            product_into(a, b, &mut out);
            assert_eq!(out, chain(&a, &b, 0.0), "{m} {k} {n}");
            let mut out = vec![0.25; m * n];
            add_product_in_task(a, b, &mut out);
            assert_eq!(out, chain(&a, &b, 0.25), "{m} {k} {n}");
            // Transposed views are the same matrices.
            let mut out = vec![0.0; m * n];
            product_into(b.t(), a.t(), &mut out);
            let expected = chain(&b.t(), &a.t(), 0.0);
            assert_eq!(out, expected, "{m} {k} {n} transposed");
        }
    }

    #[test]
    fn narrow_and_wide_vectors_give_the_same_bits() {
        let (m, k, n) = (70, 300, 51);
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
        let narrow: Vec<f32> = a.iter().map(|v| *v as f32).collect();
        let wide: Vec<f32> = b.iter().map(|v| *v as f32).collect();
        let (mut scalar, mut native) = (vec![0f64; m * n], vec![0f64; m * n]);
        let (mut scalar_32, mut native_32) = (vec![0f32; m * n], vec![0f32; m * n]);
        let (x, y) = (View::row_major(&a, m, k), View::row_major(&b, k, n));
        let (x32, y32) = (View::row_major(&narrow, m, k), View::row_major(&wide, k, n));
        let arch = crate::math::vectors();
        Whole {
            a: x,
            b: y,
            out: &mut scalar,
        }
        .with_simd(pulp::Scalar::new());
        arch.dispatch(Whole {
            a: x,
            b: y,
            out: &mut native,
        });
        Whole {
            a: x32,
            b: y32,
            out: &mut scalar_32,
        }
        .with_simd(pulp::Scalar::new());
        arch.dispatch(Whole {
            a: x32,
            b: y32,
            out: &mut native_32,
        });
        assert_eq!(scalar, native);
        assert_eq!(scalar_32, native_32);
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            let mut middle = vec![0f64; m * n];
            pulp::Simd::vectorize(
                v3,
                Whole {
                    a: x,
                    b: y,
                    out: &mut middle,
                },
            );
            assert_eq!(middle, native);
        }
    }
}
