//! Everything that was found, from every thread, and the verdict it adds up to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use backproof_api::{Cause, Verdict, cause::CauseClass, report::Finding};

/// Up to how many findings of one kind are kept; all are counted.
const KEPT_PER_KIND: u64 = 200;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Findings(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    list: Vec<Finding>,
    counts: HashMap<Cause, u64>,
}

/// What it adds up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Worst first.
    pub(crate) findings: Vec<Finding>,
    /// How many there were before the list was shortened.
    pub(crate) total: u64,
}

impl Findings {
    /// Notes a finding.
    pub(crate) fn add(&self, kind: Cause, path: &str, detail: &str) {
        self.push(Finding { kind, path: path.to_owned(), detail: detail.to_owned() });
    }

    /// Notes a finding. The very same is noted once.
    pub(crate) fn push(&self, finding: Finding) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.list.contains(&finding) {
            return;
        }
        let count = kept.counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= KEPT_PER_KIND {
            kept.list.push(finding);
        }
    }

    /// The same from within a panic, which may have come while the list was being changed: then nothing of it is told.
    pub(crate) fn judge_if_free(&self) -> Judgement {
        self.0.try_lock().map_or_else(|_| judge(Vec::new(), 0), |kept| judge(kept.list.clone(), kept.counts.values().sum()))
    }

    /// The verdict, and why.
    pub(crate) fn judge(&self) -> Judgement {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        judge(kept.list.clone(), kept.counts.values().sum())
    }
}

/// A defect found anywhere is a defect; else anything unknown leaves the whole unknown; mere findings leave it proven.
/// What a failing storage could pretend (something missing) never becomes a defect in the first place.
fn judge(mut findings: Vec<Finding>, total: u64) -> Judgement {
    let rank = |cause: Cause| match cause.class() {
        CauseClass::Defect => 0,
        CauseClass::Unknown => 1,
        CauseClass::Finding => 2,
    };
    findings.sort_by(|a, b| (rank(a.kind), a.kind, &a.path, &a.detail).cmp(&(rank(b.kind), b.kind, &b.path, &b.detail)));
    Judgement { verdict: findings.first().map_or(Verdict::Verified, |worst| worst.kind.verdict()), findings, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_stands_first() {
        for (kinds, verdict, first) in [
            (&[][..], Verdict::Verified, None),
            (&[Cause::StaleLock, Cause::KeyDamaged], Verdict::Verified, Some(Cause::KeyDamaged)),
            (&[Cause::StaleLock, Cause::TargetFull], Verdict::Inconclusive, Some(Cause::TargetFull)),
            (&[Cause::StorageUnreachable, Cause::PackDamaged, Cause::StaleLock], Verdict::VerificationFailed, Some(Cause::PackDamaged)),
            (&[Cause::BlobMissing, Cause::IndexDamaged], Verdict::VerificationFailed, Some(Cause::IndexDamaged)),
        ] {
            let findings = Findings::default();
            for kind in kinds {
                findings.add(*kind, "p", "d");
            }
            let judged = findings.judge();
            assert_eq!((judged.verdict, judged.findings.first().map(|finding| finding.kind)), (verdict, first), "{kinds:?}");
        }
    }

    #[test]
    fn many_of_one_kind_do_not_hide_another_and_are_counted() {
        let findings = Findings::default();
        for at in 0..1000 {
            findings.add(Cause::UnneededDamage, &at.to_string(), "");
            findings.add(Cause::UnneededDamage, "same", "");
        }
        findings.add(Cause::PackDamaged, "p", "");
        let judged = findings.judge();
        assert_eq!((judged.findings[0].kind, judged.total), (Cause::PackDamaged, 1002));
        assert!(judged.findings.len() < 300);
    }
}
