//! Each field that names something, with the names of another tenant's.

use serde_json::{Value, json};

use crate::environment_or_skip;
use crate::support::Tenant;

/// How another tenant's name is used → the reason for which the destination is not Ready; none where the API server
/// already refuses it.
type Attack = (&'static str, fn(&Tenant) -> Value, Option<&'static str>);

const ATTACKS: &[Attack] = &[
    ("bucket", |victim| json!({"bucket": victim.bucket}), Some("PutObjectDenied")),
    (
        "bucket-with-owner",
        |victim| json!({"bucket": victim.bucket, "expectedBucketOwner": victim.account}),
        Some("PutObjectDenied"),
    ),
    ("owner", |victim| json!({"expectedBucketOwner": victim.account}), Some("PutObjectDenied")),
    ("role", |victim| json!({"roleARN": victim.role_arn()}), Some("AssumeRoleDenied")),
    (
        "everything",
        |victim| json!({"roleARN": victim.role_arn(), "bucket": victim.bucket, "expectedBucketOwner": victim.account}),
        Some("AssumeRoleDenied"),
    ),
    ("secret", |victim| json!({"externalIDSecretRef": {"name": own_secret(victim)}}), Some("SecretNotFound")),
    (
        "secret-with-namespace",
        |victim| json!({"externalIDSecretRef": {"name": format!("{}/acme-external-id", victim.namespace)}}),
        None,
    ),
    (
        "key-with-path",
        |victim| json!({"externalIDSecretRef": {"name": "acme-external-id", "key": format!("../{}", victim.namespace)}}),
        None,
    ),
    (
        "kms-key",
        |victim| {
            let key =
                format!("arn:aws:kms:us-east-1:{}:key/1234abcd-12ab-34cd-56ef-1234567890ab", victim.account);
            json!({"encryption": {"type": "KMS", "kmsKeyARN": key}})
        },
        Some("KMSAccessDenied"),
    ),
];

/// A Secret that only this tenant's namespace has.
fn own_secret(tenant: &Tenant) -> String {
    format!("{}-external-id", tenant.namespace)
}

#[test]
fn a_name_of_anothers_gives_nothing_away() {
    environment_or_skip!();
    let tenants: Vec<Tenant> = ["first", "second", "third"].map(Tenant::ready).into();
    for tenant in &tenants {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": own_secret(tenant)},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": tenant.external_id},
        });
        tenant.apply(&secret).expect_ok();
    }
    let before: Vec<Value> =
        tenants.iter().map(|tenant| tenant.condition("acme", "Ready").unwrap()).collect();

    let pairs =
        || (0..3).flat_map(|attacker| (0..3).map(move |victim| (attacker, victim))).filter(|(a, v)| a != v);
    for (attacker, victim) in pairs() {
        for (how, change, reason) in ATTACKS {
            let destination =
                tenants[attacker].destination(&format!("{how}-{victim}"), change(&tenants[victim]));
            let done = tenants[attacker].apply(&destination);
            assert_eq!(done.ok, reason.is_some(), "{how}: {}", done.stderr);
        }
    }
    for (attacker, victim) in pairs() {
        for (how, _, reason) in ATTACKS {
            let Some(reason) = reason else { continue };
            let name = format!("{how}-{victim}");
            tenants[attacker].wait_reason(&name, "False", reason);
            let (destination, victim) =
                (tenants[attacker].get(&["recordingdestination", &name]).unwrap(), &tenants[victim]);
            // The attacker gave these names itself.
            let said = destination["status"].to_string();
            let said = said.replace(&victim.bucket, "").replace(&own_secret(victim), "");
            assert!(
                !said.contains(&victim.external_id) && !said.contains(&victim.namespace),
                "{name}: {said}"
            );
        }
    }
    for (tenant, before) in tenants.iter().zip(&before) {
        assert_eq!(
            tenant.condition("acme", "Ready").unwrap(),
            *before,
            "the attacked destination is as it was"
        );
        let strangers: Vec<_> = tenant.objects().into_iter().filter(|key| !key.ends_with(".probe")).collect();
        assert!(strangers.is_empty(), "objects of another tenant: {strangers:?}");
        // What is the tenant's own still works.
        tenant.revalidate("acme");
        tenant.wait_ready("acme");
    }
}
