//! Generated verifiers, as if the webhook had been away: what admission refuses never restores anything, and what admission lets
//! in is never called invalid.

use backproof_api::{
    BackupVerifier, Cause,
    validate::{self, Lookup},
};
use serde_json::json;

use super::{
    generate::{self, Dice},
    world::World,
};

/// How many were refused, and how many restored.
fn agree(count: usize, seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed);
    let (mut refused, mut restored) = (0, 0);
    for at in 0..count {
        let mut object = generate::verifier(&mut dice, "verifier");
        object["metadata"]["uid"] = json!("ver");
        let verifier: BackupVerifier = serde_json::from_value(object.clone()).unwrap();
        let mut world = World::new();
        let invoker = world.invoker.clone().unwrap();
        let findings =
            validate::verifier(&verifier, &Lookup::Found(vec![invoker.as_invoker()])).and(validate::pod_settings(&verifier, &[]));
        let several =
            verifier.spec.restore_option.as_ref().and_then(|option| option.addon_info.as_ref()).is_some_and(|info| info.tasks.len() > 1);
        world.references.verifier = Some(verifier);
        let world = world.run(None);
        let status = world.status();
        if findings.violations.is_empty() {
            // Several tasks are only warned about, as another version may run them.
            assert!(several || status.cause != Some(Cause::VerifierInvalid.into()), "{at}: {}\n{object}", status.message);
            restored += world.restores_made;
        } else {
            assert_eq!(world.restores_made, 0, "{at}: {findings}\n{object}");
            assert!(world.end().starts_with("Failed Inconclusive "), "{at}: {}, though {findings}\n{object}", world.end());
            refused += 1;
        }
    }
    (refused, restored)
}

#[test]
fn what_admission_refuses_never_restores() {
    let (refused, restored) = agree(1000, 2026);
    assert!(refused > 200 && restored > 60, "{refused} refused, {restored} restored");
}

#[test]
#[ignore = "long: a hundred thousand verifiers"]
fn of_a_hundred_thousand_that_admission_refuses_none_restores() {
    let (refused, restored) = agree(100_000, 1);
    println!("{refused} refused, {restored} restored");
}
