//! f32 for training, f64 for gradient checks: one code for both on the CPU.

use std::borrow::Cow;
use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, WithDType, bail};

/// The number types that the custom ops work in.
pub(in crate::train) trait Real:
    WithDType + clcc_numerics::math::Element + std::ops::AddAssign
{
    /// Converts from a stored f32.
    fn of(x: f32) -> Self;
    /// Converts to a stored f32.
    fn narrow(self) -> f32;
    /// Converts stored values.
    fn from_stored(x: &[f32]) -> Cow<'_, [Self]>;
    /// The square root.
    fn square_root(self) -> Self;
    /// `a b + c`, rounded once.
    fn fused(a: Self, b: Self, c: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        x
    }
    fn from_stored(x: &[f32]) -> Cow<'_, [Self]> {
        Cow::Borrowed(x)
    }
    #[inline(always)]
    fn narrow(self) -> f32 {
        self
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f32) -> Self {
        Self::from(x)
    }
    fn from_stored(x: &[f32]) -> Cow<'_, [Self]> {
        x.iter().map(|&x| Self::from(x)).collect()
    }
    #[inline(always)]
    fn narrow(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn square_root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
}

/// Runs an expression with `$t` standing for the tensor's number type.
macro_rules! with_real {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("expected f32 or f64, found {other:?}"),
        }
    };
}
pub(in crate::train) use with_real;

/// The values of a contiguous CPU storage.
pub(in crate::train) fn values<'a, T: Real>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!(
            "expected a contiguous tensor, found strides {:?}",
            layout.stride()
        ),
    }
}

/// A CPU tensor's values, held for reading.
pub(in crate::train) struct Values<'a, S> {
    storage: S,
    layout: &'a Layout,
}

/// Holds a tensor for reading.
pub(in crate::train) fn hold(tensor: &Tensor) -> Values<'_, impl Deref<Target = Storage> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    Values { storage, layout }
}

impl<S: Deref<Target = Storage>> Values<'_, S> {
    /// The values, in row-major order.
    pub(in crate::train) fn get<T: Real>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(s) => values(s, self.layout),
            _ => bail!("expected a tensor on the cpu"),
        }
    }
}

/// An op's result.
pub(in crate::train) fn output<T: Real>(
    values: Vec<T>,
    shape: impl Into<Shape>,
) -> Result<(CpuStorage, Shape)> {
    Ok((T::to_cpu_storage_owned(values), shape.into()))
}

/// A tensor on the CPU.
pub(in crate::train) fn tensor<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
}

/// The number type of a CPU storage.
pub(in crate::train) fn dtype(storage: &CpuStorage) -> DType {
    match storage {
        CpuStorage::F64(_) => DType::F64,
        CpuStorage::F32(_) => DType::F32,
        // Not a type of ours; `with_real` turns it away.
        _ => DType::U8,
    }
}
