//! The steps of a restore, in order: open, walk the trees, find every blob, take the target, write, read back, judge.
//! Nothing is written to the target before everything that can be asked of the repository beforehand was asked.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use backproof_api::{
    Cause, Verdict, environment,
    report::{Counts, Finding, RepositoryFacts, SnapshotFacts},
};
use jiff::Timestamp;

use super::{
    Args, Findings, ReadBack,
    fetch::{Effort, Got, Piece, Stop, describe, fetch},
    landing::Share,
    locate::{Missing, ROUNDS, give_up, locate, note_unneeded, pack_path, settle},
    metadata::Metadata,
    plan::{Destinations, Kind, Plan, count_of},
    progress::Step,
    readback::{self, Reading, Stretches},
    reporting::Run,
    tree::Walk,
    write::{BROKEN, FAILED, Hand, LEFT_OUT, Writer},
};
use crate::{
    repo::{BlobFault, BlobKind, Id, Repository, Snapshot, fingerprint},
    store::{File, Folder, Location, Store, storage_secrets},
    target::{Claim, Others, Target, refuse_overlap},
};

/// Everything, from the arguments to the last finding.
pub(super) fn restore(args: &Args, location: &Location, run: &Run) -> Result<(), Finding> {
    run.progress.begin(Step::Open, 0, 0);
    if let Location::Directory(path) = location {
        refuse_overlap(path, &args.target)?;
    }
    opened(location, (args.readers, args.memory << 20), run, |repository, effort| restore_from(repository, args, effort, run))
}

/// Opens the repository with what the environment has, and goes on with it.
pub(crate) fn opened(
    location: &Location,
    (readers, memory): (Option<u16>, u64),
    run: &Run,
    go_on: impl FnOnce(&mut Repository, Effort) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let passwords = passwords()?;
    let store = location.open(storage_secrets().as_ref())?;
    let effort = Effort { readers: readers.map_or_else(|| store.readers(), usize::from), memory };
    let mut repository = open(store, &passwords, run)?;
    let unlocked = repository.unlocked.clone();
    std::thread::scope(|scope| {
        // It takes its time, and only the report waits for it.
        scope.spawn(move || {
            let fingerprint = unlocked.fingerprint();
            run.facts(|facts| facts.repository.get_or_insert_default().password_fingerprint = fingerprint);
        });
        go_on(&mut repository, effort)
    })
}

/// The snapshot that was asked for, which the report then names.
pub(crate) fn pinned(repository: &Repository, wanted: &str, run: &Run) -> Result<(Id, Snapshot), Finding> {
    let (id, snapshot) = repository.snapshot(wanted)?;
    run.facts(|facts| {
        facts.snapshot = Some(SnapshotFacts {
            id: id.to_string(),
            time: Some(snapshot.time.clone()),
            host: snapshot.hostname.clone(),
            paths: snapshot.paths.clone(),
        });
    });
    Ok((id, snapshot))
}

/// From an open repository to the last finding.
fn restore_from(repository: &mut Repository, args: &Args, effort: Effort, run: &Run) -> Result<(), Finding> {
    let (id, snapshot) = pinned(repository, &args.snapshot, run)?;
    let claim = Claim::from_env();
    let target = Target::open(&args.target)?;
    let tenure = target.admit(&claim, args.replace)?;
    repository.load_index()?;
    let stop = Stop::default();
    let share = Share::from_env();
    let mut walk = Walk {
        repository,
        snapshot: id,
        effort,
        findings: &run.findings,
        stop: &stop,
        progress: &run.progress,
        entry_limit: args.max_entries,
        share: share.as_ref(),
        packs: BTreeSet::new(),
        at_root: true,
    };
    let (mut plan, place) = walk.plan(&snapshot, args.path.as_deref())?;
    let mut packs = std::mem::take(&mut walk.packs);
    // An entry that was refused is an entry: only a snapshot of which nothing else is known is empty.
    if plan.entries.len() == 1 && !args.allow_empty && run.findings.judge().verdict == Verdict::Verified && !stop.is_set() {
        let detail = "the snapshot holds no entry at all. If that is right, set allowEmpty in the BackupVerifier (by hand: --allow-empty)";
        run.findings.add(Cause::EmptySnapshot, "/", detail);
    }
    let (pieces, missing) = find_blobs(repository, &mut plan, id, run, &mut packs)?;
    probe(repository, &packs)?;
    note_unneeded(repository, &packs, &run.findings);
    repository.look_at_locks(Timestamp::now(), &run.findings);
    repository.look_at_other_snapshots(id, &run.findings);
    if stop.is_set() {
        return Ok(());
    }
    run.progress.begin(Step::Wipe, 0, 0);
    let others = if share.is_some() { Others::Share } else { Others::None };
    target.prepare(&claim, &tenure, others, &|| run.progress.count(1, 0))?;
    let granularity = readback::granularity(&target);
    let target = if share.is_some() { target.place(&place)? } else { target };
    fill(repository, (&plan, &target, &stop), (pieces, &missing), (args.read_back, effort), (id, granularity), run)
}

/// Writes everything to the target and reads it back.
fn fill(
    repository: &mut Repository,
    (plan, target, stop): (&Plan, &Target, &Stop),
    (pieces, missing): (Vec<Piece>, &[Missing]),
    (mode, effort): (ReadBack, Effort),
    (snapshot, granularity): (Id, i128),
    run: &Run,
) -> Result<(), Finding> {
    let lengths: Vec<Option<u64>> = plan.blobs.iter().map(|blob| blob.copy.map(|copy| copy.plain())).collect();
    let destinations = Destinations::new(plan, &lengths);
    let metadata = Metadata::new();
    let stretches = Stretches::new(plan, &lengths, mode);
    let writer = Writer::new(plan, &destinations, target, (&run.findings, stop), &run.progress, &metadata, &stretches);
    compare_sizes(plan, &lengths, &run.findings, |number| writer.mark(number, BROKEN));
    let reading = Reading::new(&writer, &stretches, mode, granularity);
    let threads = effort.readers.min(8);
    std::thread::scope(|scope| {
        reading.start(scope, threads);
        let written = write(repository, &writer, pieces, missing, effort, snapshot);
        // However it ended: who reads back waits for it.
        stretches.close();
        written
    })?;
    if !stop.is_set() && mode != ReadBack::Off {
        run.progress.begin(Step::Sync, 0, 0);
        rustix::fs::syncfs(target.root()).map_err(|errno| target.lost(errno))?;
    }
    prove(&writer, &reading, mode, threads, run)
}

fn open(store: Store, passwords: &[Vec<u8>], run: &Run) -> Result<Repository, Finding> {
    let mut facts = RepositoryFacts::default();
    let opened = Repository::open(store, passwords, &mut facts, &run.findings);
    if let (Err(finding), Ok(id)) = (&opened, std::env::var("BACKPROOF_REPOSITORY_ID"))
        && finding.kind == Cause::EncryptionKeyRejected
        && !id.is_empty()
    {
        // The controller tells under which id it was opened before, so that it can tell a lost key from a wrong password; and
        // by which password, as one in a file is tried with and without its line's end.
        let known = std::env::var("BACKPROOF_KNOWN_FINGERPRINT").unwrap_or_default();
        let mut prints: Vec<String> = passwords.iter().map(|password| fingerprint(password, &id)).collect();
        let at = prints.iter().position(|print| *print == known).unwrap_or(0);
        facts.password_fingerprint = if prints.is_empty() { String::new() } else { prints.swap_remove(at) };
    }
    run.facts(|all| all.repository = Some(facts));
    opened
}

/// The passwords to try: as given, and without the line's end that editors add to files.
pub(crate) fn passwords() -> Result<Vec<Vec<u8>>, Finding> {
    use std::os::unix::ffi::OsStringExt as _;
    if let Some(password) = std::env::var_os("RESTIC_PASSWORD").filter(|password| !password.is_empty()) {
        return Ok(vec![password.into_vec()]);
    }
    let missing = |what: &str| {
        let detail = format!(
            "{what}: put the repository's password into RESTIC_PASSWORD of the Secret that the Repository's encryptionSecret names (by hand: into the environment)"
        );
        Finding { kind: Cause::SecretMissing, path: "RESTIC_PASSWORD".to_owned(), detail }
    };
    let Some(folder) = std::env::var_os(environment::ENCRYPTION_DIR).filter(|folder| !folder.is_empty()) else {
        return Err(missing("no password is given"));
    };
    let password = std::fs::read(std::path::Path::new(&folder).join("RESTIC_PASSWORD"))
        .map_err(|error| missing(&format!("the password's file cannot be read ({error})")))?;
    let trimmed = password.trim_ascii_end().to_vec();
    if trimmed.is_empty() {
        return Err(missing("the password is empty"));
    }
    Ok(if trimmed == password { vec![password] } else { vec![password, trimmed] })
}

/// Where every blob of the plan is read from, and which are nowhere.
pub(crate) fn find_blobs(
    repository: &mut Repository,
    plan: &mut Plan,
    snapshot: Id,
    run: &Run,
    packs: &mut BTreeSet<u32>,
) -> Result<(Vec<Piece>, Vec<Missing>), Finding> {
    let wanted: Vec<(u32, Id)> = (0..).zip(plan.blobs.iter().map(|blob| blob.id)).collect();
    let (mut pieces, missing) = locate(repository, BlobKind::Data, &wanted);
    let (found, missing) = settle(repository, BlobKind::Data, missing, snapshot, &run.findings, |numbers| plan.affected(numbers))?;
    pieces.extend(found);
    for piece in &pieces {
        plan.blobs[piece.number as usize].copy = Some(piece.copy);
    }
    packs.extend(pieces.iter().map(|piece| piece.copy.pack).chain(missing.iter().filter_map(Missing::pack)));
    Ok((pieces, missing))
}

/// Whether every pack may be read, before anything is written.
pub(crate) fn probe(repository: &Repository, packs: &BTreeSet<u32>) -> Result<(), Finding> {
    for pack in packs {
        match repository.store.probe(File::Named(Folder::Data, repository.index.pack(*pack).0)) {
            Err(error) if error.cause() == Cause::RepositoryNotReadable => return Err(error.finding()),
            // Whatever else it is shows when it is read.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// A file whose size is not that of its content was not written by a backup tool that finished its work.
pub(crate) fn compare_sizes(plan: &Plan, lengths: &[Option<u64>], findings: &Findings, broken: impl Fn(u32)) {
    for (number, entry) in plan.numbered().filter(|(_, entry)| entry.kind == Kind::File) {
        let total = plan.blobs_of(entry).iter().try_fold(0_u64, |sum, blob| sum.checked_add(lengths[*blob as usize]?));
        if let Some(total) = total
            && total != entry.size
        {
            findings.add(
                Cause::TreeInvalid,
                &plan.shown(number),
                &format!("the directory says {} bytes, its content has {total}", entry.size),
            );
            broken(number);
        }
    }
}

/// Writes everything; what turns out to be gone is looked for again.
fn write(
    repository: &mut Repository,
    writer: &Writer<'_>,
    mut pieces: Vec<Piece>,
    missing: &[Missing],
    effort: Effort,
    snapshot: Id,
) -> Result<(), Finding> {
    let counts = writer.plan.counts();
    writer.progress.begin(Step::Restore, counts.files, counts.bytes);
    writer.directories();
    writer.empty_files(effort.readers);
    let mut hand = Hand::default();
    missing.iter().for_each(|missing| writer.lose(&mut hand, missing.number));
    for round in 1.. {
        if pieces.is_empty() || writer.stop.is_set() {
            break;
        }
        let gone = write_pieces(repository, writer, std::mem::take(&mut pieces), effort);
        if round == ROUNDS {
            give_up(repository, &gone, writer.findings);
            gone.iter().for_each(|missing| writer.lose(&mut hand, missing.number));
            break;
        }
        gone.iter().filter_map(Missing::pack).for_each(|pack| repository.forget_pack(pack));
        let (found, missing) =
            settle(repository, BlobKind::Data, gone, snapshot, writer.findings, |numbers| writer.plan.affected(numbers))?;
        missing.iter().for_each(|missing| writer.lose(&mut hand, missing.number));
        pieces = found;
    }
    drop(hand);
    writer.stretches.close();
    writer.names_and_links();
    writer.directory_metadata();
    Ok(())
}

fn write_pieces(repository: &Repository, writer: &Writer<'_>, pieces: Vec<Piece>, effort: Effort) -> Vec<Missing> {
    let gone = Mutex::new(Vec::new());
    let each = |hand: &mut Hand, piece: &Piece, got: Got<'_>| match got {
        Got::Plain(plain) => writer.put(hand, piece.number, plain),
        Got::Damaged(copy, fault) => {
            let kind = if matches!(fault, BlobFault::Monstrous(_)) { Cause::UnsupportedRepository } else { Cause::PackDamaged };
            let detail = format!("{}; needed by {}", describe(&piece.id, &copy, &fault), needed_by(writer, piece.number));
            writer.findings.add(kind, &pack_path(repository, copy.pack), &detail);
            writer.lose(hand, piece.number);
        }
        Got::Gone(copy) => gone.lock().unwrap_or_else(PoisonError::into_inner).push(Missing::gone(&Piece { copy, ..*piece })),
        Got::Failed(error) => {
            writer.findings.push(error.finding());
            writer.lose(hand, piece.number);
        }
    };
    fetch(repository, pieces, effort, (writer.findings, writer.stop), Hand::default, each);
    gone.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn needed_by(writer: &Writer<'_>, blob: u32) -> String {
    let places = writer.destinations.of(blob);
    let shown: Vec<_> = places.iter().take(3).map(|(number, _)| writer.plan.shown(*number)).collect();
    let more = if places.len() > 3 { format!(" and {} more", places.len() - 3) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Reads the rest of the target again and adds up what everything that was read proves.
fn prove(writer: &Writer<'_>, reading: &Reading<'_>, mode: ReadBack, threads: usize, run: &Run) -> Result<(), Finding> {
    let mut expected = Counts::default();
    let mut restored = Counts::default();
    for (number, entry) in writer.plan.numbered() {
        let state = writer.state(number);
        if state & LEFT_OUT == 0 {
            expected = expected.plus(count_of(entry));
        }
        if state & (LEFT_OUT | FAILED | BROKEN) == 0 && writer.is_done(number) {
            restored = restored.plus(count_of(entry));
        }
    }
    run.facts(|facts| facts.restored = restored);
    let mut equal = Counts::default();
    if !writer.stop.is_set() {
        run.progress.begin(Step::ReadBack, restored.files + restored.directories, restored.bytes);
        equal = reading.rest(threads);
        run.facts(|facts| facts.read_back = equal);
        if writer.closed_directories() {
            rustix::fs::syncfs(writer.target.root()).map_err(|errno| writer.target.lost(errno))?;
        }
    }
    writer.metadata.report(&run.findings);
    if mode != ReadBack::Full {
        let detail = "not everything was read back from the target, so nothing is proven; use --read-back full";
        run.findings.add(Cause::ReadBackIncomplete, "", detail);
    } else if run.findings.judge().verdict == Verdict::Verified && (restored != expected || equal != expected) {
        // Should never be: every difference has a finding of its own.
        let detail = format!("the snapshot has {expected:?}, {restored:?} were restored, and {equal:?} read back equal");
        run.findings.add(Cause::Internal, "", &detail);
    } else if !writer.stop.is_set() {
        run.has_proven();
    }
    Ok(())
}
