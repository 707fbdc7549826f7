//! Writes an [`AnnData`] as h5ad, for programs that do not read zarr. Same data, same bytes.
//!
//! The elements and attributes are those of [`super::write`]; what differs is the container: texts
//! are variable-length UTF-8, flags are the enumeration that h5py makes of numpy's bool, and arrays
//! of more than a few values are cut in chunks and packed with gzip.

use std::collections::BTreeMap;
use std::path::Path;

use hdf5_pure::{
    AttrValue, DatasetBuilder, EnumTypeBuilder, FileBuilder, GroupBuilder, make_i8_type,
};
use ndarray::{Array2, Array3};

use super::write::{check_name, check_shapes, scipy_indices};
use super::{AnnData, Image, Raw, Uns};
use crate::error::{Access, StageError, StageResult};
use crate::frame::{Column, Frame};
use crate::matrix::{Csr, Matrix};

/// Values per chunk of a packed array, and the largest extent of a chunk: larger ones need three bytes
/// for an extent, hdf5-pure 0.47 writes four, and libhdf5 2.0 refuses to read that.
const CHUNK_VALUES: usize = 65_535;
/// Smaller arrays are stored as they are.
const PACKED_FROM: usize = 1 << 12;
/// gzip's fastest level: half of the size for a tenth of the time of its default.
const LEVEL: u32 = 1;

/// Writes `data` to the file `path`, which must not exist.
pub(super) fn write(data: &AnnData, path: &Path) -> StageResult<()> {
    check_shapes(data)?;
    let io = |access: Access, source: std::io::Error| StageError::Io {
        access,
        path: path.to_path_buf(),
        source,
    };
    if path.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(io(Access::Create, source));
    }
    let mut file = FileBuilder::new();
    file.set_attr("encoding-type", text("anndata"));
    file.set_attr("encoding-version", text("0.1.0"));
    let group = |file: &mut FileBuilder, name: &str, fill: &mut Fill<'_>| {
        let mut group = file.create_group(name);
        fill(&mut group)?;
        file.add_group(group.finish());
        StageResult::Ok(())
    };
    group(&mut file, "obs", &mut |g| frame(g, "obs", &data.obs))?;
    group(&mut file, "var", &mut |g| frame(g, "var", &data.var))?;
    match &data.x {
        Some(Matrix::Csr(m)) => group(&mut file, "X", &mut |g| csr(g, "X", m))?,
        Some(Matrix::Dense(a)) => dense(file.create_dataset("X"), a),
        None => {}
    }
    for (name, matrices) in [
        ("layers", &data.layers),
        ("obsm", &data.obsm),
        ("varm", &data.varm),
    ] {
        group(&mut file, name, &mut |g| {
            encode_group(g, "dict", "0.1.0");
            let mut all = matrices.iter();
            all.try_for_each(|(child, m)| matrix(g, name, child, m))
        })?;
    }
    group(&mut file, "obsp", &mut |g| {
        encode_group(g, "dict", "0.1.0");
        data.obsp.iter().try_for_each(|(name, m)| {
            check_name("obsp", name)?;
            let mut child = g.create_group(name);
            csr(&mut child, name, m)?;
            g.add_group(child.finish());
            Ok(())
        })
    })?;
    group(&mut file, "varp", &mut |g| {
        encode_group(g, "dict", "0.1.0");
        Ok(())
    })?;
    group(&mut file, "uns", &mut |g| dict(g, "uns", &data.uns))?;
    if let Some(own) = &data.raw {
        group(&mut file, "raw", &mut |g| raw(g, own))?;
    }
    file.write(path)
        .map_err(|e| io(Access::Write, std::io::Error::other(e)))
}

fn raw(g: &mut GroupBuilder, data: &Raw) -> StageResult<()> {
    encode_group(g, "raw", "0.1.0");
    matrix(g, "raw", "X", &data.x)?;
    let mut var = g.create_group("var");
    frame(&mut var, "raw/var", &data.var)?;
    g.add_group(var.finish());
    let mut varm = g.create_group("varm");
    encode_group(&mut varm, "dict", "0.1.0");
    g.add_group(varm.finish());
    Ok(())
}

/// Fills a group.
type Fill<'a> = dyn FnMut(&mut GroupBuilder) -> StageResult<()> + 'a;

fn text(value: &str) -> AttrValue {
    AttrValue::VarLenString(value.to_string())
}

fn encode_group(group: &mut GroupBuilder, kind: &str, version: &str) {
    group.set_attr("encoding-type", text(kind));
    group.set_attr("encoding-version", text(version));
}

fn encode(dataset: &mut DatasetBuilder, kind: &str) {
    dataset.set_attr("encoding-type", text(kind));
    dataset.set_attr("encoding-version", text("0.2.0"));
}

trait Stored: Copy {
    fn fill(values: &[Self], dataset: &mut DatasetBuilder);
}

macro_rules! stored {
    ($($type:ty, $fill:ident;)*) => {$(
        impl Stored for $type {
            fn fill(values: &[Self], dataset: &mut DatasetBuilder) {
                dataset.$fill(values);
            }
        }
    )*};
}

stored! {
    f32, with_f32_data;
    f64, with_f64_data;
    i64, with_i64_data;
    i32, with_i32_data;
    i16, with_i16_data;
    i8, with_i8_data;
    u8, with_u8_data;
}

/// Values and shape, packed where there are many.
fn plain<T: Stored>(dataset: &mut DatasetBuilder, values: &[T], shape: &[usize]) {
    T::fill(values, dataset);
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    dataset.with_shape(&shape);
    let row: u64 = shape.iter().skip(1).product();
    if values.len() >= PACKED_FROM && row <= CHUNK_VALUES as u64 {
        let rows = (CHUNK_VALUES as u64 / row.max(1)).clamp(1, shape[0]);
        let mut chunk = shape.clone();
        chunk[0] = rows;
        dataset
            .with_chunks(&chunk)
            .with_shuffle()
            .with_deflate(LEVEL);
    }
}

/// An element that is an array of numbers, or one number.
fn numbers<T: Stored>(dataset: &mut DatasetBuilder, values: &[T], shape: &[usize]) {
    plain(dataset, values, shape);
    let kind = if shape.is_empty() {
        "numeric-scalar"
    } else {
        "array"
    };
    encode(dataset, kind);
}

fn dense<T: Stored>(dataset: &mut DatasetBuilder, a: &Array2<T>) {
    let a = a.as_standard_layout();
    let values = a.as_slice().expect("standard layout");
    numbers(dataset, values, a.shape());
}

fn image<T: Stored>(dataset: &mut DatasetBuilder, a: &Array3<T>) {
    let a = a.as_standard_layout();
    let values = a.as_slice().expect("standard layout");
    numbers(dataset, values, a.shape());
}

/// numpy's bool as h5py stores it.
fn flags(dataset: &mut DatasetBuilder, values: &[bool], shape: &[usize]) -> StageResult<()> {
    let kind = EnumTypeBuilder::with_base(make_i8_type())
        .raw_value("FALSE", &[0])
        .raw_value("TRUE", &[1])
        .build()
        .map_err(|e| StageError::data(format!("cannot store flags: {e}")))?;
    let bytes: Vec<u8> = values.iter().map(|&v| u8::from(v)).collect();
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    dataset.with_enum_u8_data(kind, &bytes).with_shape(&shape);
    encode(
        dataset,
        if shape.is_empty() {
            "numeric-scalar"
        } else {
            "array"
        },
    );
    Ok(())
}

fn texts(dataset: &mut DatasetBuilder, values: &[String]) {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    dataset
        .with_vlen_strings(&values)
        .with_shape(&[values.len() as u64]);
    encode(dataset, "string-array");
}

fn frame(group: &mut GroupBuilder, at: &str, frame: &Frame) -> StageResult<()> {
    if frame.columns.contains_key("_index") {
        return Err(StageError::data(format!(
            "`{at}`: a column cannot be named `_index`, the name of the index"
        )));
    }
    encode_group(group, "dataframe", "0.2.0");
    group.set_attr("_index", text("_index"));
    let order: Vec<String> = frame.columns.keys().cloned().collect();
    // No attribute of HDF5 has an empty list of texts; anndata writes one of numbers there.
    group.set_attr(
        "column-order",
        if order.is_empty() {
            AttrValue::F64Array(Vec::new())
        } else {
            AttrValue::VarLenStringArray(order)
        },
    );
    texts(group.create_dataset("_index"), &frame.index);
    for (name, column) in &frame.columns {
        check_name(at, name)?;
        let shape = [column.len()];
        match column {
            Column::Str(v) => texts(group.create_dataset(name), v),
            Column::F64(v) => numbers(group.create_dataset(name), v, &shape),
            Column::I64(v) => numbers(group.create_dataset(name), v, &shape),
            Column::Bool(v) => flags(group.create_dataset(name), v, &shape)?,
            Column::Category(c) => {
                let mut child = group.create_group(name);
                encode_group(&mut child, "categorical", "0.2.0");
                child.set_attr("ordered", AttrValue::I8(i8::from(c.ordered)));
                texts(child.create_dataset("categories"), &c.categories);
                let codes = child.create_dataset("codes");
                // pandas' choice of width.
                if c.categories.len() <= i8::MAX as usize {
                    let codes8: Vec<i8> = c.codes.iter().map(|&c| c as i8).collect();
                    numbers(codes, &codes8, &shape);
                } else if c.categories.len() <= i16::MAX as usize {
                    let codes16: Vec<i16> = c.codes.iter().map(|&c| c as i16).collect();
                    numbers(codes, &codes16, &shape);
                } else {
                    numbers(codes, &c.codes, &shape);
                }
                group.add_group(child.finish());
            }
        }
    }
    Ok(())
}

fn matrix(group: &mut GroupBuilder, at: &str, name: &str, matrix: &Matrix) -> StageResult<()> {
    check_name(at, name)?;
    match matrix {
        Matrix::Dense(a) => dense(group.create_dataset(name), a),
        Matrix::Csr(m) => {
            let mut child = group.create_group(name);
            csr(&mut child, name, m)?;
            group.add_group(child.finish());
        }
    }
    Ok(())
}

fn csr(group: &mut GroupBuilder, at: &str, m: &Csr) -> StageResult<()> {
    encode_group(group, "csr_matrix", "0.1.0");
    let shape = vec![m.n_rows() as i64, m.n_cols() as i64];
    group.set_attr("shape", AttrValue::I64Array(shape));
    plain(group.create_dataset("data"), m.data(), &[m.nnz()]);
    let indices = scipy_indices(at, m)?;
    plain(group.create_dataset("indices"), &indices, &[m.nnz()]);
    let n = m.indptr().len();
    let dataset = group.create_dataset("indptr");
    if i32::try_from(m.nnz()).is_ok() {
        let pointers: Vec<i32> = m.indptr().iter().map(|&p| p as i32).collect();
        plain(dataset, &pointers, &[n]);
    } else {
        let pointers: Vec<i64> = m.indptr().iter().map(|&p| p as i64).collect();
        plain(dataset, &pointers, &[n]);
    }
    Ok(())
}

fn dict(group: &mut GroupBuilder, at: &str, values: &BTreeMap<String, Uns>) -> StageResult<()> {
    encode_group(group, "dict", "0.1.0");
    for (name, value) in values {
        check_name(at, name)?;
        match value {
            Uns::Dict(d) => {
                let mut child = group.create_group(name);
                dict(&mut child, name, d)?;
                group.add_group(child.finish());
            }
            Uns::Frame(f) => {
                let mut child = group.create_group(name);
                frame(&mut child, name, f)?;
                group.add_group(child.finish());
            }
            Uns::Str(s) => {
                let dataset = group.create_dataset(name);
                dataset.with_vlen_strings(&[s]).with_shape(&[]);
                encode(dataset, "string");
            }
            Uns::F64(x) => numbers(group.create_dataset(name), &[*x], &[]),
            Uns::I64(x) => numbers(group.create_dataset(name), &[*x], &[]),
            Uns::Bool(x) => flags(group.create_dataset(name), &[*x], &[])?,
            Uns::Strings(v) => texts(group.create_dataset(name), v),
            Uns::Numbers(v) => numbers(group.create_dataset(name), v, &[v.len()]),
            Uns::Integers(v) => numbers(group.create_dataset(name), v, &[v.len()]),
            Uns::Matrix(a) => dense(group.create_dataset(name), a),
            Uns::Image(Image::Bytes(a)) => image(group.create_dataset(name), a),
            Uns::Image(Image::Reals(a)) => image(group.create_dataset(name), a),
        }
    }
    Ok(())
}
