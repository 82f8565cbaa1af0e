//! Which Addon and Function a name means: the one labelled as implementing it, else the one of that name. Pure.

use backproof_api::{Addon, Cause, Function, Task, labels, names, run::PinnedObject};
use kube::ResourceExt;

use crate::failure::Failure;

/// The object a name means, among those that carry the name or a label for it.
pub(crate) fn resolve<'a, K: ResourceExt>(kind: &str, name: &str, missing: Cause, candidates: &'a [K]) -> Result<&'a K, Failure> {
    let wanted = names::label_value(name);
    let labelled: Vec<&K> = candidates.iter().filter(|object| object.labels().get(labels::IMPLEMENTS) == Some(&wanted)).collect();
    match labelled.as_slice() {
        [] => candidates.iter().find(|object| object.name_any() == name).ok_or_else(|| {
            Failure::new(
                missing,
                format!(
                    "{kind} {name} does not exist, and no {kind} carries the label {}={wanted}; install the catalog, or mend the name",
                    labels::IMPLEMENTS
                ),
            )
        }),
        [one] => Ok(one),
        several => {
            let several: Vec<String> = several.iter().map(|object| object.name_any()).collect();
            Err(Failure::new(
                missing,
                format!(
                    "more than one {kind} carries the label {}={wanted}: {}; leave it on one of them",
                    labels::IMPLEMENTS,
                    several.join(", ")
                ),
            ))
        }
    }
}

/// The restore task of an Addon that a verifier uses: the only one it names.
pub(crate) fn restore_task<'a>(addon: &'a Addon, name: &str) -> Result<&'a Task, Failure> {
    addon.spec.restore_tasks.iter().find(|task| task.name == name).ok_or_else(|| {
        let there: Vec<&str> = addon.spec.restore_tasks.iter().map(|task| task.name.as_str()).collect();
        Failure::new(Cause::AddonNotFound, format!("Addon {} has no restore task {name:?}; it has: {}", addon.name_any(), there.join(", ")))
    })
}

/// Whether a Function keeps our contract: it reports, and patches no status.
pub(crate) fn is_ours(function: &Function) -> bool {
    function.labels().contains_key(labels::IMPLEMENTS)
}

/// Whether an object is still the one that was pinned. What was not pinned cannot have changed.
pub(crate) fn unchanged<K: ResourceExt>(kind: &str, pinned: &PinnedObject, now: &K) -> Result<(), Failure> {
    let uid = now.uid().unwrap_or_default();
    let generation = now.meta().generation.unwrap_or_default();
    let same_uid = pinned.uid.is_empty() || pinned.uid == uid;
    let same_generation = pinned.generation == 0 || pinned.generation == generation;
    if same_uid && same_generation {
        return Ok(());
    }
    let what =
        if same_uid { format!("was changed (generation {} became {generation})", pinned.generation) } else { "was replaced".to_owned() };
    Err(Failure::new(
        Cause::VerifierChanged,
        format!("{kind} {} {what} after the session had started; start another session", now.name_any()),
    ))
}

#[cfg(test)]
mod tests {
    use backproof_api::FunctionSpec;

    use super::*;

    fn function(name: &str, implements: Option<&str>) -> Function {
        let mut function = Function::new(name, FunctionSpec::default());
        function.labels_mut().extend(implements.map(|value| (labels::IMPLEMENTS.to_owned(), value.to_owned())));
        function
    }

    #[test]
    fn the_label_wins_over_the_name_and_two_labels_are_refused() {
        let named = function("pvc-restore", None);
        let ours = function("backproof-pvc-restore", Some("pvc-restore"));
        let other = function("other", Some("pvc-restore"));
        let find = |candidates: &[Function]| {
            resolve("Function", "pvc-restore", Cause::FunctionNotFound, candidates)
                .map(ResourceExt::name_any)
                .map_err(|failure| failure.line())
        };
        assert_eq!(find(&[named.clone(), ours.clone()]), Ok("backproof-pvc-restore".into()));
        assert_eq!(find(std::slice::from_ref(&named)), Ok("pvc-restore".into()));
        assert_eq!(
            find(&[ours.clone(), other, named]),
            Err("FunctionNotFound: more than one Function carries the label backproof.dev/implements=pvc-restore: backproof-pvc-restore, other; leave it on one of them".into())
        );
        assert!(find(&[function("x", None)]).is_err_and(|line| line.starts_with("FunctionNotFound: Function pvc-restore does not exist")));
        assert!(is_ours(&ours) && !is_ours(&function("x", None)));
    }

    #[test]
    fn a_change_is_seen_by_uid_and_generation() {
        let mut now = function("f", None);
        now.metadata.uid = Some("u".into());
        now.metadata.generation = Some(2);
        let pinned = |uid: &str, generation| PinnedObject { uid: uid.into(), generation, ..PinnedObject::default() };
        for (pin, same) in [
            (pinned("u", 2), true),
            (pinned("", 0), true),
            (pinned("u", 0), true),
            (pinned("u", 1), false),
            (pinned("v", 2), false),
            (pinned("", 3), false),
        ] {
            assert_eq!(unchanged("Function", &pin, &now).is_ok(), same, "{pin:?}");
        }
    }
}
