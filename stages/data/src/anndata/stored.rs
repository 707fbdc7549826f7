//! How each of our types is stored in a zarr array.

use serde_json::{Value, json};
use zarrs::array::Element;

/// A type that arrays are stored as.
pub(super) trait Stored: Element + Default + Send + Sync {
    /// zarr's name of the data type.
    const NAME: &'static str;

    /// What a chunk that is not stored consists of: the type's default.
    fn fill() -> Value;

    /// The codec that makes bytes.
    fn codec() -> Value {
        json!({"name": "bytes", "configuration": {"endian": "little"}})
    }
}

macro_rules! stored {
    ($($type:ty, $name:literal, $fill:expr $(, $codec:expr)?;)*) => {$(
        impl Stored for $type {
            const NAME: &'static str = $name;
            fn fill() -> Value { json!($fill) }
            $(fn codec() -> Value { $codec })?
        }
    )*};
}

stored! {
    f32, "float32", 0.0;
    f64, "float64", 0.0;
    i64, "int64", 0;
    i32, "int32", 0;
    i16, "int16", 0;
    i8, "int8", 0, json!({"name": "bytes"});
    u8, "uint8", 0, json!({"name": "bytes"});
    bool, "bool", false, json!({"name": "bytes"});
    String, "string", "", json!({"name": "vlen-utf8", "configuration": {}});
}
