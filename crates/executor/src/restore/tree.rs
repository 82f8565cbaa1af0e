//! From a snapshot's trees to the plan, level by level. What is damaged or hostile is noted and left out; the rest goes on.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use backproof_api::{Cause, report::Finding};

use super::{
    Findings,
    fetch::{Effort, Got, Piece, Stop, describe, fetch},
    landing::{Landing, Place, Share, land},
    locate::{Missing, ROUNDS, give_up, locate, pack_path, settle},
    plan::{Entry, Extra, Kind, Plan, ROOT},
    progress::{Progress, Step},
};
use crate::{
    repo::{BlobKind, Id, Node, Repository, Snapshot, Tree, parse_name},
    target::MARKER,
};

/// Deeper no path of a POSIX system goes: 4096 bytes, two for each level.
const DEPTH_LIMIT: usize = 2048;
/// Longest path, without the ending NUL.
const PATH_LIMIT: usize = 4095;

/// What to do about a backup of a volume that Backproof restored to before.
const MARKER_BACKED_UP: &str = "a target holds Backproof's own marker under that name, so this one cannot be restored and proven. It most likely \
     came into the backup with a volume that Backproof restored to: leave it out there (restic backup --exclude .backproof.json) and back up anew";

/// What walking needs.
pub(crate) struct Walk<'a> {
    pub(crate) repository: &'a mut Repository,
    pub(crate) snapshot: Id,
    pub(crate) effort: Effort,
    pub(crate) findings: &'a Findings,
    pub(crate) stop: &'a Stop,
    pub(crate) progress: &'a Progress,
    /// More entries than this are not taken on: a few hostile bytes can stand for any number of them.
    pub(crate) entry_limit: usize,
    /// That others restore to the same target.
    pub(crate) share: Option<&'a Share>,
    /// Numbers of the packs that were needed.
    pub(crate) packs: BTreeSet<u32>,
    /// Whether what lands at [`ROOT`] lies at the target's root.
    pub(crate) at_root: bool,
}

/// A directory whose entries are still to be read.
struct Open {
    entry: u32,
    tree: Id,
    path: usize,
}

impl Walk<'_> {
    /// The plan of everything below where the snapshot lands, and that place.
    pub(crate) fn plan(&mut self, snapshot: &Snapshot, selected: Option<&str>) -> Result<(Plan, Place), Finding> {
        self.progress.begin(Step::Trees, 0, 0);
        let mut plan = Plan::new();
        let landing = land(&snapshot.paths, selected, snapshot.tree, |tree| Ok(self.trees(&[tree], "/")?.remove(&tree)))?;
        let place = self.share.map(|share| share.place(&snapshot.paths, &landing)).unwrap_or_default();
        // Only there the target's own marker lies.
        self.at_root = place.directory.is_empty();
        let mut level = Vec::new();
        match landing {
            Landing::Directory(tree) => level.push(Open { entry: ROOT, tree, path: 0 }),
            Landing::Entry(node) => self.take(&mut plan, &Open { entry: ROOT, tree: snapshot.tree, path: 0 }, vec![*node], &mut level),
            Landing::Lost => {}
        }
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            if depth > DEPTH_LIMIT {
                let path = level.first().map_or(String::new(), |open| plan.shown(open.entry));
                self.findings.add(Cause::TreeInvalid, &path, &format!("directories are nested more than {DEPTH_LIMIT} deep"));
                break;
            }
            level = self.level(&mut plan, level)?;
        }
        Ok((plan, place))
    }

    fn level(&mut self, plan: &mut Plan, level: Vec<Open>) -> Result<Vec<Open>, Finding> {
        let mut next = Vec::new();
        // Not all at once: a level may be wide, and its trees are larger than what is kept of them.
        for part in level.chunks(4096) {
            let ids: Vec<Id> = part.iter().map(|open| open.tree).collect::<HashSet<_>>().into_iter().collect();
            let place = part.first().map_or(String::new(), |open| plan.shown(open.entry));
            let mut trees = self.trees(&ids, &place)?;
            let mut uses: HashMap<Id, usize> = HashMap::new();
            for open in part {
                *uses.entry(open.tree).or_default() += 1;
            }
            for open in part {
                let left = uses.entry(open.tree).or_default();
                *left = left.saturating_sub(1);
                let nodes = if *left == 0 { trees.remove(&open.tree) } else { trees.get(&open.tree).cloned() };
                self.take(plan, open, nodes.unwrap_or_default(), &mut next);
                if plan.entries.len() > self.entry_limit {
                    let detail = format!("the snapshot has more than {} entries; raise --max-entries if that is right", self.entry_limit);
                    return Err(Finding { kind: Cause::UnsupportedRepository, path: plan.shown(open.entry), detail });
                }
            }
            if self.stop.is_set() {
                return Ok(Vec::new());
            }
        }
        Ok(next)
    }

    /// The entries of each tree. One that cannot be had is noted and absent.
    fn trees(&mut self, ids: &[Id], place: &str) -> Result<HashMap<Id, Vec<Node>>, Finding> {
        let mut wanted: Vec<(u32, Id)> = (0..).zip(ids.iter().copied()).collect();
        let read = Mutex::new(HashMap::new());
        let mut gone = Vec::new();
        for _ in 0..ROUNDS {
            let (mut pieces, missing) = locate(self.repository, BlobKind::Tree, &wanted);
            let affected = |numbers: &BTreeSet<u32>| format!("{} directories at or beside {place}", numbers.len());
            let (found, lost) = settle(self.repository, BlobKind::Tree, missing, self.snapshot, self.findings, affected)?;
            pieces.extend(found);
            self.packs.extend(pieces.iter().map(|piece| piece.copy.pack).chain(lost.iter().filter_map(Missing::pack)));
            gone = self.read_trees(pieces, place, &read);
            for missing in &gone {
                missing.pack().into_iter().for_each(|pack| self.repository.forget_pack(pack));
            }
            wanted = gone.iter().map(|missing| (missing.number, missing.id)).collect();
            if wanted.is_empty() {
                break;
            }
        }
        if !gone.is_empty() {
            give_up(self.repository, &gone, self.findings);
            self.stop.set();
        }
        Ok(read.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_trees(&self, pieces: Vec<Piece>, place: &str, read: &Mutex<HashMap<Id, Vec<Node>>>) -> Vec<Missing> {
        let gone = Mutex::new(Vec::new());
        let each = |(): &mut (), piece: &Piece, got: Got<'_>| match got {
            Got::Plain(plain) => {
                self.progress.count(1, plain.len() as u64);
                match serde_json::from_slice::<Tree>(plain) {
                    Ok(tree) => {
                        read.lock().unwrap_or_else(PoisonError::into_inner).insert(piece.id, tree.nodes);
                    }
                    Err(error) => self.findings.add(
                        Cause::TreeInvalid,
                        place,
                        &format!("tree {} is sound, and cannot be parsed: {error}", piece.id.short()),
                    ),
                }
            }
            Got::Damaged(copy, fault) => {
                let detail = format!("a directory at or beside {place}: {}", describe(&piece.id, &copy, &fault));
                self.findings.add(Cause::TreeDamaged, &pack_path(self.repository, copy.pack), &detail);
            }
            Got::Gone(copy) => gone.lock().unwrap_or_else(PoisonError::into_inner).push(Missing::gone(&Piece { copy, ..*piece })),
            Got::Failed(error) => self.findings.push(error.finding()),
        };
        fetch(self.repository, pieces, self.effort, (self.findings, self.stop), || (), each);
        gone.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entries of one directory into the plan.
    fn take(&self, plan: &mut Plan, open: &Open, nodes: Vec<Node>, next: &mut Vec<Open>) {
        let mut names = HashSet::with_capacity(nodes.len());
        for node in nodes {
            let refuse = |plan: &Plan, kind: Cause, what: &str| {
                let place = plan.shown(open.entry);
                self.findings.add(kind, &place, &format!("entry {:?} of this directory: {what}", node.name));
            };
            let name = match parse_name(&node.name) {
                Ok(name) => name,
                Err(bad) => {
                    refuse(plan, Cause::TreeInvalid, &format!("no backup tool writes such a name: {bad}"));
                    continue;
                }
            };
            let path = open.path + name.len() + usize::from(open.path > 0);
            if path > PATH_LIMIT {
                refuse(plan, Cause::TreeInvalid, &format!("its path is longer than {PATH_LIMIT} bytes"));
                continue;
            }
            if !names.insert(name.clone()) {
                refuse(plan, Cause::TreeInvalid, "there are two of this name");
                continue;
            }
            if self.at_root && open.entry == ROOT && name == MARKER.as_bytes() {
                // Not known to be bad, and not proven either.
                refuse(plan, Cause::TargetFault, MARKER_BACKED_UP);
                continue;
            }
            let kind = match kind_of(&node) {
                Ok(kind) => kind,
                Err((cause, what)) => {
                    refuse(plan, cause, &what);
                    continue;
                }
            };
            let subtree = node.subtree;
            let number = add(plan, open.entry, name, kind, node);
            if let (Kind::Directory, Some(tree)) = (kind, subtree) {
                next.push(Open { entry: number, tree, path });
            }
        }
    }
}

fn kind_of(node: &Node) -> Result<Kind, (Cause, String)> {
    let invalid = |what: &str| Err((Cause::TreeInvalid, what.to_owned()));
    match node.kind.as_str() {
        "dir" if node.subtree.is_none() => invalid("a directory without a tree"),
        "dir" => Ok(Kind::Directory),
        "file" => Ok(Kind::File),
        "symlink" => {
            let link = link_of(node);
            if link.is_empty() || link.contains(&0) || link.len() > PATH_LIMIT { invalid("a link to nowhere") } else { Ok(Kind::Symlink) }
        }
        "fifo" => Ok(Kind::Fifo),
        "socket" => Ok(Kind::Socket),
        "chardev" => Ok(Kind::CharacterDevice),
        "dev" => Ok(Kind::BlockDevice),
        other => Err((Cause::UnsupportedRepository, format!("its type {other:?} is unknown to this executor"))),
    }
}

fn link_of(node: &Node) -> &[u8] {
    node.linktarget_raw.as_deref().unwrap_or(node.linktarget.as_bytes())
}

fn add(plan: &mut Plan, parent: u32, name: Vec<u8>, kind: Kind, node: Node) -> u32 {
    let link = if kind == Kind::Symlink { link_of(&node).to_vec() } else { Vec::new() };
    let extra = Extra { link, device: node.device, attributes: node.extended_attributes };
    let plain = extra.link.is_empty() && extra.device == 0 && extra.attributes.is_empty();
    let is_file = kind == Kind::File;
    let entry = Entry {
        parent,
        name: name.into(),
        kind,
        mode: mode_of(node.mode),
        mtime: node.mtime,
        uid: node.uid,
        gid: node.gid,
        size: if is_file { node.size } else { 0 },
        content: 0..0,
        leader: None,
        extra: (!plain).then(|| Box::new(extra)),
    };
    let content = if is_file { node.content.as_slice() } else { &[] };
    plan.add(entry, content, (is_file && node.links > 1).then_some((node.device_id, node.inode)))
}

/// The twelve bits Linux has, from Go's `os.FileMode`.
fn mode_of(mode: u32) -> u16 {
    let bit = |go: u32, linux: u16| if mode >> go & 1 == 1 { linux } else { 0 };
    u16::try_from(mode & 0o777).unwrap_or(0) | bit(23, 0o4000) | bit(22, 0o2000) | bit(20, 0o1000)
}

#[cfg(test)]
mod tests {
    use super::mode_of;

    #[test]
    fn modes_come_from_go() {
        for (go, linux) in [
            (0o644, 0o644),
            (1 << 31 | 0o755, 0o755),
            (1 << 23 | 0o755, 0o4755),
            (1 << 31 | 1 << 22 | 0o775, 0o2775),
            (1 << 31 | 1 << 20 | 0o777, 0o1777),
        ] {
            assert_eq!(mode_of(go), linux, "{go:o}");
        }
    }
}
