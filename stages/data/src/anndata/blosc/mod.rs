//! The `blosc` codec of zarr, read only, without C++.
//!
//! zarrs' own one links c-blosc with snappy, which is C++. Blosc's format is small: [`container`] reads it and hands the
//! pieces to the decoders that are there anyway (lz4, zlib and zstd), [`blosclz`] is the one that no other crate
//! has, [`shuffle`] undoes the filters. `snappy` is not read; numcodecs does not write it either.

mod blosclz;
mod container;
mod shuffle;

use std::borrow::Cow;
use std::sync::{Arc, Once};

use zarrs::array::ArrayBytesRaw;
use zarrs::array::codec::api::{
    BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions,
    CodecOptions, CodecRuntimePluginV2, CodecRuntimePluginV3, CodecTraits,
    PartialDecoderCapability, PartialEncoderCapability, RecommendedConcurrency, register_codec_v2,
    register_codec_v3,
};
use zarrs::metadata::Configuration;
use zarrs::plugin::{ExtensionName, PluginCreateError, ZarrVersion};

const NAME: &str = "blosc";

/// Makes zarrs read `blosc` with this codec, in stores of both versions. Once is enough, more do no harm.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        register_codec_v2(CodecRuntimePluginV2::new(
            |name| name == NAME,
            |metadata| Blosc::codec(Some(metadata.configuration())),
        ));
        register_codec_v3(CodecRuntimePluginV3::new(
            |name| name == NAME,
            |metadata| Blosc::codec(metadata.configuration()),
        ));
    });
}

/// The codec. A chunk's header says how it was packed, so nothing of the configuration is needed to read it.
#[derive(Debug)]
struct Blosc {
    configuration: Configuration,
}

impl Blosc {
    fn codec(configuration: Option<&Configuration>) -> Result<Codec, PluginCreateError> {
        let configuration = configuration.cloned().unwrap_or_default();
        let compressor = configuration.get("cname").and_then(|name| name.as_str());
        if compressor == Some("snappy") {
            let message = container::Error::Compressor("snappy").to_string();
            return Err(PluginCreateError::Other(message));
        }
        Ok(Codec::BytesToBytes(Arc::new(Self { configuration })))
    }
}

impl ExtensionName for Blosc {
    fn name(&self, _: ZarrVersion) -> Option<Cow<'static, str>> {
        Some(NAME.into())
    }
}

impl CodecTraits for Blosc {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn configuration(&self, _: ZarrVersion, _: &CodecMetadataOptions) -> Option<Configuration> {
        Some(self.configuration.clone())
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        PartialDecoderCapability {
            partial_read: false,
            partial_decode: false,
        }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability {
            partial_encode: false,
        }
    }
}

impl BytesToBytesCodecTraits for Blosc {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(
        &self,
        _: &BytesRepresentation,
    ) -> Result<RecommendedConcurrency, CodecError> {
        Ok(RecommendedConcurrency::new_maximum(1))
    }

    fn encoded_representation(&self, decoded: &BytesRepresentation) -> BytesRepresentation {
        match decoded.size() {
            Some(size) => BytesRepresentation::BoundedSize(size + container::HEADER as u64),
            None => BytesRepresentation::UnboundedSize,
        }
    }

    fn encode<'a>(
        &self,
        _: ArrayBytesRaw<'a>,
        _: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        Err(CodecError::Other("blosc is not written".to_string()))
    }

    fn decode<'a>(
        &self,
        packed: ArrayBytesRaw<'a>,
        decoded: &BytesRepresentation,
        _: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        container::unpack(&packed, decoded.size())
            .map(Cow::Owned)
            .map_err(|e| CodecError::Other(format!("blosc: {e}")))
    }
}

#[cfg(test)]
mod tests;
