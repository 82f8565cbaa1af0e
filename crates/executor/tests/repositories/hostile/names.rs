//! Names and links that lead out of the target.

use backproof_api::Cause;
use serde_json::Value;

use super::{
    Expected::{Green, NotGreen, Open, Red},
    Place, Trap, trap,
};
use crate::support::forge::{Forge, Holds, dir_node, file_node, link_node};

const INVALID: &[Cause] = &[Cause::TreeInvalid, Cause::TreeDamaged];

/// What has the name of the target's own marker can neither be written nor be called bad.
const MARKER: &[Cause] = &[Cause::TargetFault];

pub(super) fn traps() -> Vec<Trap> {
    vec![
        trap("a name with a slash", |forge, _| named(forge, "below/evil"), Red(INVALID)),
        trap("a name that climbs", |forge, _| named(forge, "../canary/evil"), Red(INVALID)),
        trap("a name that climbs to what exists", |forge, _| named(forge, "../canary/file"), Red(INVALID)),
        trap("an absolute name", |forge, place| named(forge, &place.canary.join("evil").display().to_string()), Red(INVALID)),
        trap("a name with NUL", |forge, _| named(forge, "a\0b"), Red(INVALID)),
        trap("a name of one dot", |forge, _| named(forge, "."), Red(INVALID)),
        trap("a name of two dots", |forge, _| named(forge, ".."), Red(INVALID)),
        trap("an empty name", |forge, _| named(forge, ""), Red(INVALID)),
        trap("a slash behind an escape", |forge, _| named(forge, "..\\x2fcanary\\x2fevil"), Red(INVALID)),
        trap("two dots behind escapes, with a directory", |forge, _| directory(forge, "\\x2e\\u002e", "canary"), Red(INVALID)),
        trap("NUL behind an escape", |forge, _| named(forge, "a\\x00b"), Red(INVALID)),
        trap("a directory of two dots", |forge, _| directory(forge, "..", "canary"), Red(INVALID)),
        trap("an escape that ends early", |forge, _| named(forge, "a\\x4"), NotGreen(INVALID)),
        trap("a link, then a directory of the same name", link_then_directory, Red(INVALID)),
        trap("a directory, then a link of the same name", directory_then_link, Red(INVALID)),
        trap("a link to a file, then a file of the same name", link_then_file, Red(INVALID)),
        trap("two files of the same name", twice, Red(INVALID)),
        trap("a hard link to a symbolic link that leads out", hard_link_to_link, Green(&[(b"a", None), (b"b", Some(b"evil"))])),
        trap("two hard links with different content", different_twins, Green(&[(b"a", Some(b"evil")), (b"b", Some(b"good"))])),
        trap("a link to NUL", |forge, _| linked(forge, "a\0b"), NotGreen(&[Cause::TreeInvalid, Cause::TreeDamaged, Cause::TargetFault])),
        trap("a link to nothing", |forge, _| linked(forge, ""), NotGreen(&[Cause::TreeInvalid, Cause::TreeDamaged, Cause::TargetFault])),
        trap("a link longer than the kernel takes", |forge, _| linked(forge, &"l".repeat(5_000)), Red(INVALID)),
        trap("links that lead out, and stay links", honest_links, Green(&[(b"out", None), (b"up", None)])),
        trap("a name longer than the file system takes", |forge, _| named(forge, &"n".repeat(300)), Open(&[Cause::TargetFault])),
        trap("names that are no UTF-8", |forge, _| named(forge, "a\\xffb"), Green(&[(b"a\xffb", Some(b"evil"))])),
        trap("a name that only looks like an escape", |forge, _| named(forge, "a\\\\x2fb"), Green(&[(b"a\\x2fb", Some(b"evil"))])),
        trap("a link in the place of our own marker", |forge, _| marker_link(forge), Open(MARKER)),
        trap("nothing but a file in the place of our own marker", |forge, _| named(forge, ".backproof.json"), Open(MARKER)),
        trap("a directory in the place of our own marker", |forge, _| directory(forge, ".backproof.json", "below"), Open(MARKER)),
    ]
}

fn evil(forge: &mut Forge) -> Vec<String> {
    forge.pack(Holds::Data, &[b"evil".to_vec()])
}

fn snapshot_of(forge: &mut Forge, nodes: &[Value]) -> String {
    let tree = forge.tree(nodes);
    forge.snapshot(&tree)
}

/// A file of that name.
fn named(forge: &mut Forge, name: &str) -> String {
    let content = evil(forge);
    snapshot_of(forge, &[file_node(name, 4, &content)])
}

/// A directory of that name that holds the canary's file, and a new one.
fn directory(forge: &mut Forge, name: &str, inner: &str) -> String {
    let content = evil(forge);
    let below = forge.tree(&[file_node("evil", 4, &content), file_node("file", 4, &content)]);
    let middle = forge.tree(&[dir_node(inner, &below)]);
    snapshot_of(forge, &[dir_node(name, &middle)])
}

fn link_then_directory(forge: &mut Forge, _: &Place) -> String {
    let content = evil(forge);
    let below = forge.tree(&[file_node("evil", 4, &content), file_node("file", 4, &content)]);
    snapshot_of(forge, &[link_node("x", "../canary"), dir_node("x", &below)])
}

fn directory_then_link(forge: &mut Forge, place: &Place) -> String {
    let content = evil(forge);
    let below = forge.tree(&[file_node("evil", 4, &content)]);
    snapshot_of(forge, &[dir_node("x", &below), link_node("x", &place.canary.display().to_string())])
}

fn link_then_file(forge: &mut Forge, _: &Place) -> String {
    let content = evil(forge);
    snapshot_of(forge, &[link_node("x", "../canary/file"), file_node("x", 4, &content)])
}

fn twice(forge: &mut Forge, _: &Place) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec(), b"good".to_vec()]);
    snapshot_of(forge, &[file_node("x", 4, &content[..1]), file_node("x", 4, &content[1..])])
}

fn same_inode(mut node: Value) -> Value {
    node["inode"] = 42.into();
    node["device_id"] = 7.into();
    node["links"] = 2.into();
    node
}

/// Who makes links first and opens files by name afterwards would write through the link.
fn hard_link_to_link(forge: &mut Forge, _: &Place) -> String {
    let content = evil(forge);
    let nodes = [same_inode(link_node("a", "../canary/file")), same_inode(file_node("b", 4, &content))];
    snapshot_of(forge, &nodes)
}

fn different_twins(forge: &mut Forge, _: &Place) -> String {
    let content = forge.pack(Holds::Data, &[b"evil".to_vec(), b"good".to_vec()]);
    let nodes = [same_inode(file_node("a", 4, &content[..1])), same_inode(file_node("b", 4, &content[1..]))];
    snapshot_of(forge, &nodes)
}

fn linked(forge: &mut Forge, to: &str) -> String {
    snapshot_of(forge, &[link_node("x", to)])
}

/// Setting the mode or the time of such a link by name would reach the canary.
fn honest_links(forge: &mut Forge, place: &Place) -> String {
    snapshot_of(forge, &[link_node("out", &place.canary.join("file").display().to_string()), link_node("up", "../canary")])
}

/// Who writes the marker through it, or looks for one through it, reaches the canary.
fn marker_link(forge: &mut Forge) -> String {
    let content = evil(forge);
    snapshot_of(forge, &[link_node(".backproof.json", "../canary/file"), file_node("x", 4, &content)])
}
