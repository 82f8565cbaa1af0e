//! How conditions are read and set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use backproof_api::condition::{self, Condition, FALSE, TRUE, UNKNOWN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

fn at(second: i64) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
}

fn list(entries: &[(&str, &str)]) -> Vec<Condition> {
    let mut list = Vec::new();
    for (kind, status) in entries {
        condition::set(&mut list, Condition::new(kind, status, "Because"), at(1));
    }
    list
}

fn since(list: &[Condition], kind: &str) -> i64 {
    condition::get(list, kind).unwrap().last_transition_time.clone().unwrap().0.as_second()
}

#[test]
fn absent_is_neither_true_nor_false() {
    let list = list(&[("A", TRUE), ("B", FALSE), ("C", UNKNOWN)]);
    for (kind, is_true, is_false, is_present) in
        [("A", true, false, true), ("B", false, true, true), ("C", false, false, true), ("D", false, false, false)]
    {
        assert_eq!(condition::is_true(&list, kind), is_true, "{kind}");
        assert_eq!(condition::is_false(&list, kind), is_false, "{kind}");
        assert_eq!(condition::is_present(&list, kind), is_present, "{kind}");
    }
}

#[test]
fn order_is_kept() {
    let mut list = list(&[("A", TRUE), ("B", TRUE), ("C", TRUE)]);
    assert!(condition::set(&mut list, Condition::new("B", FALSE, "Other"), at(2)));
    assert!(condition::set(&mut list, Condition::new("D", TRUE, "New"), at(3)));
    assert_eq!(list.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>(), ["A", "B", "C", "D"]);
}

#[test]
fn nothing_changes_when_nothing_is_new() {
    let mut list = list(&[("A", TRUE)]);
    let before = list.clone();
    assert!(!condition::set(&mut list, Condition::new("A", TRUE, "Because"), at(9)));
    assert_eq!(list, before);
}

#[test]
fn the_time_moves_with_the_status_only() {
    let mut list = list(&[("A", TRUE)]);
    assert!(condition::set(&mut list, Condition::new("A", TRUE, "Because").with_message("more"), at(2)));
    assert_eq!((since(&list, "A"), list[0].message.as_str()), (1, "more"));
    assert!(condition::set(&mut list, Condition::new("A", TRUE, "Else").with_message("more"), at(3)));
    assert_eq!((since(&list, "A"), list[0].reason.as_str()), (1, "Else"));
    assert!(condition::set(&mut list, Condition::new("A", FALSE, "Else"), at(4)));
    assert_eq!((since(&list, "A"), list[0].message.as_str()), (4, ""));
}

#[test]
fn an_older_generation_never_replaces_a_newer_one() {
    let of = |generation, status| Condition { observed_generation: generation, ..Condition::new("A", status, "Because") };
    let mut list = vec![];
    assert!(condition::set(&mut list, of(5, TRUE), at(1)));
    assert!(!condition::set(&mut list, of(4, FALSE), at(2)));
    assert!(condition::is_true(&list, "A"));
    assert!(condition::set(&mut list, of(6, TRUE), at(3)), "a newer generation is news by itself");
    assert_eq!((list[0].observed_generation, since(&list, "A")), (6, 1));
    assert!(condition::set(&mut list, of(0, FALSE), at(4)), "without a generation the status counts");
    assert_eq!((list[0].observed_generation, since(&list, "A")), (6, 4));
    assert!(!condition::set(&mut list, of(0, FALSE), at(5)));
}

#[test]
fn times_are_whole_seconds_on_the_wire() {
    let mut list = vec![];
    let now = Time(k8s_openapi::jiff::Timestamp::from_nanosecond(1_730_194_210_987_654_321).unwrap());
    condition::set(&mut list, Condition::new("RestoreSucceeded", TRUE, "SuccessfullyRestoredBackup"), now);
    assert_eq!(
        serde_json::to_value(&list).unwrap(),
        json!([{ "type": "RestoreSucceeded", "status": "True", "reason": "SuccessfullyRestoredBackup", "lastTransitionTime": "2024-10-29T09:30:10Z" }])
    );
}
