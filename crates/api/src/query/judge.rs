//! What the answers of an engine add up to. Every check is judged and every difference told: an answer that something is
//! absent is a defect of its own, never a count of zero; no answer is no defect.

use super::{Check, Comparison, Engine, Plan};
use crate::{
    Cause, Verdict,
    cause::CauseClass,
    report::{CheckFact, Finding},
};

/// What an engine said to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every object of the path is there; what was counted in the last of them, if that was asked.
    Found(Option<u64>),
    /// The engine says that the object of this number in the path is not there; those before it are.
    Absent(usize),
    /// No answer that says anything of the data.
    Unknown {
        /// Why; of class `Unknown`.
        cause: Cause,
        /// The same in a sentence.
        detail: String,
    },
}

/// What it all adds up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Red if any check fails; else Inconclusive if any was not answered; else green.
    pub verdict: Verdict,
    /// Each check, in the order of the plan.
    pub checks: Vec<CheckFact>,
    /// One for each check that does not hold.
    pub findings: Vec<Finding>,
}

/// Judges `answers`, one for each check of the plan in its order. A check without one counts as not answered.
pub fn judge(plan: &Plan, answers: &[Answer]) -> Judgement {
    let none = Answer::Unknown { cause: Cause::EngineUnavailable, detail: "it was not asked".to_owned() };
    let judged: Vec<_> =
        (0..).zip(&plan.checks).map(|(number, check)| one(plan.engine, check, answers.get(number).unwrap_or(&none))).collect();
    let findings: Vec<Finding> = judged.iter().filter_map(|(_, finding)| finding.clone()).collect();
    let has = |class| findings.iter().any(|finding| finding.kind.class() == class);
    let verdict = if has(CauseClass::Defect) {
        Verdict::VerificationFailed
    } else if has(CauseClass::Unknown) || judged.is_empty() {
        Verdict::Inconclusive
    } else {
        Verdict::Verified
    };
    Judgement { verdict, checks: judged.into_iter().map(|(fact, _)| fact).collect(), findings }
}

fn one(engine: Engine, check: &Check, answer: &Answer) -> (CheckFact, Option<Finding>) {
    let expected = check.count.map_or_else(|| "it is there".to_owned(), |count| expected(engine, count));
    let (actual, failure) = match (answer, check.count) {
        (Answer::Absent(number), _) => (absent(check, *number), Some(Cause::ObjectMissing)),
        (Answer::Unknown { cause, detail }, _) => {
            // A defect needs an answer: whoever has none to give cannot call the data bad.
            let cause = if cause.class() == CauseClass::Unknown { *cause } else { Cause::EngineUnavailable };
            (format!("not known: {detail}"), Some(cause))
        }
        (Answer::Found(None), None) => ("it is there".to_owned(), None),
        (Answer::Found(Some(actual)), None) => (format!("it is there, with {actual} {}", engine.counted()), None),
        (Answer::Found(Some(actual)), Some(count)) => {
            (format!("{actual} {}", engine.counted()), (!count.holds(*actual)).then_some(Cause::CountMismatch))
        }
        (Answer::Found(None), Some(_)) => ("not known: it is there, and nothing was counted".to_owned(), Some(Cause::Internal)),
    };
    let object = shown(check, check.path.len());
    let holds = match failure.map(Cause::class) {
        None | Some(CauseClass::Finding) => Some(true),
        Some(CauseClass::Defect) => Some(false),
        Some(CauseClass::Unknown) => None,
    };
    let finding =
        failure.map(|kind| Finding { kind, path: check.at.clone(), detail: format!("{object}: expected {expected}; actual: {actual}") });
    (CheckFact { at: check.at.clone(), object, expected, actual, holds }, finding)
}

fn expected(engine: Engine, count: Comparison) -> String {
    format!("{} {} {}", engine.counted(), count.operator, count.value)
}

fn absent(check: &Check, number: usize) -> String {
    let Some(object) = check.path.get(number) else { return "it is not there".to_owned() };
    let within = if number == 0 { String::new() } else { format!(" in {}", shown(check, number)) };
    format!("there is no {} {:?}{within}", object.level.as_str(), object.name)
}

/// The first objects of the path, for people.
fn shown(check: &Check, objects: usize) -> String {
    let shown: Vec<_> = check.path.iter().take(objects).map(|object| format!("{} {:?}", object.level.as_str(), object.name)).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Level, Object, Operator};

    fn check(count: Option<(Operator, i64)>) -> Check {
        let object = |level, name: &str| Object { level, name: name.to_owned() };
        Check {
            at: "spec.query.postgres[0]".to_owned(),
            path: vec![object(Level::Database, "shop"), object(Level::Schema, "public"), object(Level::Table, "order")],
            count: count.map(|(operator, value)| Comparison { operator, value }),
        }
    }

    fn unknown(cause: Cause) -> Answer {
        Answer::Unknown { cause, detail: "gone".to_owned() }
    }

    fn of(count: Option<(Operator, i64)>, answer: Answer) -> (Verdict, Option<Cause>, Option<bool>, String) {
        let judged = judge(&Plan { engine: Engine::Postgres, checks: vec![check(count)] }, &[answer]);
        assert_eq!(judged.findings.is_empty(), judged.verdict == Verdict::Verified, "every other verdict has its finding");
        (judged.verdict, judged.findings.first().map(|finding| finding.kind), judged.checks[0].holds, judged.checks[0].actual.clone())
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let equal = Some((Operator::Equal, 0));
        let green = |actual: &str| (Verdict::Verified, None, Some(true), actual.to_owned());
        let red = |cause, actual: &str| (Verdict::VerificationFailed, Some(cause), Some(false), actual.to_owned());
        let open = |cause, actual: &str| (Verdict::Inconclusive, Some(cause), None, actual.to_owned());
        assert_eq!(of(None, Answer::Found(None)), green("it is there"));
        assert_eq!(of(equal, Answer::Found(Some(0))), green("0 rows"));
        assert_eq!(of(equal, Answer::Found(Some(1))), red(Cause::CountMismatch, "1 rows"));
        // Absence is never zero.
        let missing = r#"there is no table "order" in database "shop", schema "public""#;
        assert_eq!(of(equal, Answer::Absent(2)), red(Cause::ObjectMissing, missing));
        assert_eq!(of(Some((Operator::LessThan, 5)), Answer::Absent(0)), red(Cause::ObjectMissing, r#"there is no database "shop""#));
        // Nor is it no answer, and nor is a count that nobody made.
        assert_eq!(of(equal, unknown(Cause::EngineUnavailable)), open(Cause::EngineUnavailable, "not known: gone"));
        assert_eq!(of(None, unknown(Cause::EngineCredentialsRefused)), open(Cause::EngineCredentialsRefused, "not known: gone"));
        assert_eq!(of(equal, Answer::Found(None)), open(Cause::Internal, "not known: it is there, and nothing was counted"));
        // Who knows nothing cannot call the data bad.
        assert_eq!(of(None, unknown(Cause::CountMismatch)), open(Cause::EngineUnavailable, "not known: gone"));
    }

    #[test]
    fn every_check_is_told_and_the_worst_decides() {
        let counts = [(Operator::Equal, 1), (Operator::GreaterThan, 5), (Operator::NotEqual, 0), (Operator::Equal, 2)];
        let plan = Plan { engine: Engine::Redis, checks: counts.map(|count| check(Some(count))).into() };
        let judged = judge(&plan, &[Answer::Found(Some(1)), Answer::Found(Some(5)), unknown(Cause::EngineUnavailable)]);
        assert_eq!(judged.verdict, Verdict::VerificationFailed);
        let told: Vec<_> = judged.checks.iter().map(|fact| (fact.holds, fact.expected.as_str())).collect();
        assert_eq!(
            told,
            [(Some(true), "keys Equal 1"), (Some(false), "keys GreaterThan 5"), (None, "keys NotEqual 0"), (None, "keys Equal 2")]
        );
        assert_eq!(judged.findings.len(), 3);
        assert_eq!(
            judged.findings[0].detail,
            r#"database "shop", schema "public", table "order": expected keys GreaterThan 5; actual: 5 keys"#
        );
        // Without the failed one nothing is known; and nothing checked proves nothing.
        assert_eq!(judge(&plan, &[Answer::Found(Some(1)), Answer::Found(Some(6))]).verdict, Verdict::Inconclusive);
        assert_eq!(judge(&Plan { engine: Engine::Redis, checks: Vec::new() }, &[]).verdict, Verdict::Inconclusive);
    }
}
