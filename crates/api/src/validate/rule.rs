//! The register of rules: each has a name, the kinds it is about, the field it looks at, and the message a user sees.
//!
//! Invariant: a rule that no code uses does not compile without a warning, and every example is the message of a case in
//! `tests/validate`; `docs/admission.md` is written from here.

/// What happens when a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The object is not let in.
    Refused,
    /// The object is let in, and its author is told.
    Warned,
}

impl Effect {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Warned => "warned",
        }
    }
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which never changes.
    pub id: &'static str,
    /// Kinds it is about.
    pub kinds: &'static [&'static str],
    /// The field it looks at; `*` stands for an index.
    pub field: &'static str,
    /// What happens when it is broken.
    pub effect: Effect,
    /// What it demands, in a sentence.
    pub demands: &'static str,
    /// What a user sees, field, fault and remedy.
    pub example: &'static str,
}

/// Declares the rules of some kinds: constants for the code, and the list for the register.
macro_rules! rules {
    ($(#[$meta:meta])* $list:ident of $kinds:tt {
        $( $name:ident: $id:literal, $field:literal, $effect:ident, $demands:literal, $example:literal; )+
    }) => {
        $(
            pub(in crate::validate) const $name: $crate::validate::rule::Rule = $crate::validate::rule::Rule {
                id: $id,
                kinds: &$kinds,
                field: $field,
                effect: $crate::validate::rule::Effect::$effect,
                demands: $demands,
                example: $example,
            };
        )+
        $(#[$meta])*
        pub(in crate::validate) const $list: &[$crate::validate::rule::Rule] = &[$( $name, )+];
    };
}

pub(in crate::validate) use rules;

/// Every rule, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    use super::rules::{consent, deletion, invoker, others, session, verifier};
    [
        session::RULES,
        verifier::RULES,
        invoker::RULES,
        consent::OF_VERIFIERS,
        consent::OF_INVOKERS,
        others::RESTORES,
        others::ADDONS,
        others::FUNCTIONS,
        others::REPOSITORIES,
        others::SNAPSHOTS,
        others::STORAGES,
        deletion::RULES,
    ]
    .into_iter()
    .flatten()
}
