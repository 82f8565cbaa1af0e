//! No observation without matching evidence leads to Succeeded, whatever a RestoreSession says.

use backproof_api::{Cause, RestoreSession, RestoreSessionStatus, Verdict, report::Counts, run::Evidence};
use proptest::prelude::*;

use super::world::{GREEN, World, yaml};

/// One way to say something other than the whole truth.
fn spoil(restore: &mut RestoreSession, how: usize) {
    let status = restore.status.get_or_insert_default();
    let evidence = |change: fn(&mut Evidence), status: &mut RestoreSessionStatus| status.evidence.as_mut().into_iter().for_each(change);
    match how {
        0 => status.evidence = None,
        1 => status.verdict = None,
        2 => status.verdict = Some(Verdict::Inconclusive.into()),
        3 => status.verdict = Some(Verdict::Skipped.into()),
        4 => status.verdict = Some(Verdict::VerificationFailed.into()),
        5 => evidence(|evidence| evidence.read_back.files -= 1, status),
        6 => evidence(|evidence| evidence.read_back.bytes += 1, status),
        7 => evidence(|evidence| evidence.read_back = Counts::default(), status),
        8 => evidence(|evidence| evidence.restic_ids = vec!["r2".into()], status),
        9 => evidence(|evidence| evidence.restic_ids.clear(), status),
        10 => evidence(|evidence| evidence.restic_ids.push("r2".into()), status),
        11 => evidence(|evidence| evidence.source = "Reported".into(), status),
        12 => evidence(|evidence| evidence.source.clear(), status),
        13 => evidence(|evidence| (evidence.restored, evidence.read_back) = (Counts::default(), Counts::default()), status),
        14 => evidence(|evidence| evidence.checks.push(yaml("{name: c, expected: '1', actual: '2', holds: false}")), status),
        15 => status.conditions.clear(),
        16 => status.conditions = vec![yaml("{type: MetricsPushed, status: 'False'}")],
        17 => status.conditions.push(yaml("{type: ValidationPassed, status: 'False'}")),
        18 => status.conditions.push(yaml("{type: RestoreIncomplete, status: 'True'}")),
        19 => status.conditions.push(yaml("{type: RestoreExecutorEnsured, status: 'False'}")),
        20 => status.components.clear(),
        21 => status.total_components = 2,
        22 => restore.metadata.uid = Some("rs2".into()),
        23 => restore.metadata.labels = None,
        24 => restore.metadata.owner_references = None,
        25 => restore.spec.restore_timeout = "1s".into(),
        26 => restore.spec.data_source.as_mut().into_iter().for_each(|source| source.snapshot = "other".into()),
        27 => status.verdict = Some(backproof_api::shared::Wire::Other("Great".into())),
        _ => *status = RestoreSessionStatus::default(),
    }
}
const WAYS: usize = 29;

fn spoiled(ways: &[usize], cause: Option<Cause>) -> World {
    let mut world = World { answer: None, ..World::new() }.run(None);
    let restore = world.restore.as_mut().unwrap();
    restore.status = Some(yaml(GREEN));
    restore.status.as_mut().unwrap().cause = cause.map(Into::into);
    ways.iter().for_each(|how| spoil(restore, *how));
    world.after(7200).run(None)
}

#[test]
fn each_single_lie_is_seen() {
    for how in 0..WAYS {
        let world = spoiled(&[how], None);
        assert!(world.end().starts_with("Failed Inconclusive"), "{how}: {}", world.end());
        assert!(!world.proof().starts_with("Verified"), "{how}");
    }
    assert_eq!(spoiled(&[], None).end(), "Succeeded Verified -");
}

proptest! {
    // Each case is a whole run.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_spoiled_is_ever_green(ways in prop::collection::vec(0..WAYS, 1..5), cause in prop::option::of(prop::sample::select(Cause::ALL))) {
        let world = spoiled(&ways, cause);
        prop_assert!(world.end().starts_with("Failed"), "{:?}: {}", ways, world.end());
        prop_assert!(!world.proof().starts_with("Verified"));
    }

    /// A cause and a verdict that contradict each other are never red: red needs a defect that is named.
    #[test]
    fn red_needs_a_defect(cause in prop::option::of(prop::sample::select(Cause::ALL))) {
        let mut world = World { answer: None, ..World::new() }.run(None);
        let restore = world.restore.as_mut().unwrap();
        restore.status = Some(yaml(super::world::RED));
        restore.status.as_mut().unwrap().cause = cause.map(Into::into);
        let world = world.run(None);
        let defect = cause.is_some_and(|cause| cause.verdict() == Verdict::VerificationFailed);
        prop_assert_eq!(world.proof().starts_with("VerificationFailed"), defect);
        prop_assert_eq!(world.end().contains("VerificationFailed"), defect);
    }
}
