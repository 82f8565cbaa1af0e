//! Types and reasons of conditions.

use std::collections::BTreeSet;

use backproof_api::phase::conditions::ALL;

use crate::table::read;

#[test]
fn types_and_reasons_are_upstreams() {
    let expected: BTreeSet<_> = read("conditions.tsv")
        .iter()
        .map(|line| [line.get("on"), line.get("type"), line.get("true"), line.get("false"), line.get("true_is_bad")].map(str::to_owned))
        .collect();
    let found: BTreeSet<_> = ALL
        .iter()
        .map(|one| [one.on, one.kind, one.when_true, one.when_false, if one.true_is_bad { "yes" } else { "" }].map(str::to_owned))
        .collect();
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), Vec::<&[String; 5]>::new(), "in the code only");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), Vec::<&[String; 5]>::new(), "in conditions.tsv only");
    assert_eq!(ALL.len(), found.len());
}
