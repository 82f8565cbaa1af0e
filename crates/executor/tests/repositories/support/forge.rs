//! A writer of restic's repository format (versions 1 and 2) that obeys no rule but those a test asks for.
//!
//! It exists to write what no backup tool writes: trees with forbidden names, indexes that lie, configs of a version
//! that does not exist. Everything is sealed with the repository's own key, so that only the content is wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, aead::Aead};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hex;

/// Sealing adds a nonce of 16 bytes and a tag of 16 bytes.
const SEAL: usize = 32;

/// The id of `bytes`: SHA-256 in hex.
pub(crate) fn id_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A key of the format: 32 bytes AES-256, then 16 and 16 of Poly1305-AES.
#[derive(Clone)]
pub(crate) struct Master([u8; 64]);

impl Master {
    /// A key made from a number.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(super::noise(seed, 64).try_into().expect("64 bytes"))
    }

    /// The key of a repository that restic made.
    pub(crate) fn of_restic(repository: &Path, password: &str) -> Self {
        let text = super::restic::restic(repository, password, &["cat", "masterkey"]).stdout;
        let value: Value = serde_json::from_str(&text).expect("a master key");
        let part = |value: &Value| STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        let bytes = [part(&value["encrypt"]), part(&value["mac"]["k"]), part(&value["mac"]["r"])].concat();
        Self(bytes.try_into().expect("64 bytes"))
    }

    /// Encrypts and authenticates. The nonce is derived from the content, so that forged repositories never vary.
    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let nonce = &Sha256::digest(plain)[..16];
        let cipher = Aes256CtrPoly1305Aes::new(Key::from_slice(&self.0));
        let sealed = cipher.encrypt(Nonce::from_slice(nonce), plain).expect("sealing");
        [nonce, &sealed].concat()
    }

    /// A key file that opens with `password`, with scrypt costs so low that a table of a hundred runs takes no minutes.
    pub(crate) fn key_file(&self, password: &str, salt: u64) -> Vec<u8> {
        let salt = super::noise(salt, 64);
        let mut user = [0u8; 64];
        let costs = scrypt::Params::new(4, 8, 1).expect("scrypt costs");
        scrypt::scrypt(password.as_bytes(), &salt, &costs, &mut user).expect("scrypt");
        let coded = |range: std::ops::Range<usize>| STANDARD.encode(&self.0[range]);
        let inner = json!({"mac": {"k": coded(32..48), "r": coded(48..64)}, "encrypt": coded(0..32)}).to_string();
        json!({
            "created": "2026-01-01T00:00:00Z", "username": "root", "hostname": "proof", "kdf": "scrypt",
            "N": 16, "r": 8, "p": 1, "salt": STANDARD.encode(&salt), "data": STANDARD.encode(Self(user).seal(inner.as_bytes())),
        })
        .to_string()
        .into_bytes()
    }
}

/// Writes a repository file as restic leaves it: read-only for its owner.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("making a directory");
    if path.exists() {
        fs::remove_file(path).expect("removing the old file");
    }
    fs::write(path, bytes).expect("writing");
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).expect("setting the mode");
}

/// What a blob holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Content of files.
    Data,
    /// A directory.
    Tree,
}

impl Holds {
    fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

/// A repository in the making.
pub(crate) struct Forge {
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// Its key.
    pub(crate) master: Master,
    packs: Vec<Value>,
}

impl Forge {
    /// An empty repository of format `version` that opens with `password`.
    pub(crate) fn new(directory: &Path, version: u32, password: &str) -> Self {
        let forge = Self { directory: directory.to_owned(), master: Master::from_seed(7), packs: Vec::new() };
        for part in ["data", "index", "keys", "locks", "snapshots"] {
            fs::create_dir_all(directory.join(part)).expect("making the repository");
        }
        forge.config(&json!({"version": version, "id": "ab".repeat(32), "chunker_polynomial": "25b468838dcb75"}));
        forge.key(password, 1);
        forge
    }

    /// Opens a repository that restic made, to add to it.
    pub(crate) fn existing(directory: &Path, master: Master) -> Self {
        Self { directory: directory.to_owned(), master, packs: Vec::new() }
    }

    /// Writes `config`.
    pub(crate) fn config(&self, config: &Value) {
        put(&self.directory.join("config"), &self.master.seal(config.to_string().as_bytes()));
    }

    /// Adds a key file and returns its name.
    pub(crate) fn key(&self, password: &str, salt: u64) -> String {
        let bytes = self.master.key_file(password, salt);
        let id = id_of(&bytes);
        put(&self.directory.join("keys").join(&id), &bytes);
        id
    }

    /// Seals `value` into a file named after its own hash and returns that name.
    pub(crate) fn file(&self, folder: &str, value: &Value) -> String {
        self.raw_file(folder, value.to_string().as_bytes())
    }

    /// The same for any bytes.
    pub(crate) fn raw_file(&self, folder: &str, plain: &[u8]) -> String {
        let sealed = self.master.seal(plain);
        let id = id_of(&sealed);
        put(&self.directory.join(folder).join(&id), &sealed);
        id
    }

    /// Writes one pack of blobs, remembers what the index has to say about it, and returns the ids of the blobs.
    pub(crate) fn pack(&mut self, holds: Holds, blobs: &[Vec<u8>]) -> Vec<String> {
        self.pack_as(blobs.iter().map(|plain| Blob::plain(holds, plain)).collect())
    }

    /// The same for blobs whose description may lie.
    pub(crate) fn pack_as(&mut self, blobs: Vec<Blob>) -> Vec<String> {
        let (mut body, mut header, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        for blob in &blobs {
            let sealed = self.master.seal(&blob.stored);
            let length = u32::try_from(sealed.len()).expect("a blob below 4 GiB");
            header.push(u8::from(blob.holds == Holds::Tree) + if blob.claimed.is_some() { 2 } else { 0 });
            header.extend_from_slice(&length.to_le_bytes());
            if let Some(claimed) = blob.claimed {
                header.extend_from_slice(&claimed.to_le_bytes());
            }
            header.extend_from_slice(&unhex(&blob.id));
            let mut entry = json!({"id": blob.id, "type": blob.holds.word(), "offset": body.len(), "length": length});
            if let Some(claimed) = blob.claimed {
                entry["uncompressed_length"] = claimed.into();
            }
            for (field, value) in &blob.index_says {
                entry[*field] = value.clone();
            }
            listed.push(entry);
            body.extend_from_slice(&sealed);
        }
        let sealed = self.master.seal(&header);
        body.extend_from_slice(&sealed);
        body.extend_from_slice(&u32::try_from(sealed.len()).expect("a short header").to_le_bytes());
        let id = id_of(&body);
        put(&self.directory.join("data").join(&id[..2]).join(&id), &body);
        self.packs.push(json!({"id": id, "blobs": listed}));
        blobs.into_iter().map(|blob| blob.id).collect()
    }

    /// Name of the pack written last.
    pub(crate) fn last_pack(&self) -> String {
        self.packs.last().and_then(|pack| pack["id"].as_str()).expect("a pack").to_owned()
    }

    /// Adds to the index what was not written to any pack.
    pub(crate) fn claim_pack(&mut self, pack: Value) {
        self.packs.push(pack);
    }

    /// Writes a directory of `nodes` as the only blob of a pack and returns its id.
    pub(crate) fn tree(&mut self, nodes: &[Value]) -> String {
        let text = format!("{}\n", json!({"nodes": nodes}));
        self.pack(Holds::Tree, &[text.into_bytes()]).remove(0)
    }

    /// Writes the index of everything packed so far.
    pub(crate) fn index(&mut self) -> String {
        let packs = std::mem::take(&mut self.packs);
        self.file("index", &json!({"packs": packs}))
    }

    /// Writes the index and a snapshot of `tree`, and returns the snapshot's id.
    pub(crate) fn snapshot(&mut self, tree: &str) -> String {
        self.index();
        self.file("snapshots", &json!({
            "time": "2026-01-02T03:04:05Z", "tree": tree, "paths": ["/data"], "hostname": "proof", "username": "root", "uid": 0, "gid": 0,
        }))
    }

    /// Writes a lock and returns its name.
    pub(crate) fn lock(&self, taken: Taken, exclusive: Exclusive) -> String {
        let time = match taken {
            Taken::Now => super::run::rfc3339_now(),
            Taken::Long => "2026-01-01T00:00:00Z".to_owned(),
            Taken::Longer => "2025-01-01T00:00:00Z".to_owned(),
        };
        let exclusive = match exclusive {
            Exclusive::Yes => true,
            Exclusive::No => false,
        };
        self.file(
            "locks",
            &json!({"time": time, "exclusive": exclusive, "hostname": "elsewhere", "username": "root", "pid": 4242, "uid": 0, "gid": 0}),
        )
    }
}

/// When a lock was taken.
#[derive(Clone, Copy)]
pub(crate) enum Taken {
    /// This second.
    Now,
    /// Months ago: stale.
    Long,
    /// A year before that.
    Longer,
}

/// Whether a lock shuts out others.
#[derive(Clone, Copy)]
pub(crate) enum Exclusive {
    /// As prune takes it.
    Yes,
    /// As backup and restore take it.
    No,
}

/// A blob, what it is called, and what is said about it.
pub(crate) struct Blob {
    holds: Holds,
    id: String,
    stored: Vec<u8>,
    claimed: Option<u32>,
    index_says: Vec<(&'static str, Value)>,
}

impl Blob {
    /// An honest uncompressed blob.
    pub(crate) fn plain(holds: Holds, plain: &[u8]) -> Self {
        Self { holds, id: id_of(plain), stored: plain.to_vec(), claimed: None, index_says: Vec::new() }
    }

    /// A compressed blob that claims to inflate to `claimed` bytes and to hash to `id`.
    pub(crate) fn compressed(holds: Holds, id: &str, stored: Vec<u8>, claimed: u32) -> Self {
        Self { holds, id: id.to_owned(), stored, claimed: Some(claimed), index_says: Vec::new() }
    }

    /// Calls the blob by another id than its hash.
    pub(crate) fn called(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// Lets the index say something else of a field.
    pub(crate) fn index_says(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.index_says.push((field, value.into()));
        self
    }
}

/// Bytes that sealing adds, for those who compute offsets.
pub(crate) fn sealed_length(plain: usize) -> usize {
    plain + SEAL
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hex")).collect()
}

/// An entry of a directory: a file of `content` blobs.
pub(crate) fn file_node(name: &str, size: u64, content: &[String]) -> Value {
    json!({
        "name": name, "type": "file", "mode": 0o644, "mtime": "2026-01-02T03:04:05Z", "atime": "2026-01-02T03:04:05Z", "ctime": "2026-01-02T03:04:05Z",
        "uid": 0, "gid": 0, "size": size, "links": 1, "content": content,
    })
}

/// An entry of a directory: a directory. Go's mode of a directory has bit 31 set.
pub(crate) fn dir_node(name: &str, subtree: &str) -> Value {
    json!({"name": name, "type": "dir", "mode": 2_147_484_141_u32, "mtime": "2026-01-02T03:04:05Z", "atime": "2026-01-02T03:04:05Z", "ctime": "2026-01-02T03:04:05Z", "uid": 0, "gid": 0, "subtree": subtree})
}

/// An entry of a directory: a symbolic link. Go's mode of one has bit 27 set.
pub(crate) fn link_node(name: &str, target: &str) -> Value {
    json!({"name": name, "type": "symlink", "mode": 134_218_239_u32, "mtime": "2026-01-02T03:04:05Z", "atime": "2026-01-02T03:04:05Z", "ctime": "2026-01-02T03:04:05Z", "uid": 0, "gid": 0, "links": 1, "linktarget": target})
}
