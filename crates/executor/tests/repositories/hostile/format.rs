//! Packs, indexes and snapshots that lie about lengths and kinds.

use backproof_api::Cause;
use serde_json::json;

use super::{
    Expected::{Green, NotGreen, Open, Red},
    GIBIBYTE, Place, Trap, trap,
};
use crate::support::forge::{Blob, Forge, Holds, file_node, id_of, sealed_length};

const PACK: &[Cause] = &[Cause::PackDamaged, Cause::PackTruncated, Cause::IndexDamaged];
/// A wrong length also contradicts the size of the file.
const LENGTH: &[Cause] = &[Cause::PackDamaged, Cause::TreeInvalid];
const MISSING: &[Cause] = &[Cause::BlobMissing, Cause::TreeDamaged, Cause::TreeInvalid];

pub(super) fn traps() -> Vec<Trap> {
    vec![
        trap("an honest forged repository", |forge, _| honest(forge), Green(&[(b"x", Some(b"evil"))])),
        trap("a blob that inflates to a gibibyte, said to be 100 bytes", |forge, _| bomb(forge, 100), Red(PACK)),
        Trap { memory: GIBIBYTE, ..trap("a blob that inflates to a gibibyte, and says so", |forge, _| bomb(forge, 1 << 30), Red(PACK)) },
        trap("a blob that says it inflates to four", |forge, _| bomb(forge, u32::MAX), Open(&[Cause::UnsupportedRepository])),
        Trap { memory: GIBIBYTE, ..trap("a directory that inflates to a gibibyte", tree_bomb, Red(&[Cause::TreeDamaged])) },
        trap("a snapshot that inflates to a gibibyte", snapshot_bomb, Red(&[Cause::SnapshotDamaged])),
        trap("an index that inflates to four gibibytes", index_bomb, Red(&[Cause::IndexDamaged])),
        trap("a blob that does not inflate", no_zstd, Red(PACK)),
        trap("a blob that inflates to less than it says", short_zstd, Red(PACK)),
        trap("a blob longer than any pack", |forge, _| lying(forge, "length", u64::from(u32::MAX)), Red(PACK)),
        trap("a blob whose end overflows", |forge, _| lying(forge, "offset", u64::from(u32::MAX)), Red(PACK)),
        trap("a blob at an offset no number holds", |forge, _| lying(forge, "offset", u64::MAX), Red(PACK)),
        trap("a blob behind the end of its pack", |forge, _| lying(forge, "offset", 100_000), Red(PACK)),
        trap("a blob shorter than its seal", |forge, _| lying(forge, "length", 5), Red(LENGTH)),
        trap("a blob of length nought", |forge, _| lying(forge, "length", 0), Red(LENGTH)),
        trap("a blob that reaches into the header", |forge, _| lying(forge, "length", sealed_length(20) as u64), Red(PACK)),
        trap(
            "a pack that is a directory climbing out",
            climbing_pack,
            NotGreen(&[Cause::IndexDamaged, Cause::PackMissing, Cause::BlobMissing]),
        ),
        trap("a snapshot whose tree is file content", snapshot_of_data, Red(MISSING)),
        trap("a snapshot whose tree is in no index", |forge, _| forge.snapshot(&"00".repeat(32)), Red(MISSING)),
        trap("a snapshot whose tree is no id", |forge, _| forge.snapshot("../../canary"), Red(&[Cause::SnapshotDamaged])),
        trap("a key file whose costs would take all memory", dear_key, Open(&[Cause::UnsupportedRepository])),
    ]
}

/// If this one were not green, all others would be red for the wrong reason.
pub(super) fn honest(forge: &mut Forge) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    let tree = forge.tree(&[file_node("x", 4, &content)]);
    forge.snapshot(&tree)
}

/// zstd frames of `length` zero bytes: a few dozen KiB.
fn zeros(length: u64) -> Vec<u8> {
    use std::io::Read;
    zstd::stream::encode_all(std::io::repeat(0).take(length), 1).expect("compressing")
}

fn bomb(forge: &mut Forge, claimed: u32) -> String {
    let id = "b0".repeat(32);
    forge.pack_as(vec![Blob::compressed(Holds::Data, &id, zeros(1 << 30), claimed)]);
    let tree = forge.tree(&[file_node("x", u64::from(claimed), &[id])]);
    forge.snapshot(&tree)
}

fn tree_bomb(forge: &mut Forge, _: &Place) -> String {
    let id = "b1".repeat(32);
    forge.pack_as(vec![Blob::compressed(Holds::Tree, &id, zeros(1 << 30), 1 << 30)]);
    forge.snapshot(&id)
}

/// Format 2 marks compressed files outside packs with a leading 2.
fn snapshot_bomb(forge: &mut Forge, _: &Place) -> String {
    honest(forge);
    forge.raw_file("snapshots", &[vec![2], zeros(1 << 30)].concat())
}

fn index_bomb(forge: &mut Forge, _: &Place) -> String {
    let snapshot = honest(forge);
    std::fs::remove_dir_all(forge.directory.join("index")).expect("removing the good index");
    forge.raw_file("index", &[vec![2], zeros(4 << 30)].concat());
    snapshot
}

fn no_zstd(forge: &mut Forge, _: &Place) -> String {
    let id = id_of(b"evil");
    forge.pack_as(vec![Blob::compressed(Holds::Data, &id, b"evil".to_vec(), 4)]);
    let tree = forge.tree(&[file_node("x", 4, &[id])]);
    forge.snapshot(&tree)
}

fn short_zstd(forge: &mut Forge, _: &Place) -> String {
    let id = id_of(b"evil");
    forge.pack_as(vec![Blob::compressed(Holds::Data, &id, zstd::bulk::compress(b"evi", 1).expect("compressing"), 4)]);
    let tree = forge.tree(&[file_node("x", 4, &[id])]);
    forge.snapshot(&tree)
}

fn lying(forge: &mut Forge, field: &'static str, value: u64) -> String {
    let content = forge.pack_as(vec![Blob::plain(Holds::Data, b"evil").index_says(field, value)]);
    let tree = forge.tree(&[file_node("x", 4, &content)]);
    forge.snapshot(&tree)
}

fn climbing_pack(forge: &mut Forge, _: &Place) -> String {
    let id = id_of(b"alive");
    forge.claim_pack(json!({"id": "../../jail/canary/file", "blobs": [{"id": id, "type": "data", "offset": 0, "length": 5}]}));
    let tree = forge.tree(&[file_node("x", 5, &[id])]);
    forge.snapshot(&tree)
}

fn snapshot_of_data(forge: &mut Forge, _: &Place) -> String {
    let data = forge.pack(Holds::Data, &[b"{\"nodes\":[]}\n".to_vec()]).remove(0);
    forge.snapshot(&data)
}

/// scrypt with N = 2^30 and r = 8 wants a tebibyte.
fn dear_key(forge: &mut Forge, _: &Place) -> String {
    let snapshot = honest(forge);
    let keys = forge.directory.join("keys");
    let name = crate::support::sample::names(&keys).remove(0);
    let mut key: serde_json::Value = serde_json::from_slice(&std::fs::read(keys.join(&name)).expect("the key")).expect("a key");
    key["N"] = (1_u64 << 30).into();
    let bytes = key.to_string().into_bytes();
    std::fs::remove_file(keys.join(name)).expect("removing the cheap key");
    crate::support::forge::put(&keys.join(id_of(&bytes)), &bytes);
    snapshot
}
