//! Chunk `genes`: every gene of `dosage`, its clones and its patients.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::report::held_back::HeldBack;
use crate::report::load::{TableFile, rows, tables};
use crate::report::payload::{Chunk, Code};
use clcc_data::anndata::{Reader, Uns};
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::Assembly;
use clcc_stage::roles;
use clcc_stage::rows::{DosageGeneRow, DosagePatientRow};
use clcc_stage::stage::StageContext;

/// Classes of genes by their codes in the chunk.
pub(crate) const CLASSES: [&str; 5] = [
    "untested",
    "unresolved",
    "sensitive",
    "insensitive",
    "over-compensated",
];
/// Step of log ratios in the chunk.
const STEP: f64 = 0.002;
/// Step of their standard errors.
const ERROR_STEP: f64 = 0.01;
/// Log copy ratio below which a clone counts as unchanged at a gene.
const ALTERED: f64 = 0.1;
const SOURCES: [&str; 3] = ["", "neighbours", "windows"];
/// A number of a gene.
pub(crate) type Number = fn(&DosageGeneRow) -> f64;

/// Arrays with one number a gene.
const NUMBERS: [(&str, Number); 11] = [
    ("slope", |g| g.slope),
    ("se", |g| g.se),
    ("lo", |g| g.ci_low),
    ("hi", |g| g.ci_high),
    ("post", |g| known(g.slope_posterior)),
    ("p_ins", |g| known(g.prob_insensitive)),
    ("q", |g| known(g.qval)),
    ("q0", |g| g.pvals_zero_adj),
    ("q1", |g| g.pvals_one_adj),
    ("spread", |g| g.copy_spread),
    ("het", |g| known(g.pvals_heterogeneity_adj)),
];

/// The number; NaN where there is none.
pub(crate) fn known(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

/// The genes of `dosage`, in genome order, as its table has them.
#[derive(Debug)]
pub(crate) struct Genes {
    /// Names.
    pub(crate) names: Vec<String>,
    /// Class of each, an index of [`CLASSES`].
    pub(crate) class: Vec<u8>,
    /// Why each is untested; empty where it is tested.
    pub(crate) reasons: Vec<String>,
    /// Chromosome, first and last base; nothing where they are not known.
    pub(crate) places: Vec<Option<(String, u32, u32)>>,
    /// Whether classes rest on a posterior; without one no gene can be called.
    pub(crate) has_posterior: bool,
    /// Where the whole table lies beside the page.
    pub(crate) file: String,
    /// The node where there are several: its axis values.
    pub(crate) node: Option<String>,
    rows: Vec<DosageGeneRow>,
    patients: Vec<DosagePatientRow>,
    /// Pseudobulks of the clones, where they were published.
    pub(crate) clones: Option<Clones>,
}

/// The clones of the regressions.
#[derive(Debug)]
pub(crate) struct Clones {
    path: PathBuf,
    /// Annotations of the clones.
    pub(crate) obs: Frame,
    /// `uns["dosage"]`: the numbers that the classes of the genes rest on.
    rests_on: Option<Uns>,
}

impl Genes {
    /// The genes of each node of `dosage`.
    ///
    /// # Errors
    /// What reading the tables reports.
    pub(crate) fn load(ctx: &StageContext<'_>) -> StageResult<Vec<Self>> {
        let files = tables(ctx, roles::DOSAGE)?;
        let of_genes = rows::<DosageGeneRow>(&files)?;
        let several = of_genes.len() > 1;
        let mut out = Vec::new();
        for (file, found) in of_genes {
            let mut genes = Self::beside(file, found, &files)?;
            genes.node = genes.node.filter(|_| several);
            out.push(genes);
        }
        Ok(out)
    }

    /// The node whose table of genes is `file`, with these rows.
    fn beside(
        file: &TableFile,
        found: Vec<DosageGeneRow>,
        files: &[TableFile],
    ) -> StageResult<Self> {
        let class = |g: &DosageGeneRow| CLASSES.iter().position(|k| *k == g.class).unwrap_or(0);
        let mut own = files.iter().filter(|f| f.patient == file.patient);
        let patients = own.find(|f| f.is::<DosagePatientRow>());
        Ok(Self {
            names: found.iter().map(|g| g.names.clone()).collect(),
            class: found.iter().map(|g| class(g) as u8).collect(),
            reasons: found.iter().map(|g| g.reason.clone()).collect(),
            places: found.iter().map(place).collect(),
            has_posterior: found.iter().any(|g| g.prob_insensitive.is_some()),
            file: file.published.clone(),
            node: file.patient.clone(),
            patients: patients.map_or_else(|| Ok(Vec::new()), TableFile::rows)?,
            clones: Clones::beside(file)?,
            rows: found,
        })
    }

    /// A number of each gene.
    pub(crate) fn numbers(&self, of: Number) -> Vec<f64> {
        self.rows.iter().map(of).collect()
    }

    /// Number of genes of a class.
    pub(crate) fn count(&self, class: &str) -> usize {
        let of = |c: &&u8| CLASSES[usize::from(**c)] == class;
        self.class.iter().filter(of).count()
    }

    /// Genes whose class was tested for.
    pub(crate) fn n_tested(&self) -> usize {
        self.names.len() - self.count("untested")
    }

    /// Whether the gene is called insensitive or over-compensated.
    pub(crate) fn escapes(&self, gene: usize) -> bool {
        self.class[gene] >= 3
    }

    /// Place of each gene by name.
    pub(crate) fn index(&self) -> HashMap<&str, usize> {
        self.names.iter().map(String::as_str).zip(0..).collect()
    }

    /// All genes, those with the strongest evidence of escape first: called ones, then tested ones, then the others, each
    /// by their posterior error and probability. Without these, by how many standard errors the slope lies below full dosage.
    /// Genome order breaks ties.
    pub(crate) fn order(&self) -> Vec<usize> {
        let (q, p, slope, se) = (
            self.numbers(|g| known(g.qval)),
            self.numbers(|g| known(g.prob_insensitive)),
            self.numbers(|g| g.slope),
            self.numbers(|g| g.se),
        );
        let last = |v: f64| if v.is_nan() { f64::INFINITY } else { v };
        let key = |g: usize| {
            let tier = match (self.escapes(g), self.class[g]) {
                (true, _) => 0.0,
                (false, 0) => 2.0,
                (false, _) => 1.0,
            };
            let below = (slope[g] - 1.0) / se[g];
            [tier, last(q[g]), last(-p[g]), last(below)]
        };
        let keys: Vec<[f64; 4]> = (0..self.names.len()).map(key).collect();
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        order.sort_by(|&a, &b| {
            let pairs = keys[a].iter().zip(&keys[b]);
            let first = pairs.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
            first.unwrap_or(a.cmp(&b))
        });
        order
    }
}

/// Chromosome and bases of a gene; `None` where they are not known.
fn place(gene: &DosageGeneRow) -> Option<(String, u32, u32)> {
    let chromosome = gene.chromosome.clone().filter(|c| !c.is_empty())?;
    let (start, end) = (gene.start?, gene.end?);
    (start >= 0 && end >= start).then_some((chromosome, start as u32, end as u32))
}

impl Clones {
    /// The clones that lie beside the table of genes; `None` where no clone was usable.
    fn beside(file: &TableFile) -> StageResult<Option<Self>> {
        let path = file.path.with_file_name("dosage_clones.h5ad");
        if !path.exists() {
            return Ok(None);
        }
        let reader = Reader::open(&path)?;
        Ok(Some(Self {
            obs: reader.obs()?,
            rests_on: reader.uns()?.remove("dosage"),
            path,
        }))
    }

    /// A number that the classes of the genes rest on: `fdr`, `insensitive_below`, `max_se`, `altered`.
    pub(crate) fn rests_on(&self, name: &str) -> Option<f64> {
        match self.rests_on.as_ref()?.at(&[name])? {
            Uns::F64(v) => Some(*v),
            _ => None,
        }
    }

    /// Whether each is malignant.
    pub(crate) fn malignant(&self) -> Vec<bool> {
        self.obs
            .flags("malignant")
            .map_or_else(|_| vec![false; self.obs.len()], <[bool]>::to_vec)
    }

    /// The malignant clones that differ from another of their patient and cell type: one that is alone there bears on no
    /// slope.
    pub(crate) fn weighing(&self) -> Vec<usize> {
        let (patients, types) = (self.text("patient"), self.text("cell_type"));
        let malignant = self.malignant();
        let alike = |a: usize, b: usize| patients[a] == patients[b] && types[a] == types[b];
        let all = 0..self.obs.len();
        let has_other = |i: usize| all.clone().any(|j| j != i && alike(i, j));
        all.clone()
            .filter(|&i| malignant[i] && has_other(i))
            .collect()
    }

    /// Patient and cell type of the strata with a malignant clone; no cell type where strata are patients.
    pub(crate) fn strata(&self) -> BTreeSet<(String, String)> {
        let (patients, types) = (self.text("patient"), self.text("cell_type"));
        let malignant = self.malignant();
        let own = (0..self.obs.len()).filter(|&i| malignant[i]);
        own.map(|i| (patients[i].clone(), types[i].clone()))
            .collect()
    }

    /// A column of text; empty throughout where there is none.
    pub(crate) fn text(&self, column: &str) -> Vec<String> {
        let none = || vec![String::new(); self.obs.len()];
        self.obs.texts(column).unwrap_or_else(|_| none())
    }

    fn number(&self, column: &str) -> Vec<f64> {
        let none = || vec![f64::NAN; self.obs.len()];
        self.obs.numbers(column).unwrap_or_else(|_| none())
    }

    fn flag(&self, column: &str) -> Vec<bool> {
        let none = || vec![false; self.obs.len()];
        self.obs
            .flags(column)
            .map_or_else(|_| none(), <[bool]>::to_vec)
    }

    /// What a reader calls each clone.
    fn names(&self) -> Vec<String> {
        let (groups, tumour) = (self.text("group"), self.flag("tumour_sample"));
        let name = |(group, tumour): (&String, bool)| match (group.starts_with("clone "), tumour) {
            (true, _) => group.clone(),
            (false, true) => format!("cluster {group}"),
            (false, false) => format!("normal cells, cluster {group}"),
        };
        groups.iter().zip(tumour).map(name).collect()
    }

    fn header(&self) -> Value {
        let (patients, types, names) = (self.text("patient"), self.text("cell_type"), self.names());
        let (n, library, size) = (
            self.number("n_cells"),
            self.number("library_size"),
            self.number("size_factor"),
        );
        let malignant = self.malignant();
        let group = |i: usize| {
            json!({
                "patient": patients[i], "type": types[i], "clone": names[i], "n": n[i] as u64,
                "malignant": malignant[i], "library": library[i], "size_factor": size[i],
            })
        };
        Value::Array((0..self.obs.len()).map(group).collect())
    }

    /// Puts the clones' arrays into the chunk, the genes in the order of the table.
    fn pack(&self, chunk: &mut Chunk, genes: &Genes) -> StageResult<()> {
        let reader = Reader::open(&self.path)?;
        let var = reader.var()?;
        let column: HashMap<&str, usize> = var.index.iter().map(String::as_str).zip(0..).collect();
        let columns: Vec<Option<usize>> = genes
            .names
            .iter()
            .map(|g| column.get(g.as_str()).copied())
            .collect();
        let n = self.obs.len();
        let shape = [n, genes.names.len()];
        let layer = |name: &str| -> StageResult<Vec<f64>> {
            let dense = reader.layer(name)?.into_dense();
            let value =
                |u: usize, c: Option<usize>| c.map_or(f64::NAN, |c| f64::from(dense[[u, c]]));
            Ok((0..n)
                .flat_map(|u| columns.iter().map(move |&c| (u, c)))
                .map(|(u, c)| value(u, c))
                .collect())
        };
        let x = reader.x()?.into_dense();
        let count = |u: usize, c: Option<usize>| c.map_or(0, |c| x[[u, c]].round() as u32);
        let counts: Vec<u32> = (0..n)
            .flat_map(|u| columns.iter().map(move |&c| (u, c)))
            .map(|(u, c)| count(u, c))
            .collect();
        chunk.u32("counts", &shape, &counts, Code::Planes);
        chunk.steps16(
            "copy",
            &shape,
            &layer("log_copy_ratio")?,
            STEP,
            Code::DeltaPlanes,
        );
        chunk.steps16("y", &shape, &layer("log_ratio")?, STEP, Code::Planes);
        chunk.positive8("yse", &shape, &layer("log_ratio_se")?, ERROR_STEP);
        let levels: Vec<&String> = var
            .columns
            .keys()
            .filter(|k| k.starts_with("tumour_level"))
            .collect();
        // Where several cell types have a level, none stands for the gene.
        if let [level] = levels[..] {
            let values = var.numbers(level)?;
            let of = |c: &Option<usize>| c.map_or(f64::NAN, |c| values[c]);
            let values: Vec<f64> = columns.iter().map(of).collect();
            chunk.f32("level", &[values.len()], &values);
        }
        Ok(())
    }
}

/// A contrast shown beside the slopes: fold changes and adjusted p-values by gene.
pub(crate) struct Beside {
    /// What is compared.
    pub(crate) title: String,
    /// log2 fold change of each gene.
    pub(crate) lfc: Vec<f64>,
    /// Adjusted p-value of each gene.
    pub(crate) q: Vec<f64>,
}

/// The chunk.
///
/// # Errors
/// What reading the clones reports.
pub(crate) fn chunk(
    genes: &Genes,
    beside: Option<&Beside>,
    held_back: &[HeldBack],
) -> StageResult<Chunk> {
    let mut chunk = Chunk::new("genes");
    let n = genes.names.len();
    header(&mut chunk, genes);
    chunk.u8("cls", &[n], &genes.class);
    for (array, of) in NUMBERS {
        chunk.f32(array, &[n], &genes.numbers(of));
    }
    let clones: Vec<u16> = genes.rows.iter().map(|g| g.n_clones as u16).collect();
    chunk.u16("n_clones", &[n], &clones);
    let patients: Vec<u8> = genes.rows.iter().map(|g| g.n_patients as u8).collect();
    chunk.u8("n_pat", &[n], &patients);
    let agree: Vec<u8> = genes
        .rows
        .iter()
        .map(|g| g.n_patients_agree as u8)
        .collect();
    chunk.u8("n_agree", &[n], &agree);
    let source = |g: &DosageGeneRow| SOURCES.iter().position(|k| *k == g.copy_source);
    let sources: Vec<u8> = genes
        .rows
        .iter()
        .map(|g| source(g).unwrap_or(0) as u8)
        .collect();
    chunk.u8("source", &[n], &sources);
    held(&mut chunk, genes, held_back);
    let order: Vec<u32> = genes.order().iter().map(|&g| g as u32).collect();
    chunk.u32("order", &[n], &order, Code::Planes);
    if let Some(clones) = &genes.clones {
        for key in ["fdr", "insensitive_below", "max_se"] {
            if let Some(v) = clones.rests_on(key) {
                chunk.set(key, json!(v));
            }
        }
        chunk.set("groups", clones.header());
        clones.pack(&mut chunk, genes)?;
    } else {
        chunk.set("groups", json!([]));
    }
    of_patients(&mut chunk, genes);
    if let Some(beside) = beside {
        chunk.set("contrast", json!({"title": beside.title}));
        chunk.f16("dlfc", &[n], &beside.lfc);
        chunk.f32("dq", &[n], &beside.q);
    } else {
        chunk.set("contrast", Value::Null);
    }
    Ok(chunk)
}

fn header(chunk: &mut Chunk, genes: &Genes) {
    let n = genes.names.len();
    let mut chroms: Vec<&str> = Vec::new();
    let mut chrom = Vec::with_capacity(n);
    for place in &genes.places {
        chrom.push(place.as_ref().map_or(-1, |(name, _, _)| {
            let at = chroms.iter().position(|c| c == name);
            at.unwrap_or_else(|| {
                chroms.push(name);
                chroms.len() - 1
            }) as i32
        }));
    }
    let mut reasons: Vec<&str> = vec![""];
    let mut number: HashMap<&str, u16> = HashMap::from([("", 0)]);
    let mut reason = Vec::with_capacity(n);
    for text in &genes.reasons {
        let next = u16::try_from(reasons.len()).unwrap_or(0);
        let at = *number.entry(text).or_insert_with(|| {
            reasons.push(text);
            next
        });
        reason.push(at);
    }
    chunk.set("names", json!(genes.names));
    chunk.set("classes", json!(CLASSES));
    chunk.set("lengths", json!(lengths(&chroms, &genes.places)));
    chunk.set("chroms", json!(chroms));
    chunk.set("reasons", json!(reasons));
    chunk.set("sources", json!(SOURCES));
    chunk.set("altered", json!(ALTERED));
    chunk.set("tested", json!(genes.n_tested()));
    chunk.set(
        "escape",
        json!((0..n).filter(|&g| genes.escapes(g)).count()),
    );
    chunk.set("file", json!(genes.file));
    chunk.codes("chrom", &chrom, chroms.len());
    let base = |of: fn(&(String, u32, u32)) -> u32| -> Vec<u32> {
        let of = |p: &Option<(String, u32, u32)>| p.as_ref().map_or(0, of);
        genes.places.iter().map(of).collect()
    };
    chunk.u32("start", &[n], &base(|p| p.1), Code::DeltaPlanes);
    chunk.u32("end", &[n], &base(|p| p.2), Code::DeltaPlanes);
    chunk.u16("reason", &[n], &reason);
}

/// Lengths of the chromosomes: of the assembly that has room for every gene, else the last base of a gene.
fn lengths(chroms: &[&str], places: &[Option<(String, u32, u32)>]) -> Vec<i64> {
    let known = || {
        places
            .iter()
            .flatten()
            .map(|(c, _, end)| (c.as_str(), i64::from(*end)))
    };
    let assembly = Assembly::that_fits(known());
    let length = |chrom: &&str| {
        let last = known().filter(|k| k.0 == *chrom).map(|k| k.1).max();
        let known = assembly.and_then(|a| a.chromosome(chrom));
        known.map_or(last.unwrap_or(0), |k| k.length)
    };
    chroms.iter().map(length).collect()
}

/// Probability of each gene to be in the set that some cells hold back, where `discordance` looked for one.
fn held(chunk: &mut Chunk, genes: &Genes, held_back: &[HeldBack]) {
    let [found] = held_back else {
        return;
    };
    let index = genes.index();
    let mut values = vec![f64::NAN; genes.names.len()];
    for gene in &found.genes {
        if let Some(&at) = index.get(gene.names.as_str()) {
            values[at] = gene.prob_held_back;
        }
    }
    chunk.set("set_established", json!(found.is_sure()));
    chunk.f16("held", &[values.len()], &values);
}

/// A number of a patient's slope.
type OfPatient = fn(&DosagePatientRow) -> f64;

const OF_PATIENTS: [(&str, OfPatient); 4] = [
    ("pat_slope", |r| r.slope),
    ("pat_se", |r| r.se),
    ("pat_p", |r| known(r.prob_insensitive)),
    ("pat_q", |r| known(r.qval)),
];

/// Slopes of the patients, sorted by gene and patient.
fn of_patients(chunk: &mut Chunk, genes: &Genes) {
    let index = genes.index();
    let own = &genes.patients;
    let all: BTreeSet<&str> = own.iter().map(|r| r.patient.as_str()).collect();
    // The order of the clones is that of the axis.
    let mut order: Vec<String> = Vec::new();
    if let Some(clones) = &genes.clones {
        for p in clones.text("patient") {
            if !order.contains(&p) {
                order.push(p);
            }
        }
    }
    let missing = all.iter().filter(|p| !order.iter().any(|o| o == *p));
    let missing: Vec<String> = missing.map(|p| (*p).to_string()).collect();
    order.extend(missing);
    let mut rows: Vec<(u32, u8, usize)> = Vec::with_capacity(own.len());
    for (row, slope) in own.iter().enumerate() {
        let at = order.iter().position(|o| *o == slope.patient).unwrap_or(0);
        if let (Some(&gene), Ok(at)) = (index.get(slope.names.as_str()), u8::try_from(at)) {
            rows.push((gene as u32, at, row));
        }
    }
    rows.sort_unstable();
    let n = [rows.len()];
    chunk.set("patients", json!(order));
    let of_gene: Vec<u32> = rows.iter().map(|r| r.0).collect();
    chunk.u32("pat_gene", &n, &of_gene, Code::DeltaPlanes);
    let of_patient: Vec<u8> = rows.iter().map(|r| r.1).collect();
    chunk.u8("pat_patient", &n, &of_patient);
    for (array, of) in OF_PATIENTS {
        let values: Vec<f64> = rows.iter().map(|r| of(&own[r.2])).collect();
        chunk.f32(array, &n, &values);
    }
}
