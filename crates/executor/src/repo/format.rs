//! The files of a restic repository, as JSON: only the fields a restore needs. Unknown fields are ignored, as newer tools
//! add some; what these types accept is checked further where it is used.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::id::Id;

/// A key file: a sealed master key and how a password opens it.
#[derive(Deserialize)]
pub(crate) struct KeyFile {
    pub(crate) kdf: String,
    #[serde(rename = "N")]
    pub(crate) n: u64,
    pub(crate) r: u64,
    pub(crate) p: u64,
    #[serde(deserialize_with = "base64")]
    pub(crate) data: Vec<u8>,
    #[serde(deserialize_with = "base64")]
    pub(crate) salt: Vec<u8>,
}

/// What a key file seals.
#[derive(Deserialize)]
pub(crate) struct MasterKey {
    pub(crate) mac: Mac,
    #[serde(deserialize_with = "base64")]
    pub(crate) encrypt: Vec<u8>,
}

/// The part of a master key that authenticates.
#[derive(Deserialize)]
pub(crate) struct Mac {
    #[serde(deserialize_with = "base64")]
    pub(crate) k: Vec<u8>,
    #[serde(deserialize_with = "base64")]
    pub(crate) r: Vec<u8>,
}

/// The repository's `config`.
#[derive(Deserialize)]
pub(crate) struct Config {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) id: String,
}

/// A snapshot file.
#[derive(Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) time: String,
    pub(crate) tree: Id,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) paths: Vec<String>,
    #[serde(default)]
    pub(crate) hostname: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
}

/// A lock file.
#[derive(Deserialize)]
pub(crate) struct Lock {
    pub(crate) time: jiff::Timestamp,
    #[serde(default)]
    pub(crate) exclusive: bool,
    #[serde(default)]
    pub(crate) hostname: String,
    #[serde(default)]
    pub(crate) pid: i64,
}

/// An index file.
#[derive(Deserialize)]
pub(crate) struct IndexFile {
    #[serde(deserialize_with = "nullable")]
    pub(crate) packs: Vec<IndexPack>,
}

/// What an index file says about one pack.
#[derive(Deserialize)]
pub(crate) struct IndexPack {
    pub(crate) id: Id,
    #[serde(deserialize_with = "nullable")]
    pub(crate) blobs: Vec<IndexBlob>,
}

/// Where a blob lies in its pack.
#[derive(Deserialize)]
pub(crate) struct IndexBlob {
    pub(crate) id: Id,
    #[serde(rename = "type")]
    pub(crate) kind: BlobKind,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    #[serde(default)]
    pub(crate) uncompressed_length: Option<u32>,
}

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobKind {
    /// A directory.
    Tree,
    /// A piece of a file.
    Data,
}

/// A directory.
#[derive(Deserialize)]
pub(crate) struct Tree {
    #[serde(deserialize_with = "nullable")]
    pub(crate) nodes: Vec<Node>,
}

/// An entry of a directory. `mode` is Go's `os.FileMode`; `name` is quoted as Go quotes strings.
#[derive(Clone, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) mode: u32,
    #[serde(default)]
    pub(crate) mtime: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
    #[serde(default)]
    pub(crate) inode: u64,
    #[serde(default)]
    pub(crate) device_id: u64,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) links: u64,
    #[serde(default)]
    pub(crate) linktarget: String,
    #[serde(default, deserialize_with = "maybe_base64")]
    pub(crate) linktarget_raw: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) extended_attributes: Vec<ExtendedAttribute>,
    #[serde(default)]
    pub(crate) device: u64,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) content: Vec<Id>,
    #[serde(default)]
    pub(crate) subtree: Option<Id>,
}

/// An extended attribute, ACLs among them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ExtendedAttribute {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "maybe_base64")]
    pub(crate) value: Option<Vec<u8>>,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}

fn maybe_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(text).map_err(D::Error::custom)).transpose()
}

/// Go writes an empty list as `null`.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}
