//! Trees and contents that lie about their size, their shape or their kind.

use backproof_api::Cause;
use serde_json::{Value, json};

use super::{
    Expected::{Green, NotGreen, Open, Red},
    Place, Trap, trap,
};
use crate::support::forge::{Blob, Forge, Holds, dir_node, file_node, id_of};

const INVALID: &[Cause] = &[Cause::TreeInvalid, Cause::TreeDamaged];
const MISSING: &[Cause] = &[Cause::BlobMissing, Cause::TreeDamaged, Cause::TreeInvalid];

pub(super) fn traps() -> Vec<Trap> {
    vec![
        trap("a directory that contains itself", itself, Red(INVALID)),
        trap("two directories that contain each other", each_other, Red(INVALID)),
        trap("a tree 20,000 directories deep", |forge, _| deep(forge, 20_000), NotGreen(&[Cause::TreeInvalid, Cause::TargetFault])),
        Trap {
            arguments: &["--max-entries=100000"],
            ..trap(
                "ten directories in each of ten, nine levels down: a thousand million entries",
                wide,
                Open(&[Cause::UnsupportedRepository]),
            )
        },
        Trap { small_target: Some("16m"), ..trap("one blob, repeated until the target is full", repeated, Open(&[Cause::TargetFull])) },
        trap("a file that claims more than its content", |forge, _| sized(forge, 5), Red(INVALID)),
        trap("a file that claims less than its content", |forge, _| sized(forge, 3), Red(INVALID)),
        trap("a file that claims all there is", |forge, _| sized(forge, u64::MAX), Red(INVALID)),
        trap("a file that claims a petabyte without content", |forge, _| lone(forge, file_node("x", 1 << 50, &[])), Red(INVALID)),
        trap("a file whose content is a directory", file_of_tree, Red(&[Cause::BlobMissing, Cause::PackDamaged, Cause::TreeInvalid])),
        trap(
            "a directory without a tree",
            |forge, _| lone(forge, json!({"name": "d", "type": "dir", "mode": 2_147_484_141_u32})),
            Red(INVALID),
        ),
        trap("a directory whose tree is file content", dir_of_data, Red(MISSING)),
        trap("a directory whose tree is in no index", |forge, _| lone(forge, dir_node("d", &"00".repeat(32))), Red(MISSING)),
        trap(
            "an entry of a kind that does not exist",
            |forge, _| lone(forge, json!({"name": "x", "type": "whiteout", "mode": 420})),
            Open(&[Cause::UnsupportedRepository]),
        ),
        trap("an entry without a kind", |forge, _| lone(forge, json!({"name": "x", "mode": 420})), Open(&[Cause::UnsupportedRepository])),
        trap("a device node", |forge, _| lone(forge, special("chardev", 69_206_454, json!(259))), Green(&[])),
        trap("a named pipe", |forge, _| lone(forge, special("fifo", 33_554_870, json!(0))), Green(&[])),
        trap("setuid, setgid, sticky", setuid, Green(&[(b"x", Some(b"evil"))])),
        trap(
            "a time no file system holds",
            |forge, _| timed(forge, "9999-12-31T23:59:59Z"),
            NotGreen(&[Cause::TargetFault, Cause::TreeInvalid]),
        ),
        trap(
            "a time before there were files",
            |forge, _| timed(forge, "0001-01-01T00:00:00Z"),
            NotGreen(&[Cause::TargetFault, Cause::TreeInvalid]),
        ),
        trap(
            "a time that is none",
            |forge, _| timed(forge, "292277026596-12-04T15:30:08Z"),
            NotGreen(&[Cause::TargetFault, Cause::TreeInvalid, Cause::TreeDamaged]),
        ),
        trap("brackets, 100,000 deep", |forge, _| raw_tree(forge, &b"[".repeat(100_000)), Red(INVALID)),
        trap("a directory that is no JSON", |forge, _| raw_tree(forge, b"hello"), Red(INVALID)),
        trap(
            "a directory that is null",
            |forge, _| raw_tree(forge, b"null"),
            NotGreen(&[Cause::TreeInvalid, Cause::TreeDamaged, Cause::EmptySnapshot]),
        ),
        trap("a snapshot of nothing", |forge, _| raw_tree(forge, br#"{"nodes":[]}"#), Red(&[Cause::EmptySnapshot])),
        trap("20,000 entries of which the last climbs", many, Red(INVALID)),
    ]
}

fn lone(forge: &mut Forge, node: Value) -> String {
    let tree = forge.tree(&[node]);
    forge.snapshot(&tree)
}

fn raw_tree(forge: &mut Forge, text: &[u8]) -> String {
    let tree = forge.pack(Holds::Tree, &[text.to_vec()]).remove(0);
    forge.snapshot(&tree)
}

/// A hash that contains itself cannot be had, so the index lies about the id.
fn itself(forge: &mut Forge, _: &Place) -> String {
    let id = "5e".repeat(32);
    let text = json!({"nodes": [dir_node("again", &id)]}).to_string();
    forge.pack_as(vec![Blob::plain(Holds::Tree, text.as_bytes()).called(&id)]);
    forge.snapshot(&id)
}

fn each_other(forge: &mut Forge, _: &Place) -> String {
    let (one, two) = ("1e".repeat(32), "2e".repeat(32));
    let text = |id: &str| json!({"nodes": [dir_node("on", id)]}).to_string();
    forge.pack_as(vec![
        Blob::plain(Holds::Tree, text(&two).as_bytes()).called(&one),
        Blob::plain(Holds::Tree, text(&one).as_bytes()).called(&two),
    ]);
    let root = forge.tree(&[dir_node("in", &one)]);
    forge.snapshot(&root)
}

fn deep(forge: &mut Forge, levels: usize) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    let mut blobs = vec![json!({"nodes": [file_node("bottom", 4, &content)]}).to_string().into_bytes()];
    for _ in 0..levels {
        let below = id_of(blobs.last().expect("a level"));
        blobs.push(json!({"nodes": [dir_node("d", &below)]}).to_string().into_bytes());
    }
    let root = forge.pack(Holds::Tree, &blobs).pop().expect("the root");
    forge.snapshot(&root)
}

fn wide(forge: &mut Forge, _: &Place) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    let mut below = forge.tree(&[file_node("bottom", 4, &content)]);
    for _ in 0..9 {
        let nodes: Vec<_> = (0..10).map(|at| dir_node(&format!("d{at}"), &below)).collect();
        below = forge.tree(&nodes);
    }
    forge.snapshot(&below)
}

fn repeated(forge: &mut Forge, _: &Place) -> String {
    let mebibyte = crate::support::noise(3, 1 << 20);
    let blob = forge.pack(Holds::Data, &[mebibyte]).remove(0);
    let content = vec![blob; 100_000];
    lone(forge, file_node("x", 100_000 << 20, &content))
}

fn sized(forge: &mut Forge, size: u64) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    lone(forge, file_node("x", size, &content))
}

fn file_of_tree(forge: &mut Forge, _: &Place) -> String {
    let text = b"{\"nodes\":[]}\n";
    let tree = forge.pack(Holds::Tree, &[text.to_vec()]);
    lone(forge, file_node("x", text.len() as u64, &tree))
}

fn dir_of_data(forge: &mut Forge, _: &Place) -> String {
    let data = forge.pack(Holds::Data, &[b"{\"nodes\":[]}\n".to_vec()]).remove(0);
    lone(forge, dir_node("d", &data))
}

fn special(kind: &str, mode: u32, device: Value) -> Value {
    json!({"name": "x", "type": kind, "mode": mode, "mtime": "2026-01-02T03:04:05Z", "atime": "2026-01-02T03:04:05Z", "ctime": "2026-01-02T03:04:05Z", "uid": 0, "gid": 0, "links": 1, "device": device})
}

/// Go keeps these bits at 23, 22 and 20.
fn setuid(forge: &mut Forge, _: &Place) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    let mut node = file_node("x", 4, &content);
    node["mode"] = json!(0o755_u32 | 1 << 23 | 1 << 22 | 1 << 20);
    lone(forge, node)
}

fn timed(forge: &mut Forge, time: &str) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec()]);
    let mut node = file_node("x", 4, &content);
    node["mtime"] = time.into();
    lone(forge, node)
}

fn many(forge: &mut Forge, _: &Place) -> String {
    let mut nodes: Vec<_> = (0..20_000).map(|at| file_node(&format!("f{at:05}"), 0, &[])).collect();
    nodes.push(file_node("../canary/evil", 0, &[]));
    let tree = forge.tree(&nodes);
    forge.snapshot(&tree)
}
