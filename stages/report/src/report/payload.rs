//! Packed data of the page: chunks that a view's script unpacks when the view comes near the screen.
//!
//! A chunk is base64 of gzip of: the header's length (u32), a JSON header, and arrays; numbers are little-endian.
//! The header is padded with spaces, and each array with zeros, to a multiple of 8 bytes. `docs/report.md` gives the
//! format for readers. gzip has no time stamp and one fixed level, so that the same arrays give the same bytes.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use half::f16;
use serde_json::{Map, Value, json};

/// Version of the format.
pub(crate) const FORMAT: u32 = 1;

/// How the bytes of an array are arranged before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Values one after another.
    Plain,
    /// The lowest bytes of all values, then the next ones: bytes that are alike stand together.
    Planes,
    /// The first value of each row, then differences along it that wrap around; in planes.
    DeltaPlanes,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Planes => "planes",
            Self::DeltaPlanes => "delta-planes",
        }
    }
}

/// Something that the page lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
    /// Where it is to be found beside the page.
    pub(crate) file: String,
}

/// A chunk being filled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    name: &'static str,
    header: Map<String, Value>,
    arrays: Map<String, Value>,
    bytes: Vec<u8>,
    /// What was left out of it.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Type of an array's values.
trait Element: Copy {
    const NAME: &'static str;
    const SIZE: usize;
    fn put(self, out: &mut Vec<u8>);
    fn less(self, before: Self) -> Self;
}

/// Types of values, and how one of them is told from the one before.
macro_rules! element {
    ($($type:ident)+, $less:expr) => {$(
        impl Element for $type {
            const NAME: &'static str = stringify!($type);
            const SIZE: usize = size_of::<$type>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn less(self, before: Self) -> Self {
                let less: fn(Self, Self) -> Self = $less;
                less(self, before)
            }
        }
    )+};
}

element!(u8 i8 u16 i16 u32, |value, before| value.wrapping_sub(before));
element!(f16 f32, |value, before| value - before);

impl Chunk {
    /// An empty chunk; its element in the page has the id `chunk-NAME`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            header: Map::new(),
            arrays: Map::new(),
            bytes: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Sets an entry of the header.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.header.insert(key.to_string(), value);
    }

    fn add<T: Element>(&mut self, name: &str, shape: &[usize], values: &[T], code: Code) {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        let mut about = Map::new();
        about.insert("t".into(), json!(T::NAME));
        about.insert("s".into(), json!(shape));
        about.insert("o".into(), json!(self.bytes.len()));
        if code != Code::Plain {
            about.insert("code".into(), json!(code.name()));
        }
        self.arrays.insert(name.to_string(), Value::Object(about));
        let width = shape.last().copied().unwrap_or(0).max(1);
        let mut raw = Vec::with_capacity(values.len() * T::SIZE);
        for (i, &value) in values.iter().enumerate() {
            if code == Code::DeltaPlanes && i % width > 0 {
                value.less(values[i - 1]).put(&mut raw);
            } else {
                value.put(&mut raw);
            }
        }
        if code == Code::Plain {
            self.bytes.extend_from_slice(&raw);
        } else {
            for plane in 0..T::SIZE {
                self.bytes
                    .extend(raw.iter().skip(plane).step_by(T::SIZE.max(1)));
            }
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    fn about(&mut self, array: &str, key: &str, value: Value) {
        if let Some(Value::Object(about)) = self.arrays.get_mut(array) {
            about.insert(key.to_string(), value);
        }
    }

    /// Bytes.
    pub(crate) fn u8(&mut self, name: &str, shape: &[usize], values: &[u8]) {
        self.add(name, shape, values, Code::Plain);
    }

    /// Two-byte numbers.
    pub(crate) fn u16(&mut self, name: &str, shape: &[usize], values: &[u16]) {
        self.add(name, shape, values, Code::Planes);
    }

    /// Four-byte numbers.
    pub(crate) fn u32(&mut self, name: &str, shape: &[usize], values: &[u32], code: Code) {
        self.add(name, shape, values, code);
    }

    /// Numbers of 24 bits; NaN where there is none.
    pub(crate) fn f32(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        let values: Vec<f32> = values.iter().map(|v| one_nan(*v) as f32).collect();
        self.add(name, shape, &values, Code::Planes);
    }

    /// Numbers of 11 bits (three digits); NaN where there is none.
    pub(crate) fn f16(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        let values: Vec<f16> = values
            .iter()
            .map(|v| f16::from_f32_const(one_nan(*v) as f32))
            .collect();
        self.add(name, shape, &values, Code::Planes);
    }

    /// Codes of categories; none (negative) is the type's largest number, two bytes where there are more than 254.
    pub(crate) fn codes(&mut self, name: &str, codes: &[i32], n_labels: usize) {
        if n_labels <= usize::from(u8::MAX) {
            let values: Vec<u8> = codes
                .iter()
                .map(|&c| u8::try_from(c).unwrap_or(u8::MAX))
                .collect();
            self.add(name, &[codes.len()], &values, Code::Plain);
            self.about(name, "missing", json!(u8::MAX));
        } else {
            let values: Vec<u16> = codes
                .iter()
                .map(|&c| u16::try_from(c).unwrap_or(u16::MAX))
                .collect();
            self.add(name, &[codes.len()], &values, Code::Planes);
            self.about(name, "missing", json!(u16::MAX));
        }
    }

    /// Values as steps of `scale` in two bytes, cut at 32,767 steps.
    pub(crate) fn steps16(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f64],
        scale: f64,
        code: Code,
    ) {
        let step = |v: &f64| match v.is_nan() {
            true => i16::MIN,
            false => (v / scale).round().clamp(-32_767.0, 32_767.0) as i16,
        };
        let steps: Vec<i16> = values.iter().map(step).collect();
        self.add(name, shape, &steps, code);
        self.about(name, "scale", json!(scale));
        self.about(name, "missing", json!(i16::MIN));
    }

    /// Values as steps of `limit / 127` in one byte, cut at `limit`.
    pub(crate) fn steps8(&mut self, name: &str, shape: &[usize], values: &[f32], limit: f64) {
        let scale = limit / 127.0;
        let step = |v: &f32| match v.is_nan() {
            true => i8::MIN,
            false => (f64::from(*v) / scale).round().clamp(-127.0, 127.0) as i8,
        };
        let steps: Vec<i8> = values.iter().map(step).collect();
        self.add(name, shape, &steps, Code::Plain);
        self.about(name, "scale", json!(scale));
        self.about(name, "missing", json!(i8::MIN));
    }

    /// Values of 0 and more as steps of `scale` in one byte, cut at 254 steps.
    pub(crate) fn positive8(&mut self, name: &str, shape: &[usize], values: &[f64], scale: f64) {
        let step = |v: &f64| match v.is_nan() {
            true => u8::MAX,
            false => (v / scale).round().clamp(0.0, 254.0) as u8,
        };
        let steps: Vec<u8> = values.iter().map(step).collect();
        self.add(name, shape, &steps, Code::Plain);
        self.about(name, "scale", json!(scale));
        self.about(name, "missing", json!(u8::MAX));
    }

    /// Values between their smallest and largest, in 65,534 steps, or in 254 where `coarse`.
    pub(crate) fn range(&mut self, name: &str, values: &[f64], coarse: bool) {
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let low = finite().fold(f64::INFINITY, f64::min);
        let high = finite().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let top = if coarse { 254.0 } else { 65_534.0 };
        let step = |v: f64| match (v.is_finite(), high > low) {
            (false, _) => None,
            (true, false) => Some(0.0),
            (true, true) => Some(((v - low) / (high - low) * top).round()),
        };
        let shape = [values.len()];
        if coarse {
            let steps: Vec<u8> = values
                .iter()
                .map(|v| step(*v).map_or(u8::MAX, |s| s as u8))
                .collect();
            self.add(name, &shape, &steps, Code::Plain);
            self.about(name, "missing", json!(u8::MAX));
        } else {
            let steps: Vec<u16> = values
                .iter()
                .map(|v| step(*v).map_or(u16::MAX, |s| s as u16))
                .collect();
            self.add(name, &shape, &steps, Code::Planes);
            self.about(name, "missing", json!(u16::MAX));
        }
        self.about(name, "min", json!(low));
        self.about(name, "max", json!(high));
    }

    /// Points of a square from 0 to 1 in 65,534 steps a side; NaN where there is none.
    pub(crate) fn points(&mut self, name: &str, points: &[[f64; 2]]) {
        let step = |v: &f64| match v.is_finite() {
            true => (v.clamp(0.0, 1.0) * 65_534.0).round() as u16,
            false => u16::MAX,
        };
        let values: Vec<u16> = points.iter().flatten().map(step).collect();
        self.add(name, &[points.len(), 2], &values, Code::Planes);
        self.about(name, "missing", json!(u16::MAX));
        self.about(name, "min", json!(0));
        self.about(name, "max", json!(1));
    }

    /// The element of the page.
    pub(crate) fn html(&self) -> String {
        format!(
            "<script type=\"text/plain\" id=\"chunk-{}\">{}</script>\n",
            self.name,
            STANDARD.encode(self.packed())
        )
    }

    /// The gzipped bytes.
    fn packed(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.insert("format".into(), json!(FORMAT));
        header.insert("arrays".into(), Value::Object(self.arrays.clone()));
        let left_out = self.left_out.iter();
        let left_out = left_out.map(|l| json!({"what": l.what, "why": l.why, "file": l.file}));
        header.insert("left_out".into(), Value::Array(left_out.collect()));
        let mut text = Value::Object(header).to_string();
        while !(4 + text.len()).is_multiple_of(8) {
            text.push(' ');
        }
        let mut out = GzBuilder::new().write(Vec::new(), Compression::new(6));
        let written = u32::try_from(text.len())
            .map_err(std::io::Error::other)
            .and_then(|n| out.write_all(&n.to_le_bytes()))
            .and_then(|()| out.write_all(text.as_bytes()))
            .and_then(|()| out.write_all(&self.bytes))
            .and_then(|()| out.finish());
        written.expect("writing to memory does not fail, and a header is below 4 GB")
    }
}

/// A NaN has one sign and payload, so that equal arrays have equal bytes.
fn one_nan(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use super::*;

    /// A chunk as its reader sees it.
    pub(crate) struct Unpacked {
        pub(crate) header: Value,
        arrays: Vec<u8>,
    }

    impl Unpacked {
        /// The chunk of a page, by name; written without the writer's code.
        pub(crate) fn of(page: &str, name: &str) -> Option<Self> {
            let open = format!("<script type=\"text/plain\" id=\"chunk-{name}\">");
            let (_, rest) = page.split_once(&open)?;
            let (text, _) = rest.split_once("</script>").unwrap();
            let mut raw = Vec::new();
            flate2::read::GzDecoder::new(&STANDARD.decode(text).unwrap()[..])
                .read_to_end(&mut raw)
                .unwrap();
            let n = u32::from_le_bytes(raw[..4].try_into().unwrap()) as usize;
            assert_eq!((4 + n) % 8, 0);
            let header: Value = serde_json::from_slice(&raw[4..4 + n]).unwrap();
            assert_eq!(header["format"], 1);
            Some(Self {
                header,
                arrays: raw[4 + n..].to_vec(),
            })
        }

        pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
            serde_json::from_value(self.header["arrays"][name]["s"].clone()).unwrap()
        }

        pub(crate) fn has(&self, name: &str) -> bool {
            self.header["arrays"].get(name).is_some()
        }

        /// Values of an array; NaN where there is none.
        pub(crate) fn values(&self, name: &str) -> Vec<f64> {
            let about = &self.header["arrays"][name];
            let kind = about["t"].as_str().unwrap_or_else(|| panic!("no `{name}`"));
            let shape = self.shape(name);
            let n: usize = shape.iter().product();
            let size: usize = kind[1..].parse::<usize>().unwrap() / 8;
            let at = about["o"].as_u64().unwrap() as usize;
            assert_eq!(at % 8, 0);
            let bytes = &self.arrays[at..at + n * size];
            let code = about["code"].as_str().unwrap_or("plain");
            let byte = |i: usize, b: usize| match code.ends_with("planes") {
                true => bytes[b * n + i],
                false => bytes[i * size + b],
            };
            let mut raw: Vec<u32> = (0..n)
                .map(|i| (0..size).map(|b| u32::from(byte(i, b)) << (8 * b)).sum())
                .collect();
            if code.starts_with("delta") {
                let width = *shape.last().unwrap();
                for i in (0..n).filter(|i| i % width > 0) {
                    raw[i] = raw[i].wrapping_add(raw[i - 1]) & (u32::MAX >> (32 - 8 * size));
                }
            }
            raw.into_iter().map(|r| value(r, kind, about)).collect()
        }

        pub(crate) fn texts(&self, key: &str) -> Vec<String> {
            serde_json::from_value(self.header[key].clone()).unwrap()
        }
    }

    fn value(raw: u32, kind: &str, about: &Value) -> f64 {
        let (v, top) = match kind {
            "u8" => (f64::from(raw), 255.0),
            "u16" => (f64::from(raw), 65_535.0),
            "u32" => (f64::from(raw), f64::from(u32::MAX)),
            "i8" => (f64::from(raw as u8 as i8), 127.0),
            "i16" => (f64::from(raw as u16 as i16), 32_767.0),
            "f16" => (f64::from(f16::from_bits(raw as u16)), 0.0),
            "f32" => (f64::from(f32::from_bits(raw)), 0.0),
            other => panic!("type `{other}`"),
        };
        let missing = about["missing"].as_f64();
        if missing == Some(v) {
            return f64::NAN;
        }
        if let Some(scale) = about["scale"].as_f64() {
            return v * scale;
        }
        if let (Some(min), Some(max)) = (about["min"].as_f64(), about["max"].as_f64()) {
            let top = top - f64::from(u8::from(missing.is_some()));
            return min + v * (max - min) / top;
        }
        v
    }

    #[test]
    fn every_array_comes_back() {
        let mut chunk = Chunk::new("test");
        chunk.set("names", json!(["</script>", "b"]));
        chunk.u8("bytes", &[3], &[1, 2, 250]);
        chunk.u32(
            "counts",
            &[2, 3],
            &[7, 5, 900_000, 1, 0, u32::MAX],
            Code::DeltaPlanes,
        );
        chunk.f32("slopes", &[3], &[0.25, f64::NAN, -1.5]);
        chunk.f16("spread", &[2], &[0.5, 1.0 / 3.0]);
        chunk.codes("label", &[0, -1, 1], 2);
        chunk.codes("many", &[0, -1, 299], 300);
        chunk.steps16(
            "copy",
            &[2, 2],
            &[0.002, -0.4, f64::NAN, 99.0],
            0.002,
            Code::DeltaPlanes,
        );
        chunk.steps8("heat", &[4], &[0.1, -0.3, f32::NAN, 0.05], 0.2);
        chunk.positive8("se", &[3], &[0.11, f64::NAN, 9.0], 0.01);
        chunk.range("depth", &[10.0, f64::NAN, 30.0], false);
        chunk.range("coarse", &[10.0, f64::NAN, 30.0], true);
        chunk.range("equal", &[4.0, 4.0], false);
        chunk.points("xy", &[[0.0, 1.0], [f64::NAN, f64::NAN]]);
        let html = chunk.html();
        assert_eq!(html.matches("</script>").count(), 1);
        assert_eq!(html, chunk.clone().html());
        let read = Unpacked::of(&html, "test").unwrap();
        assert_eq!(read.texts("names"), ["</script>", "b"]);
        let is = |name: &str, expected: &[f64], within: f64| {
            let found = read.values(name);
            assert_eq!(found.len(), expected.len(), "{name}");
            for (f, e) in found.iter().zip(expected) {
                let same = f.is_nan() && e.is_nan() || (f - e).abs() <= within;
                assert!(same, "{name}: {found:?}");
            }
        };
        is("bytes", &[1.0, 2.0, 250.0], 0.0);
        let largest = f64::from(u32::MAX);
        is("counts", &[7.0, 5.0, 900_000.0, 1.0, 0.0, largest], 0.0);
        is("slopes", &[0.25, f64::NAN, -1.5], 0.0);
        is("spread", &[0.5, 1.0 / 3.0], 2e-4);
        is("label", &[0.0, f64::NAN, 1.0], 0.0);
        is("many", &[0.0, f64::NAN, 299.0], 0.0);
        is("copy", &[0.002, -0.4, f64::NAN, 65.534], 1e-9);
        is("heat", &[0.1, -0.2, f64::NAN, 0.05], 1e-3);
        is("se", &[0.11, f64::NAN, 2.54], 1e-9);
        is("depth", &[10.0, f64::NAN, 30.0], 1e-3);
        is("coarse", &[10.0, f64::NAN, 30.0], 0.04);
        is("equal", &[4.0, 4.0], 0.0);
        is("xy", &[0.0, 1.0, f64::NAN, f64::NAN], 1e-9);
        assert_eq!(read.shape("copy"), [2, 2]);
    }
}
