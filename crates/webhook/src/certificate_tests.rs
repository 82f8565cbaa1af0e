//! A certificate's life, from the first to the CA's rotation, with time as a parameter.

use super::*;

fn names() -> Vec<String> {
    vec!["backproof-webhook.backproof-system.svc".to_owned(), "127.0.0.1".to_owned()]
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(24 * days)
}

fn new() -> Material {
    Material::new(&names(), at(0), None).unwrap()
}

/// What replaces it at this time and why; panics if nothing does.
fn renewed(material: &Material, time: Timestamp) -> (Material, String) {
    material.renewed(&names(), time).unwrap().expect("nothing was due")
}

fn is_fine(material: &Material, time: Timestamp) -> bool {
    material.renewed(&names(), time).unwrap().is_none()
}

#[test]
fn the_secret_carries_all_of_it() {
    let material = new();
    assert_eq!(Material::from_secret(&material.to_secret()), material);
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_by_the_same_ca() {
    let material = new();
    assert!(is_fine(&material, at(0)));
    assert!(is_fine(&material, at(59)));
    let (after, why) = renewed(&material, at(61));
    assert_eq!(why, "new certificate: two thirds of its life are over");
    assert_eq!((&after.bundle, &after.ca_key), (&material.bundle, &material.ca_key));
    assert_ne!((&after.certificate, &after.key), (&material.certificate, &material.key));
    assert!(is_fine(&after, at(61)));
    let due = material.due(&names(), at(0));
    assert!(due > at(59) && due < at(61), "{due}");
}

#[test]
fn an_expired_certificate_is_replaced() {
    assert_eq!(renewed(&new(), at(91)).1, "new certificate: the certificate has expired");
}

#[test]
fn the_ca_before_stays_trusted_until_the_next_renewal() {
    let mut material = new();
    material = material.clone().with_leaf(&names(), at(2440)).unwrap();
    let (rotated, why) = renewed(&material, at(2440));
    assert_eq!(why, "new CA and certificate: two thirds of the CA's life are over");
    assert_eq!(blocks(&rotated.bundle).len(), 2);
    assert_eq!(blocks(&rotated.bundle)[1], blocks(&material.bundle)[0]);
    assert!(is_fine(&rotated, at(2440)));
    let (later, _) = renewed(&rotated, at(2501));
    assert_eq!(blocks(&later.bundle), blocks(&rotated.bundle)[..1]);
    assert_eq!(later.ca_key, rotated.ca_key);
}

#[test]
fn what_somebody_else_put_there_is_replaced_and_named() {
    let (a, b) = (new(), new());
    let names = names();
    let cases = [
        (Material::from_secret(&BTreeMap::new()), "new CA and certificate: the CA in the Secret cannot be read ("),
        (
            Material { ca_key: b.ca_key.clone(), ..a.clone() },
            "new CA and certificate: the CA in the Secret and its key do not belong together",
        ),
        (Material { key: b.key.clone(), ..a.clone() }, "new certificate: the certificate in the Secret and its key cannot be used ("),
        (
            Material { certificate: b.certificate.clone(), key: b.key.clone(), ..a.clone() },
            "new certificate: the CA in the Secret did not sign the certificate there",
        ),
    ];
    for (material, expected) in cases {
        let (after, why) = renewed(&material, at(0));
        assert!(why.starts_with(expected), "{why}");
        assert!(is_fine(&after, at(0)), "{expected}");
    }
    let more = [names, vec!["other.svc".to_owned()]].concat();
    let (_, why) = a.renewed(&more, at(0)).unwrap().unwrap();
    assert_eq!(why, "new certificate: the certificate does not name other.svc");
}

#[test]
fn readiness_compares_what_is_served_with_the_secret() {
    let serving = Serving::default();
    assert_eq!(serving.fault(at(0)), Some("there is no certificate yet"));
    let (a, b) = (new(), new());
    serving.serve(&a).unwrap();
    assert_eq!(serving.fault(at(0)), Some("the certificate served is not the one in the Secret"));
    serving.stored(&a, at(0));
    assert_eq!(serving.fault(at(0)), None);
    assert_eq!(serving.fault(at(91)), Some("the certificate has expired"));
    serving.stored(&b, at(0));
    assert_eq!(serving.fault(at(0)), Some("the certificate served is not the one in the Secret"));
    serving.serve(&b).unwrap();
    assert_eq!(serving.fault(at(0)), None);
}

#[test]
fn what_is_being_replaced_is_ready_as_long_as_it_is_trusted_and_not_for_ever() {
    let serving = Serving::default();
    let before = new();
    let after = Material::new(&names(), at(0), Some(&before)).unwrap();
    serving.serve(&before).unwrap();
    serving.stored(&after, at(0));
    let later = |seconds| at(0) + SignedDuration::from_secs(seconds);
    assert_eq!(serving.fault(later(59)), None);
    // Looking again at the same Secret does not begin the time anew.
    serving.stored(&after, later(59));
    assert_eq!(serving.fault(later(61)), Some("the certificate served is not the one in the Secret"));
}

#[test]
fn several_rotations_in_a_row_keep_the_last_cas_trusted() {
    let mut materials = vec![new()];
    for _ in 0..5 {
        materials.push(Material::new(&names(), at(0), materials.last()).unwrap());
    }
    let bundles: Vec<_> = materials.iter().map(|material| blocks(&material.bundle).len()).collect();
    assert_eq!(bundles, [1, 2, 3, 4, 4, 4]);
    let last = &materials[5];
    assert_eq!(blocks(&last.bundle)[3], materials[2].signer());
    // A certificate that is renewed right after does not drop them; one that is renewed in its time does.
    let broken = Material { certificate: String::new(), ..last.clone() };
    assert_eq!(blocks(&renewed(&broken, at(0)).0.bundle).len(), 4);
    assert_eq!(blocks(&renewed(&broken, at(2)).0.bundle).len(), 1);
}
