//! From sealed bytes to proven ones: decrypt, decompress within the bound the index gives, compare the hash with the id.

use super::{
    Id,
    crypto::{Key, OVERHEAD},
};

/// Most plain bytes of one blob. Backup tools cut files at 8 MiB; only directories with millions of entries come near.
const BLOB_LIMIT: u32 = 1 << 30;
/// Most plain bytes of a compressed file (an index, a snapshot). Tools begin a new index long before; whatever inflates
/// beyond this is after our memory.
const FILE_LIMIT: u64 = 64 << 20;

/// Why bytes are not the blob they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BlobFault {
    /// Too short, or the MAC does not hold.
    #[error("it does not decrypt (its authentication code does not match)")]
    Sealed,
    /// zstd refuses it.
    #[error("it does not decompress: {0}")]
    Compressed(String),
    /// It decompresses to another length than the index says.
    #[error("it is {got} bytes long where the index says {expected}")]
    Length {
        /// By the index.
        expected: u64,
        /// In truth.
        got: u64,
    },
    /// It is something else.
    #[error("its SHA-256 is not its id")]
    Hash,
    /// The index claims a length no tool writes.
    #[error("the index claims {0} bytes for it, more than any backup tool writes")]
    Monstrous(u32),
}

/// Decodes blobs one after the other, with memory of its own.
pub(crate) struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { zstd: None, plain: Vec::new() }
    }

    /// The proven bytes of the blob `id`; `sealed` is overwritten. `raw` is its length before compression, if compressed.
    pub(crate) fn decode<'a>(&'a mut self, key: &Key, sealed: &'a mut [u8], raw: Option<u32>, id: &Id) -> Result<&'a [u8], BlobFault> {
        let opened = key.open(sealed).ok_or(BlobFault::Sealed)?;
        let plain = match raw {
            None => &*opened,
            Some(raw) => self.decompress(opened, raw)?,
        };
        if Id::of(plain) == *id { Ok(plain) } else { Err(BlobFault::Hash) }
    }

    fn decompress(&mut self, packed: &[u8], raw: u32) -> Result<&[u8], BlobFault> {
        if raw > BLOB_LIMIT {
            return Err(BlobFault::Monstrous(raw));
        }
        let fault = |error: std::io::Error| BlobFault::Compressed(error.to_string());
        // Nothing larger than needed is kept between blobs.
        if self.plain.capacity() > 16 << 20 {
            self.plain = Vec::new();
        }
        self.plain.clear();
        self.plain.try_reserve(raw as usize).map_err(|_| BlobFault::Monstrous(raw))?;
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(fault)?),
        };
        zstd.decompress_to_buffer(packed, &mut self.plain).map_err(fault)?;
        let (expected, got) = (u64::from(raw), self.plain.len() as u64);
        if expected == got { Ok(&self.plain) } else { Err(BlobFault::Length { expected, got }) }
    }
}

/// The plain bytes of a sealed file that is no pack. Repositories of version 2 may compress it.
pub(crate) fn unseal(key: &Key, mut sealed: Vec<u8>) -> Result<Vec<u8>, BlobFault> {
    use std::io::Read as _;
    let opened = key.open(&mut sealed).ok_or(BlobFault::Sealed)?;
    match opened.first() {
        Some(b'{' | b'[') => Ok(opened.to_vec()),
        Some(2) => {
            let fault = |error: std::io::Error| BlobFault::Compressed(error.to_string());
            let mut plain = Vec::new();
            let stream = zstd::stream::read::Decoder::with_buffer(&opened[1..]).map_err(fault)?;
            stream.take(FILE_LIMIT + 1).read_to_end(&mut plain).map_err(fault)?;
            if plain.len() as u64 > FILE_LIMIT {
                return Err(BlobFault::Length { expected: FILE_LIMIT, got: plain.len() as u64 });
            }
            Ok(plain)
        }
        Some(_) | None => Err(BlobFault::Compressed("it is neither JSON nor a known compression".to_owned())),
    }
}

/// Plain length of a blob by the index.
pub(crate) fn plain_length(length: u32, raw: Option<u32>) -> u64 {
    raw.map_or_else(|| u64::from(length).saturating_sub(OVERHEAD as u64), u64::from)
}
