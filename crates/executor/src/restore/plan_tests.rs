//! Tests of the plan: paths, hard links, destinations, reads.

use proptest::prelude::*;

use super::*;

fn entry(parent: u32, name: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        parent,
        name: name.as_bytes().into(),
        kind,
        mode: 0o644,
        mtime: None,
        uid: 0,
        gid: 0,
        size,
        content: 0..0,
        leader: None,
        extra: None,
    }
}

fn ids(names: &[&str]) -> Vec<Id> {
    names.iter().map(|name| Id::of(name.as_bytes())).collect()
}

#[test]
fn paths_counts_and_hard_links() {
    let mut plan = Plan::new();
    let a = plan.add(entry(ROOT, "a", Kind::Directory, 0), &[], None);
    let first = plan.add(entry(a, "one", Kind::File, 5), &ids(&["x", "y"]), Some((1, 2)));
    let again = plan.add(entry(ROOT, "two", Kind::File, 5), &ids(&["x", "y"]), Some((1, 2)));
    let other = plan.add(entry(ROOT, "three", Kind::File, 5), &ids(&["y", "x"]), Some((1, 2)));
    assert_eq!((plan.shown(first), plan.shown(ROOT)), ("/a/one".into(), "/".into()));
    assert_eq!((plan.entry(again).leader, plan.entry(other).leader), (Some(first), None));
    assert_eq!(plan.blobs.len(), 2);
    assert_eq!(plan.counts(), Counts { files: 3, directories: 1, bytes: 10 });
    assert_eq!(plan.affected(&BTreeSet::from([1])), "/a/one, /two, /three");
}

#[test]
fn every_blob_knows_its_places() {
    let mut plan = Plan::new();
    let one = plan.add(entry(ROOT, "one", Kind::File, 30), &ids(&["a", "b", "a"]), None);
    let two = plan.add(entry(ROOT, "two", Kind::File, 25), &ids(&["b", "lost", "a"]), None);
    let places = Destinations::new(&plan, &[Some(10), Some(5), None]);
    assert_eq!(places.of(0), [(one, 0), (one, 15), (two, UNKNOWN)]);
    assert_eq!(places.of(1), [(one, 10), (two, 0)]);
    assert_eq!(places.of(2), [(two, 5)]);
}

#[test]
fn neighbours_are_read_together() {
    let pieces = [(1, 0, 10), (1, 10, 10), (1, 25, 10), (1, 100, 10), (2, 110, 10), (2, 120, 1000), (2, 1120, 10)];
    assert_eq!(coalesce(&pieces, 5, 100), [0..3, 3..4, 4..5, 5..6, 6..7]);
    assert!(coalesce(&[], 5, 100).is_empty());
}

proptest! {
    #[test]
    fn reads_cover_every_piece_once(mut pieces in prop::collection::vec((0_u32..3, any::<u32>(), any::<u32>()), 0..50), gap: u32, most: u32) {
        pieces.sort_unstable();
        let reads = coalesce(&pieces, gap, most);
        let covered: Vec<usize> = reads.iter().cloned().flatten().collect();
        prop_assert_eq!(covered, (0..pieces.len()).collect::<Vec<_>>());
        for read in reads {
            let group = &pieces[read];
            let end = group.iter().map(|(_, offset, length)| u64::from(*offset) + u64::from(*length)).max().unwrap();
            prop_assert!(group.iter().all(|(pack, ..)| *pack == group[0].0));
            prop_assert!(group.len() == 1 || end - u64::from(group[0].1) <= u64::from(most));
        }
    }
}
