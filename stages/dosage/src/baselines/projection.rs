//! Two linear counterparts of the trained encoders: canonical correlation, and a linear projection
//! of expression onto copy number.
//!
//! Both modalities are z-scored with the moments of the training cells, as the encoders see them, and
//! reduced to their leading principal components there: `Z = U S Vᵀ`. Everything is fitted on training
//! cells alone; then all cells are embedded.
//!
//! - `cca` (Hotelling 1936): with `Uxᵀ Uy = P R Qᵀ`, the canonical variates are `Ux P` and `Uy Q`; each is
//!   weighted by the square root of its correlation, so that directions in which the two do not
//!   agree do not count.
//! - `linear`: ridge regression of the copy-number components on those of expression; the embeddings
//!   are the predicted and the actual ones.
//!
//! Embeddings are scaled to unit length; a cell's score is the Euclidean distance between its two,
//! as in `concordance`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array1, Array2, Axis, s};

use clcc_align::mine::FeatureMoments;
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::{Parts, SpooledRows};
use clcc_numerics::linalg::{
    LinearOperator, SvdOptions, csr_dot, matmul, matmul_tn, randomized_svd, symmetric_eigen,
};

use crate::by_gene::ByGene;

/// Principal components of one modality.
#[derive(Debug, Clone)]
pub struct Components {
    /// Left singular vectors of the training cells, `n_train x k`.
    pub u: Array2<f64>,
    /// Singular values.
    pub s: Array1<f64>,
    /// The same coordinates (`Z V / s`) of every cell, `n_cells x k`.
    pub all: Array2<f64>,
}

impl Components {
    /// Compute the leading `k` components of `x` over the rows `train`; directions without variance are
    /// left out. Files, where they are needed, lie in `dir`.
    ///
    /// # Errors
    /// [`StageError::Data`] where there are fewer than two, and where `x` cannot be read or kept.
    pub fn new(
        x: &dyn Parts,
        train: &[usize],
        k: usize,
        seed: u64,
        dir: &Path,
    ) -> StageResult<Self> {
        let own = Standardised::new(x, train, dir)?;
        let svd = own.checked(randomized_svd(&own, &SvdOptions::new(k, seed)))?;
        // Directions with little gap converge slowly. Whatever was found of them spans a subspace;
        // within it the singular triplets are made exact, so that the coordinates of a training cell
        // are the same as row of `u` and of `all`.
        let inside = own.checked(Ok(own.apply(&svd.v)))?;
        let turn = symmetric_eigen(&matmul_tn(&inside.view(), &inside.view()))?;
        let s = turn.values.mapv(|v| v.max(0.0).sqrt());
        let kept = s
            .iter()
            .take_while(|v| **v > 1e-6 * s[0].max(1e-300))
            .count();
        if kept < 2 {
            return Err(StageError::data(format!(
                "expected at least two directions in which the {} training cells differ, found {kept}",
                train.len()
            )));
        }
        let s = s.slice(s![..kept]).to_owned();
        let turn = turn.vectors.slice(s![.., ..kept]).to_owned();
        let v = matmul(&svd.v.view(), &turn.view());
        let coordinates = |of_v: Array2<f64>| of_v / s.view().insert_axis(Axis(0));
        let u = coordinates(matmul(&inside.view(), &turn.view()));
        let all = coordinates(own.project(x, &v)?);
        Ok(Self { u, s, all })
    }
}

/// The training cells' rows, each column with mean 0 and standard deviation 1, as an operator: kept by cells and by
/// genes, since both products run over rows.
struct Standardised {
    rows: SpooledRows,
    by_gene: ByGene,
    mean: Array1<f64>,
    scale: Array1<f64>,
    all: Vec<usize>,
    /// What went wrong in a product, which can only give a matrix.
    trouble: Mutex<Option<StageError>>,
}

impl Standardised {
    fn new(x: &dyn Parts, train: &[usize], dir: &Path) -> StageResult<Self> {
        let rows = SpooledRows::of_rows(x, train, dir)?;
        let moments = FeatureMoments::of_parts(&rows)?;
        Ok(Self {
            by_gene: ByGene::new(&rows, dir)?,
            mean: Array1::from(moments.mean.clone()),
            scale: Array1::from(moments.inverse_sd()),
            all: (0..rows.n_rows()).collect(),
            rows,
            trouble: Mutex::new(None),
        })
    }

    /// The rows of `x`, standardised, times `v`.
    fn project(&self, x: &dyn Parts, v: &Array2<f64>) -> StageResult<Array2<f64>> {
        let v = v * &self.scale.view().insert_axis(Axis(1));
        let mut out = Array2::zeros((x.n_rows(), v.ncols()));
        x.each(&mut |first, part| {
            let rows = s![first..first + part.n_rows(), ..];
            out.slice_mut(rows).assign(&csr_dot(part, &v));
            Ok(())
        })?;
        out -= &self.mean.dot(&v);
        Ok(out)
    }

    fn turned(&self, y: &Array2<f64>) -> StageResult<Array2<f64>> {
        let mut out = Array2::zeros((self.n_cols(), y.ncols()));
        let mut first = 0;
        self.by_gene.blocks(&self.all, &mut |genes| {
            let rows = s![first..first + genes.n_rows(), ..];
            out.slice_mut(rows).assign(&csr_dot(genes, y));
            first += genes.n_rows();
            Ok(())
        })?;
        let sums = y.sum_axis(Axis(0));
        for (mut row, &m) in out.rows_mut().into_iter().zip(&self.mean) {
            row.scaled_add(-m, &sums);
        }
        out *= &self.scale.view().insert_axis(Axis(1));
        Ok(out)
    }

    /// A product; zeros where it could not be made, which [`Self::checked`] reports.
    fn or_zeros(&self, made: StageResult<Array2<f64>>, shape: (usize, usize)) -> Array2<f64> {
        made.unwrap_or_else(|e| {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            Array2::zeros(shape)
        })
    }

    /// What was computed with products, where all of them could be made.
    fn checked<T>(&self, found: StageResult<T>) -> StageResult<T> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.take().map_or(found, Err)
    }
}

impl LinearOperator for Standardised {
    fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.rows.n_cols()
    }

    fn apply(&self, x: &Array2<f64>) -> Array2<f64> {
        self.or_zeros(self.project(&self.rows, x), (self.n_rows(), x.ncols()))
    }

    fn apply_t(&self, y: &Array2<f64>) -> Array2<f64> {
        self.or_zeros(self.turned(y), (self.n_cols(), y.ncols()))
    }
}

/// Embeddings of both modalities, `n_cells x k`, each row scaled to length 1.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Embedding of expression.
    pub expr: Array2<f32>,
    /// Embedding of copy number.
    pub cnv: Array2<f32>,
    /// Canonical correlations (`cca`), or the predicted share of each copy-number component (`linear`).
    pub agreement: Vec<f64>,
}

/// Embed both modalities by canonical correlation analysis (Hotelling 1936).
///
/// # Errors
/// [`StageError::Data`] where a value is not finite.
pub fn cca(expr: &Components, cnv: &Components, seed: u64) -> StageResult<Embedded> {
    let cross = matmul_tn(&expr.u.view(), &cnv.u.view());
    let k = cross.nrows().min(cross.ncols());
    let found = randomized_svd(&cross, &SvdOptions::new(k, seed))?;
    let weight = found.s.mapv(|r| r.clamp(0.0, 1.0).sqrt());
    let weighted = |all: &Array2<f64>, turn: &Array2<f64>| {
        unit(matmul(&all.view(), &turn.view()) * weight.view().insert_axis(Axis(0)))
    };
    Ok(Embedded {
        expr: weighted(&expr.all, &found.u),
        cnv: weighted(&cnv.all, &found.v),
        agreement: found.s.to_vec(),
    })
}

/// Embed both modalities by ridge regression of copy number on expression; `ridge` is a share of the
/// mean squared singular value of the expression components.
pub fn linear(expr: &Components, cnv: &Components, ridge: f64) -> Embedded {
    let squares = expr.s.mapv(|s| s * s);
    let penalty = ridge * squares.mean().unwrap_or(0.0);
    let shrink = squares.mapv(|s| s / (s + penalty));
    // Y = U_y S_y; its coefficients on U_x are U_xᵀ Y, each shrunk.
    let mut map = matmul_tn(&expr.u.view(), &cnv.u.view());
    map *= &shrink.view().insert_axis(Axis(1));
    let predicted = matmul(&expr.u.view(), &map.view());
    let agreement = predicted
        .columns()
        .into_iter()
        .zip(cnv.u.columns())
        .map(|(p, y)| {
            let length = p.dot(&p).sqrt();
            if length > 0.0 {
                p.dot(&y) / length
            } else {
                0.0
            }
        })
        .collect();
    let lengths = cnv.s.view().insert_axis(Axis(0)).to_owned();
    Embedded {
        expr: unit(matmul(&expr.all.view(), &map.view()) * &lengths),
        cnv: unit(&cnv.all * &lengths),
        agreement,
    }
}

fn unit(mut x: Array2<f64>) -> Array2<f32> {
    for mut row in x.rows_mut() {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row.mapv_inplace(|v| v / length);
        }
    }
    x.mapv(|v| v as f32)
}
