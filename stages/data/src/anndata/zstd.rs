//! zarrs' `zstd` codec, with an end to what a chunk may be unpacked to.
//!
//! zarrs reserves what a frame's header states, and a damaged header can state 2^64 bytes. Here no more is reserved
//! than the array's metadata and the size of the chunk allow. Writing is zarrs'.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::{Arc, Once};

use zarrs::array::ArrayBytesRaw;
use zarrs::array::codec::ZstdCodec;
use zarrs::array::codec::api::{
    BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecError, CodecMetadataOptions,
    CodecOptions, CodecRuntimePluginV2, CodecRuntimePluginV3, CodecTraits, CodecTraitsV2,
    CodecTraitsV3, PartialDecoderCapability, PartialEncoderCapability, RecommendedConcurrency,
    register_codec_v2, register_codec_v3,
};
use zarrs::metadata::Configuration;
use zarrs::plugin::{ExtensionAliases, ExtensionName, ZarrVersion, ZarrVersion2, ZarrVersion3};

/// A frame of one value packs 131,072 bytes into 4, and nothing packs more.
pub(super) const MOST_PACKED: u64 = 40_000;

/// Makes zarrs read `zstd` with this codec, in stores of both versions. Once is enough, more do no harm.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        register_codec_v2(CodecRuntimePluginV2::new(
            <ZstdCodec as ExtensionAliases<ZarrVersion2>>::matches_name,
            |metadata| <ZstdCodec as CodecTraitsV2>::create(metadata).map(bounded),
        ));
        register_codec_v3(CodecRuntimePluginV3::new(
            <ZstdCodec as ExtensionAliases<ZarrVersion3>>::matches_name,
            |metadata| <ZstdCodec as CodecTraitsV3>::create(metadata).map(bounded),
        ));
    });
}

fn bounded(codec: Codec) -> Codec {
    match codec {
        Codec::BytesToBytes(zstd) => Codec::BytesToBytes(Arc::new(Bounded(zstd))),
        other => other,
    }
}

/// zarrs' codec, whose chunks are unpacked here.
#[derive(Debug)]
struct Bounded(Arc<dyn BytesToBytesCodecTraits>);

impl ExtensionName for Bounded {
    fn name(&self, version: ZarrVersion) -> Option<Cow<'static, str>> {
        self.0.name(version)
    }
}

impl CodecTraits for Bounded {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn configuration(
        &self,
        version: ZarrVersion,
        options: &CodecMetadataOptions,
    ) -> Option<Configuration> {
        self.0.configuration(version, options)
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        self.0.partial_decoder_capability()
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        self.0.partial_encoder_capability()
    }
}

impl BytesToBytesCodecTraits for Bounded {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn BytesToBytesCodecTraits> {
        self
    }

    fn recommended_concurrency(
        &self,
        decoded: &BytesRepresentation,
    ) -> Result<RecommendedConcurrency, CodecError> {
        self.0.recommended_concurrency(decoded)
    }

    fn encoded_representation(&self, decoded: &BytesRepresentation) -> BytesRepresentation {
        self.0.encoded_representation(decoded)
    }

    fn encode<'a>(
        &self,
        plain: ArrayBytesRaw<'a>,
        options: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        self.0.encode(plain, options)
    }

    fn decode<'a>(
        &self,
        packed: ArrayBytesRaw<'a>,
        decoded: &BytesRepresentation,
        _: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        unpack(&packed, decoded.size()).map(Cow::Owned)
    }
}

/// The bytes that `packed` holds: at most `expected`, where the array's metadata states it.
fn unpack(packed: &[u8], expected: Option<u64>) -> Result<Vec<u8>, CodecError> {
    let most = packed.len() as u64 * MOST_PACKED;
    match expected {
        Some(size) if size > most => Err(CodecError::Other(format!(
            "zstd: a chunk of {} bytes cannot hold {size}",
            packed.len()
        ))),
        Some(size) => Ok(zstd::bulk::decompress(packed, size as usize)?),
        None => {
            let mut plain = Vec::new();
            zstd::Decoder::new(packed)?
                .take(most)
                .read_to_end(&mut plain)?;
            Ok(plain)
        }
    }
}
