//! What the role and the bucket allow → what the destination says.

mod after_upload;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::customer::ALL_FOUR;
use crate::environment_or_skip;
use crate::support::{Tenant, is_long, wait_for};

/// Every step that is looked at, in the order of `status.checks`.
const CHECKS: [&str; 18] = [
    "ExternalIDSecret",
    "AssumeRole",
    "AssumeRoleWithoutExternalID",
    "AssumeRoleWithRandomExternalID",
    "AssumeRoleWithExternalIDAppended",
    "AssumeRoleWithExternalIDPrepended",
    "AssumeRoleWithExternalIDCaseFlipped",
    "AssumeRoleWithLastCharacterReplaced",
    "AssumeRoleWithCharacterReplaced",
    "AssumeRoleAgain",
    "PutObject",
    "HeadObject",
    "GetObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "DeleteObject",
    "Exclusive",
];

/// What a set of permissions comes to.
enum Verdict {
    /// Ready, and every check passed.
    Sound,
    /// Ready, and this check says what to know: its name, result, reason, and words of its message or remedy.
    SoundBut(&'static str, &'static str, &'static str, Vec<String>),
    /// Not Ready for this reason, which is that of this check; and words of its message or remedy.
    Refused(&'static str, &'static str, Vec<String>),
}

use Verdict::{Refused, Sound, SoundBut};

struct Row {
    /// Of the destination, and of its prefix.
    name: &'static str,
    /// Of the role, where it is not the tenant's first, which has all four permissions.
    role: Option<&'static str>,
    change: Value,
    verdict: Verdict,
}

/// `change` is made to a sound destination.
fn row(name: &'static str, role: Option<&'static str>, change: Value, verdict: Verdict) -> Row {
    Row { name, role, change, verdict }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn policy(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn allow(actions: &[&str], resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": resource})
}

#[test]
fn each_permission_that_lacks_is_named_and_what_is_enough_is_ready() {
    environment_or_skip!();
    let tenant = Tenant::new("permissions");
    let bucket = |kind: &str| format!("{}-{kind}", tenant.bucket);
    let objects = format!("arn:aws:s3:::{}*/*", tenant.bucket);
    let trust = json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::103850359708:user/RingDNA_Web"},
        "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": tenant.external_id}}});
    let create_role = |role: &str, statements: &[Value]| {
        tenant
            .customer_with(&["create-role", "--role", role], &policy(std::slice::from_ref(&trust)))
            .expect_ok();
        tenant.customer_with(&["set-permissions", "--role", role], &policy(statements)).expect_ok();
    };
    let create_bucket = |kind: &str, options: &[&str]| {
        let (bucket, role) = (bucket(kind), format!("of-bucket-{kind}"));
        let create = ["create", "--bucket", &bucket, "--external-id", "-", "--role", &role];
        tenant.customer_with(&[&create, options].concat(), &tenant.external_id).expect_ok().text()
    };

    // The roles: the first has all four permissions, the others what their names say.
    tenant.customer_with(&["set-permissions"], &policy(&[allow(&ALL_FOUR, &objects)])).expect_ok();
    for (role, left_out) in [
        ("no-put", "s3:PutObject"),
        ("no-acl", "s3:PutObjectAcl"),
        ("no-get", "s3:GetObject"),
        ("no-delete", "s3:DeleteObject"),
    ] {
        let rest: Vec<&str> = ALL_FOUR.into_iter().filter(|action| *action != left_out).collect();
        create_role(role, &[allow(&rest, &objects)]);
    }
    create_role("nothing", &[allow(&["s3:ListAllMyBuckets"], "*")]);
    create_bucket("enforced", &["--ownership", "BucketOwnerEnforced"]);
    create_bucket("versioned", &["--versioned"]);
    create_bucket("europe", &["--region", "eu-west-1"]);
    let kms = create_bucket("kms", &["--kms"]);
    let key = kms.lines().last().unwrap();
    create_role(
        "kms-both",
        &[allow(&ALL_FOUR, &objects), allow(&["kms:GenerateDataKey", "kms:Decrypt"], key)],
    );
    create_role("kms-write", &[allow(&ALL_FOUR, &objects), allow(&["kms:GenerateDataKey"], key)]);

    // The bucket's policy, a statement for each row that is about it.
    let arn = |role: &str| format!("arn:aws:iam::{}:role/{role}", tenant.account);
    let under = |name: &str| format!("arn:aws:s3:::{}/{name}/*", tenant.bucket);
    let statement = |effect: &str, action: &str, name: &str, more: Value| {
        let mut statement =
            json!({"Effect": effect, "Principal": "*", "Action": action, "Resource": under(name)});
        statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        statement
    };
    let nobody_but = |role: &str| json!({"Condition": {"ArnNotEquals": {"aws:PrincipalArn": arn(role)}}});
    let to = |role: &str| json!({"Condition": {"ArnEquals": {"aws:PrincipalArn": arn(role)}}});
    let first = tenant.role_arn().rsplit('/').next().unwrap().to_owned();
    let statements = [
        statement("Deny", "s3:*", "only-our-role", nobody_but(&first)),
        statement("Deny", "s3:*", "only-another-role", nobody_but("another")),
        statement("Deny", "s3:PutObject", "role-denied", json!({"Principal": {"AWS": tenant.role_arn()}})),
        statement("Deny", "s3:GetObject", "reading-denied", json!({})),
        statement("Deny", "s3:AbortMultipartUpload", "no-abort", json!({})),
        statement("Allow", "s3:*", "granted-by-bucket", to("nothing")),
        statement("Allow", "s3:PutObject", "put-granted-by-bucket", to("nothing")),
    ];
    let set = ["set-bucket-policy", "--bucket", &tenant.bucket];
    tenant.customer_with(&set, &policy(&statements)).expect_ok();

    let missing = format!("{}-nothing", tenant.bucket);
    let role_policy = "Give the role this permissions policy:";
    let rows = [
        row("all-four", None, json!({}), Sound),
        // One permission less.
        row(
            "no-put",
            Some("no-put"),
            json!({}),
            Refused("PutObjectDenied", "PutObject", words(&["the role lacks s3:PutObject", role_policy])),
        ),
        row(
            "no-acl",
            Some("no-acl"),
            json!({}),
            Refused(
                "ACLDenied",
                "PutObject",
                words(&["Allow s3:PutObjectAcl, or set spec.objectACL to None", role_policy]),
            ),
        ),
        row(
            "no-get",
            Some("no-get"),
            json!({}),
            Refused("GetObjectDenied", "GetObject", words(&["could not be verified", role_policy])),
        ),
        row(
            "no-delete",
            Some("no-delete"),
            json!({}),
            SoundBut(
                "DeleteObject",
                "Failed",
                "DeleteObjectDenied",
                words(&[
                    "stay under",
                    "/no-delete/.recording-operator/",
                    "Uploads do not need it",
                    role_policy,
                ]),
            ),
        ),
        // ACLs.
        row("no-acl-asked", Some("no-acl"), json!({"objectACL": "None"}), Sound),
        row("enforced", None, json!({"bucket": bucket("enforced")}), Sound),
        row(
            "enforced-no-acl-asked",
            Some("no-acl"),
            json!({"bucket": bucket("enforced"), "objectACL": "None"}),
            Sound,
        ),
        // The bucket's policy.
        row("only-our-role", None, json!({}), Sound),
        row(
            "only-another-role",
            None,
            json!({}),
            Refused("PutObjectDenied", "PutObject", words(&["the bucket's policy denies the role"])),
        ),
        row(
            "role-denied",
            None,
            json!({}),
            Refused("PutObjectDenied", "PutObject", words(&["the bucket's policy denies the role"])),
        ),
        row("reading-denied", None, json!({}), Refused("GetObjectDenied", "GetObject", Vec::new())),
        row("no-abort", None, json!({}), Sound),
        row("granted-by-bucket", Some("nothing"), json!({}), Sound),
        row(
            "put-granted-by-bucket",
            Some("nothing"),
            json!({"objectACL": "None"}),
            Refused("GetObjectDenied", "GetObject", Vec::new()),
        ),
        // Another bucket than was meant.
        row(
            "wrong-region",
            None,
            json!({"bucket": bucket("europe")}),
            Refused(
                "WrongRegion",
                "PutObject",
                words(&["is in eu-west-1, not in us-east-1", "Set spec.region to eu-west-1"]),
            ),
        ),
        row("right-region", None, json!({"bucket": bucket("europe"), "region": "eu-west-1"}), Sound),
        row(
            "wrong-owner",
            None,
            json!({"expectedBucketOwner": "999999999999"}),
            Refused("PutObjectDenied", "PutObject", words(&["is not owned by account 999999999999"])),
        ),
        row("right-owner", None, json!({"expectedBucketOwner": tenant.account}), Sound),
        row(
            "missing",
            None,
            json!({"bucket": missing}),
            Refused("BucketNotFound", "PutObject", vec![format!("there is no bucket {missing}")]),
        ),
        // Encryption.
        row(
            "kms-none",
            None,
            json!({"bucket": bucket("kms")}),
            Refused("KMSAccessDenied", "PutObject", words(&["kms:GenerateDataKey and kms:Decrypt"])),
        ),
        row(
            "kms-write",
            Some("kms-write"),
            json!({"bucket": bucket("kms")}),
            Refused("KMSAccessDenied", "GetObject", words(&["kms:GenerateDataKey and kms:Decrypt"])),
        ),
        row("kms-both", Some("kms-both"), json!({"bucket": bucket("kms")}), Sound),
        // What a delete leaves behind.
        row(
            "versioned",
            None,
            json!({"bucket": bucket("versioned")}),
            SoundBut(
                "DeleteObject",
                "Passed",
                "DeleteMarkerLeft",
                words(&["versioned/.recording-operator/", "A lifecycle rule with that prefix"]),
            ),
        ),
    ];
    tenant.apply_secret(&tenant.external_id);
    let destination = |row: &Row| {
        let mut change = json!({"prefix": format!("{}/", row.name)});
        change.as_object_mut().unwrap().extend(row.change.as_object().unwrap().clone());
        if let Some(role) = row.role {
            change["roleARN"] = json!(arn(role));
        }
        tenant.destination(row.name, change)
    };
    let items: Vec<Value> = rows.iter().map(destination).collect();
    tenant.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).expect_ok();
    wait_for_verdicts(&tenant, &rows);

    // What is left in the bucket: nothing but what the role could not delete.
    let left = tenant.objects();
    let of =
        |row: &str| left.iter().filter(|key| key.starts_with(&format!("{row}/.recording-operator/"))).count();
    assert_eq!(of("no-delete"), 2, "{left:?}");
    // That one refuses reads as well: each try would leave two more, so it waits to be asked.
    assert_eq!((of("put-granted-by-bucket"), left.len()), (2, 4), "{left:?}");
    let versions = || {
        let list =
            ["list-versions", "--bucket", &bucket("versioned"), "--prefix", "versioned/.recording-operator/"];
        let listed = tenant.customer(&list).expect_ok().text();
        let count = |kind| listed.lines().filter(|line| line.ends_with(kind)).count();
        (count("\tversion"), count("\tmarker"))
    };
    assert_eq!(versions(), (2, 2), "an object and a marker for each of the probe's two");

    // Who asks for a look has one, and objects are put again.
    tenant.revalidate("versioned");
    wait_for("another two versions", || tenant.describe(), || (versions() == (4, 4)).then_some(()));

    // A corrected permission turns Ready, in the long form without a request.
    for role in ["no-put", "no-acl", "no-get"] {
        let set = ["set-permissions", "--role", role];
        tenant.customer_with(&set, &policy(&[allow(&ALL_FOUR, &objects)])).expect_ok();
        if !is_long() {
            tenant.revalidate(role);
        }
    }
    let mended = [
        ("wrong-region", json!({"spec": {"region": "eu-west-1"}})),
        ("wrong-owner", json!({"spec": {"expectedBucketOwner": tenant.account}})),
    ];
    for (name, patch) in mended {
        let patch = format!("--patch={patch}");
        tenant.kubectl(&["patch", "recordingdestination", name, "--type=merge", &patch]).expect_ok();
    }
    for name in ["no-put", "no-acl", "no-get", "wrong-region", "wrong-owner"] {
        tenant.wait_ready(name);
    }
    let kept = ["no-delete/.recording-operator/", "put-granted-by-bucket/.recording-operator/"];
    let left = tenant.objects();
    assert!(left.iter().all(|key| kept.iter().any(|kept| key.starts_with(kept))), "{left:?}");
}

/// Waits until each row says what it must, all of it.
#[track_caller]
fn wait_for_verdicts(tenant: &Tenant, rows: &[Row]) {
    let wrong = || {
        let list = tenant.get(&["recordingdestinations"]).unwrap();
        let statuses: BTreeMap<&str, &Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["metadata"]["name"].as_str().unwrap(), &item["status"]))
            .collect();
        rows.iter()
            .filter_map(|row| Some(format!("{}: {}\n", row.name, objection(row, statuses[row.name])?)))
            .collect::<String>()
    };
    wait_for("the verdict of each row", wrong, || wrong().is_empty().then_some(()));
}

/// What is not as the row says.
fn objection(row: &Row, status: &Value) -> Option<String> {
    let all = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    let ready =
        all("conditions").into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    let ready = format!("{} {}", text(&ready["status"]), text(&ready["reason"]));
    let checks = all("checks");
    let of = |name: &str| checks.iter().find(|check| check["name"] == name).cloned().unwrap_or_default();
    let (expected, check, result, reason, texts) = match &row.verdict {
        Sound => ("True Validated".to_owned(), "PutObject", "Passed", "Validated", &Vec::new()),
        SoundBut(check, result, reason, texts) => {
            ("True Validated".to_owned(), *check, *result, *reason, texts)
        }
        Refused(reason, check, texts) => (format!("False {reason}"), *check, "Failed", *reason, texts),
    };
    if ready != expected {
        return Some(format!("Ready is {ready}, not {expected}: {status}"));
    }
    let said = of(check);
    if said["result"] != result || said["reason"] != reason {
        return Some(format!("check {check} is not {result} {reason}: {said}"));
    }
    let text = format!("{} {}", text(&said["message"]), text(&said["remedy"]));
    if let Some(lacking) = texts.iter().find(|words| !text.contains(words.as_str())) {
        return Some(format!("check {check} does not say {lacking:?}: {text}"));
    }
    let sound = !matches!(row.verdict, Refused(..));
    // What failed comes first; the rest is in the order of the steps.
    let mut names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    names.sort_by_key(|name| CHECKS.iter().position(|known| known == name));
    let others_passed = || checks.iter().all(|other| other["name"] == check || other["result"] == "Passed");
    (sound && (names != CHECKS || !others_passed())).then(|| format!("not every check passed: {checks:?}"))
}
