//! The page of admission rules: what is demanded of each kind, and the message a user sees, from the register of rules.

use std::fmt::Write as _;

use backproof_api::{crd::cel, validate::rule};

const HEAD: &str = include_str!("admission.md");

/// `docs/admission.md`.
pub(crate) fn page() -> String {
    let mut page = String::from(HEAD);
    let mut kinds: &[&str] = &[];
    for rule in rule::all() {
        let deletion = rule.id.starts_with("delete-");
        if kinds != rule.kinds && !(deletion && page.contains("## Deletions")) {
            kinds = rule.kinds;
            let title = if deletion { "Deletions".to_owned() } else { kinds.join(", ") };
            if !page.contains(&format!("\n## {title}\n")) {
                let _ = write!(page, "\n## {title}\n");
            }
        }
        let also = if cel::repeats(rule.id) { ", also by the CRD itself" } else { "" };
        let _ = write!(page, "\n### `{}`\n\n{} `{}`, {}{also}.\n\n", rule.id, rule.demands, rule.field, rule.effect.as_str());
        let _ = write!(page, "```text\n{}\n```\n", rule.example);
    }
    page
}
