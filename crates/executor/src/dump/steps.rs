//! The steps of restoring a dump, in order: everything that can be asked of the repository; whose the database is; the first
//! bytes of the dump; and only then the database is emptied, and filled in one transaction. Afterwards it is asked what is there.

use std::{collections::BTreeSet, io::Read as _, time::Duration};

use backproof_api::{
    Cause, Verdict, environment,
    query::Engine,
    report::{Counts, DatabaseFacts, Finding},
};
use jiff::Timestamp;

use super::{
    Args,
    client::{Client, Ended, Names, able},
    own::Own,
    scan::{Objection, Scan},
    stream::{Part, Parts, Stream, channel},
};
use crate::{
    engine::{
        Access,
        postgres::{Fault, Proof, Server, Target},
    },
    repo::{Id, Repository},
    restore::{Effort, Kind, Plan, Run, Step, Stop, Walk, compare_sizes, find_blobs, note_unneeded, opened, pinned, probe},
    store::Location,
};

/// Longest time of a statement of ours; emptying a database with very many tables takes a while.
const STATEMENT_LIMIT: Duration = Duration::from_secs(3600);
/// More entries than this no snapshot of a dump has.
const ENTRY_LIMIT: usize = 100_000;

/// Everything, from the arguments to the last finding.
pub(super) fn restore(args: &Args, location: &Location, run: &Run) -> Result<(), Finding> {
    let engine = args.connection.engine;
    if engine != Engine::Postgres {
        let detail = "this executor restores dumps of postgres".to_owned();
        return Err(Finding { kind: Cause::EngineNotSupported, path: engine.key().to_owned(), detail });
    }
    run.progress.begin(Step::Open, 0, 0);
    let effort = (args.readers, args.memory << 20);
    // The repository first: whoever reads that the target's Secret is missing sees that the repository is not at fault.
    opened(location, effort, run, |repository, effort| from_repository(args, (repository, effort), &args.connection.access()?, run))
}

fn from_repository(args: &Args, (repository, effort): (&mut Repository, Effort), access: &Access, run: &Run) -> Result<(), Finding> {
    let (id, snapshot) = pinned(repository, &args.snapshot, run)?;
    repository.load_index()?;
    let stop = Stop::default();
    let mut walk = Walk {
        repository,
        snapshot: id,
        effort,
        findings: &run.findings,
        stop: &stop,
        progress: &run.progress,
        entry_limit: ENTRY_LIMIT,
        share: None,
        packs: BTreeSet::new(),
        at_root: false,
    };
    let (mut plan, _) = walk.plan(&snapshot, args.path.as_deref())?;
    let mut packs = std::mem::take(&mut walk.packs);
    let dump = the_dump(&plan, run)?;
    let (pieces, _) = find_blobs(repository, &mut plan, id, run, &mut packs)?;
    probe(repository, &packs)?;
    note_unneeded(repository, &packs, &run.findings);
    repository.look_at_locks(Timestamp::now(), &run.findings);
    repository.look_at_other_snapshots(id, &run.findings);
    let lengths: Vec<Option<u64>> = plan.blobs.iter().map(|blob| blob.copy.map(|copy| copy.plain())).collect();
    compare_sizes(&plan, &lengths, &run.findings, |_| ());
    let Some(dump) = dump.filter(|_| run.findings.judge().verdict == Verdict::Verified) else {
        // A dump that is known not to come whole is not begun.
        return Ok(());
    };
    let (sender, parts) = channel();
    let progress = |bytes| run.progress.count(0, bytes);
    let content = plan.blobs_of(plan.entry(dump)).to_vec();
    let size = plan.entry(dump).size;
    let proof = std::thread::scope(|scope| {
        let stream = Stream {
            repository,
            plan: &plan,
            pieces: pieces.into_iter().map(|piece| (piece.number, piece)).collect(),
            content: &content,
            snapshot: id,
            effort,
            findings: &run.findings,
            stop: &stop,
            progress: &progress,
        };
        scope.spawn(move || stream.read(&sender));
        into_database(args, access, parts, size, id, run)
    })?;
    if proof.is_some() {
        run.has_proven();
    }
    Ok(())
}

/// The one file that was asked for.
fn the_dump(plan: &Plan, run: &Run) -> Result<Option<u32>, Finding> {
    let mut files = plan.numbered().filter(|(_, entry)| entry.kind == Kind::File).map(|(number, _)| number);
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(Some(file)),
        (Some(first), Some(second)) => {
            let detail =
                format!("the snapshot holds several files ({}, {}, ...): name the dump with --path", plan.shown(first), plan.shown(second));
            Err(Finding { kind: Cause::DumpNotSupported, path: String::new(), detail })
        }
        (None, _) => {
            if run.findings.judge().verdict == Verdict::Verified {
                run.findings.add(Cause::EmptySnapshot, "/", "the snapshot holds no file, so it holds no dump");
            }
            Ok(None)
        }
    }
}

/// From the first bytes of the dump to the proof.
fn into_database(args: &Args, access: &Access, parts: Parts, size: u64, snapshot: Id, run: &Run) -> Result<Option<Proof>, Finding> {
    let internal = |detail: String| Finding { kind: Cause::Internal, path: String::new(), detail };
    let at = format!("database {:?}", access.place.database);
    let found = |fault: Fault| fault.finding(&at);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| internal(format!("no runtime: {error}")))?;
    let (nonce, token, key) = (nonce().map_err(internal)?, random().map_err(internal)?, random().map_err(internal)?);
    let server = Server::new(access.clone(), STATEMENT_LIMIT).map_err(found)?;
    let target = runtime.block_on(Target::open(&server, &access.place.database)).map_err(found)?;
    run.facts(|facts| {
        facts.database = Some(DatabaseFacts {
            engine: Engine::Postgres.key().to_owned(),
            server: target.version.clone(),
            database: access.place.database.clone(),
            run: nonce.clone(),
            ..DatabaseFacts::default()
        });
    });
    runtime.block_on(target.admit()).map_err(found)?;
    let mut scan = Scan::default();
    let first = parts.next();
    if let Part::Data(bytes) = &first {
        scan.pass(bytes);
        scan.beginning(target.major).map_err(|objection| objected(objection, snapshot))?;
    }
    if matches!(first, Part::Fault) {
        return Ok(None);
    }
    able(&args.client)?;
    run.progress.begin(Step::Wipe, 0, 0);
    let earlier = runtime.block_on(target.empty(&nonce)).map_err(found)?;
    run.progress.begin(Step::Restore, 1, size);
    let application = format!("backproof-{nonce}");
    let client = Client::start(
        &args.client,
        access,
        &Names { run: &nonce, earlier: &earlier, token: &token, key: &key, application: &application },
    )?;
    let (ended, problem) = feed(client, first, parts, scan, snapshot);
    run.facts(|facts| {
        if let Some(database) = &mut facts.database {
            database.client = Some(ended.facts());
        }
    });
    if let Err(problem) = problem.and_then(|()| told(&ended, &at)) {
        runtime.block_on(target.end_client(&application));
        // Whoever reads the repository has said why there was no more of it.
        return problem.map_or(Ok(None), Err);
    }
    run.progress.begin(Step::ReadBack, 0, 0);
    let proof = runtime.block_on(target.prove(&nonce)).map_err(found)?;
    run.facts(|facts| {
        facts.restored = Counts { files: 1, directories: 0, bytes: size };
        if let Some(database) = &mut facts.database {
            database.objects = Some(proof.objects);
        }
    });
    if proof.objects == 0 && !args.allow_empty {
        let detail =
            "after the dump the database holds no object. If that is right, set allowEmpty in the BackupVerifier (by hand: --allow-empty)";
        run.findings.add(Cause::DumpEmpty, &at, detail);
    }
    Ok(Some(proof))
}

/// Why it was not restored; nothing where the findings have it already.
type Problem = Option<Finding>;

/// Gives the client everything, or ends it.
fn feed(mut client: Client, first: Part, parts: Parts, mut scan: Scan, snapshot: Id) -> (Ended, Result<(), Problem>) {
    let mut part = first;
    let mut scanned = true;
    let mut own = Own::default();
    loop {
        match part {
            Part::Data(bytes) => {
                if !std::mem::take(&mut scanned) {
                    scan.pass(&bytes);
                }
                if !client.feed(&own.pass(bytes)) {
                    return (client.abandon(), Ok(()));
                }
            }
            Part::End => {
                return match scan.end() {
                    Ok(()) => (client.finish(&own.end()), Ok(())),
                    Err(objection) => (client.kill(), Err(Some(objected(objection, snapshot)))),
                };
            }
            Part::Fault => return (client.kill(), Err(None)),
        }
        part = parts.next();
    }
}

/// What the client's end says.
fn told(ended: &Ended, at: &str) -> Result<(), Problem> {
    match ended.problem() {
        None => Ok(()),
        Some((kind, detail)) => Err(Some(Finding { kind, path: at.to_owned(), detail })),
    }
}

fn objected(objection: Objection, snapshot: Id) -> Finding {
    Finding { kind: objection.cause, path: format!("snapshot {}", snapshot.short()), detail: objection.detail }
}

/// Name of this run in the database. A session restores once, and by its UID the verifier knows whose data it asks.
fn nonce() -> Result<String, String> {
    let session = std::env::var(environment::SESSION_UID).ok().filter(|uid| !uid.is_empty());
    match session {
        None => random(),
        // It becomes part of statements.
        Some(uid) if uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Ok(uid),
        Some(uid) => Err(format!("{}: {uid:?} is no UID", environment::SESSION_UID)),
    }
}

/// 128 bits as hex digits.
fn random() -> Result<String, String> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
