//! What trust policy the customer wrote → whether it is found to enforce the External ID.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Tenant, is_long, repository, wait_for};
use crate::{environment_or_skip, long_run_or_skip};

const PLATFORM: &str = "arn:aws:iam::103850359708:user/RingDNA_Web";

const WITHOUT: &str = "AssumeRoleWithoutExternalID";
const RANDOM: &str = "AssumeRoleWithRandomExternalID";
const APPENDED: &str = "AssumeRoleWithExternalIDAppended";
const PREPENDED: &str = "AssumeRoleWithExternalIDPrepended";
const CASE_FLIPPED: &str = "AssumeRoleWithExternalIDCaseFlipped";
const LAST_REPLACED: &str = "AssumeRoleWithLastCharacterReplaced";
const REPLACED: &str = "AssumeRoleWithCharacterReplaced";

const PRESENT: [&str; 6] = [RANDOM, APPENDED, PREPENDED, CASE_FLIPPED, LAST_REPLACED, REPLACED];
const EVERYBODY: [&str; 7] = [WITHOUT, RANDOM, APPENDED, PREPENDED, CASE_FLIPPED, LAST_REPLACED, REPLACED];
/// Random in each window, so a policy that matches some of them accepts them by chance.
const DRAWN: [&str; 2] = [RANDOM, REPLACED];

/// What a trust policy comes to.
#[derive(Clone)]
enum Verdict {
    /// Ready: none of the wrong callers got in.
    Enforced,
    /// `ExternalIDNotEnforced`: these got in.
    LetsIn(Vec<&'static str>),
    /// `AssumeRoleDenied`: the right caller did not get in either.
    RefusesUs,
}

use Verdict::{Enforced, LetsIn, RefusesUs};

struct Row {
    rule: String,
    external_id: String,
    /// `None`: there is no such role.
    trust: Option<Value>,
    verdict: Verdict,
}

impl Row {
    /// Of the destination, its role and its Secret.
    fn name(&self) -> String {
        let dashed = self.rule.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        dashed.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}

fn allow(condition: Option<Value>, principal: &str) -> Value {
    let mut statement =
        json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"});
    if let Some(condition) = condition {
        statement["Condition"] = condition;
    }
    statement
}

fn deny(condition: Option<Value>, principal: &str) -> Value {
    let mut statement = allow(condition, principal);
    statement["Effect"] = json!("Deny");
    statement
}

fn policy(statements: &[Value]) -> Option<Value> {
    Some(json!({"Version": "2012-10-17", "Statement": statements}))
}

fn equals(id: &str) -> Option<Value> {
    Some(json!({"StringEquals": {"sts:ExternalId": id}}))
}

/// One statement for the platform's principal, under a condition on the External ID.
fn on_id(operator: &str, value: impl Into<Value>) -> Option<Value> {
    policy(&[allow(Some(json!({operator: {"sts:ExternalId": value.into()}})), PLATFORM)])
}

#[test]
fn each_trust_policy_is_judged_and_the_remedy_says_what_to_paste() {
    environment_or_skip!();
    let tenant = Tenant::new("trust");
    let id = tenant.external_id.clone();
    let (start, last) = id.split_at(id.len() - 1);
    let family = id.strip_suffix("trust").unwrap();
    let short = two_characters();
    let open = || allow(None, PLATFORM);
    let named = |who: &str| {
        let conditions = json!({"StringEquals": {"sts:ExternalId": &id}, "StringLike": {"sts:RoleSessionName": format!("{who}@*")}});
        policy(&[allow(Some(conditions), PLATFORM)])
    };
    let row = |rule: &str, trust, verdict| Row { rule: rule.into(), external_id: id.clone(), trust, verdict };
    let rows = vec![
        // Enforced, as far as can be seen from here.
        row("StringEquals", on_id("StringEquals", id.as_str()), Enforced),
        row("StringEquals a list, ours among it", on_id("StringEquals", vec!["another-one", &id]), Enforced),
        row("ForAnyValue StringEquals", on_id("ForAnyValue:StringEquals", id.as_str()), Enforced),
        row("StringEquals for any principal", policy(&[allow(equals(&id), "*")]), Enforced),
        row(
            "StringEquals for our whole account",
            policy(&[allow(equals(&id), "arn:aws:iam::103850359708:root")]),
            Enforced,
        ),
        row(
            "open, and a Deny of every other ID",
            policy(&[open(), deny(Some(json!({"StringNotEquals": {"sts:ExternalId": &id}})), "*")]),
            Enforced,
        ),
        row("StringEquals and our session names", named(&tenant.namespace), Enforced),
        // Not enforced: who got in is named.
        row("no condition", policy(&[open()]), LetsIn(EVERYBODY.to_vec())),
        row("StringLike anything", on_id("StringLike", "*"), LetsIn(PRESENT.to_vec())),
        row("any ID, by Null false", on_id("Null", "false"), LetsIn(PRESENT.to_vec())),
        row(
            "StringLike with a star at the end",
            on_id("StringLike", format!("{family}*")),
            LetsIn(vec![APPENDED, LAST_REPLACED]),
        ),
        row(
            "StringLike with a star at the front",
            on_id("StringLike", format!("*{}", &id[id.len() - 11..])),
            LetsIn(vec![PREPENDED]),
        ),
        row(
            "StringLike with a question mark at the end",
            on_id("StringLike", format!("{start}?")),
            LetsIn(vec![LAST_REPLACED]),
        ),
        Row {
            rule: "StringLike with a question mark at the front of two characters".into(),
            external_id: short.clone(),
            trust: on_id("StringLike", format!("?{}", &short[1..])),
            verdict: LetsIn(vec![CASE_FLIPPED, REPLACED]),
        },
        row("StringEqualsIfExists", on_id("StringEqualsIfExists", id.as_str()), LetsIn(vec![WITHOUT])),
        row(
            "ForAllValues StringEquals",
            on_id("ForAllValues:StringEquals", id.as_str()),
            LetsIn(vec![WITHOUT]),
        ),
        row(
            "StringEqualsIgnoreCase",
            on_id("StringEqualsIgnoreCase", id.as_str()),
            LetsIn(vec![CASE_FLIPPED]),
        ),
        row("StringNotEquals another", on_id("StringNotEquals", "another-one"), LetsIn(EVERYBODY.to_vec())),
        row(
            "one statement of two is open",
            policy(&[allow(equals(&id), PLATFORM), open()]),
            LetsIn(EVERYBODY.to_vec()),
        ),
        row(
            "our session names alone",
            policy(&[allow(
                Some(json!({"StringLike": {"sts:RoleSessionName": format!("{}@*", tenant.namespace)}})),
                PLATFORM,
            )]),
            LetsIn(EVERYBODY.to_vec()),
        ),
        // Not ours to use.
        row("no such role", None, RefusesUs),
        row("somebody else is trusted", policy(&[allow(equals(&id), &format!("{PLATFORM}2"))]), RefusesUs),
        row("another ID", on_id("StringEquals", format!("{start}{last}{last}")), RefusesUs),
        row("every ID but ours", on_id("StringNotEquals", id.as_str()), RefusesUs),
        row("a Deny of our user", policy(&[open(), deny(None, PLATFORM)]), RefusesUs),
        row("StringEquals and the session names of others", named("others"), RefusesUs),
    ];
    apply(&tenant, &rows);
    wait_for_verdicts(&tenant, &rows);
    assert_secrets_stay_secret(&tenant, &rows);

    // One row of each kind in the short form.
    let sample = ["no-condition", "somebody-else-is-trusted", "stringequalsifexists"];
    let pasted: Vec<Row> = rows
        .into_iter()
        .filter(|row| !matches!(row.verdict, Enforced) && row.trust.is_some())
        .filter(|row| is_long() || sample.contains(&row.name().as_str()))
        .map(|row| Row { verdict: Enforced, ..row })
        .collect();
    for row in &pasted {
        let status = &destinations(&tenant)[&row.name()]["status"];
        let text = remedy(status).replace("<your External ID>", &row.external_id);
        tenant.customer_with(&["set-trust", "--role", &row.name()], &text).expect_ok();
    }
    assert!(pasted.len() >= 3, "some remedies were tried");
    tenant
        .kubectl(&["annotate", "recordingdestinations", "--all", "recordings.revenue.io/revalidate=pasted"])
        .expect_ok();
    wait_for_verdicts(&tenant, &pasted);
}

#[test]
fn every_form_of_external_id_is_proved_only_where_it_is_enforced() {
    environment_or_skip!();
    let tenant = Tenant::new("forms");
    let number: String = tenant.account.chars().rev().collect();
    let letter = char::from(b'a' + (std::process::id() % 26) as u8).to_string();
    let forms: [(&str, String); 5] = [
        ("digits only", number.clone()),
        ("one repeated character", letter.repeat(12 + (std::process::id() % 64) as usize)),
        ("two characters", two_characters().chars().rev().collect()),
        ("1224 characters", format!("{number}{}", "k".repeat(1212))),
        ("all punctuation", format!("_+=,.@:/-{number}")),
    ];
    let mut rows = Vec::new();
    for (form, id) in forms {
        let has_letters = id.contains(|c: char| c.is_ascii_alphabetic());
        let everybody = EVERYBODY.into_iter().filter(|caller| has_letters || *caller != CASE_FLIPPED);
        let verdict = LetsIn(everybody.collect());
        let row = |rule: &str, trust, verdict| Row {
            rule: format!("{form}, {rule}"),
            external_id: id.clone(),
            trust,
            verdict,
        };
        rows.push(row("demanded", on_id("StringEquals", id.as_str()), Enforced));
        rows.push(row("not demanded", policy(&[allow(None, PLATFORM)]), verdict));
    }
    apply(&tenant, &rows);
    wait_for_verdicts(&tenant, &rows);
    assert_secrets_stay_secret(&tenant, &rows);
}

#[test]
fn a_wildcard_in_the_middle_is_found_when_that_character_is_replaced() {
    environment_or_skip!();
    // It is a matter of chance which window that is, and each takes ten seconds.
    long_run_or_skip!();
    let number = std::process::id() % 10;
    let id = format!("m{number}d");
    let tenant = Tenant::with("middle", Some(&id), &[]);
    let trust = on_id("StringLike", "m?d").unwrap().to_string();
    tenant.customer_with(&["set-trust"], &trust).expect_ok();
    tenant.apply_secret(&id);
    tenant.apply_destination("acme", json!({}));
    let looked = |window: &str| {
        wait_for(
            window,
            || tenant.describe(),
            || {
                let destination = tenant.get(&["recordingdestination", "acme"])?;
                let asked = &destination["metadata"]["annotations"]["recordings.revenue.io/revalidate"];
                let ready = tenant.condition("acme", "Ready").filter(|ready| ready["status"] != "Unknown")?;
                (*asked == destination["status"]["lastHandledRevalidate"]).then_some((destination, ready))
            },
        )
    };
    // One window in two replaces the first character and proves nothing; thirty such are no accident.
    for window in 0..30 {
        let (destination, ready) = looked(&format!("window {window}"));
        if ready["reason"] == "ExternalIDNotEnforced" {
            assert!(failed(&destination["status"]).contains(&REPLACED.to_owned()));
            return;
        }
        assert_eq!(ready["reason"], "Validated");
        tenant.revalidate("acme");
    }
    panic!("never found:\n{}", tenant.describe());
}

#[test]
fn an_opened_role_is_found_at_the_enforcement_interval() {
    environment_or_skip!();
    // The shortest interval is five minutes.
    long_run_or_skip!();
    let tenant = Tenant::new("interval");
    tenant.apply_secret(&tenant.external_id);
    let validation = json!({"intervalSeconds": 3600, "enforcementIntervalSeconds": 300});
    tenant.apply_destination("acme", json!({"validation": validation}));
    tenant.wait_ready("acme");
    let proved = calls(&tenant);
    tenant.customer(&["trust-open"]).expect_ok();
    // The wait proper begins when it can end.
    std::thread::sleep(std::time::Duration::from_secs(240));
    tenant.wait_reason("acme", "False", "ExternalIDNotEnforced");
    let all = calls(&tenant);
    assert!(all.len() > proved.len() && all.starts_with(&proved), "{all:?}");
    // At most a tenth sooner, so that destinations of one age are not all looked at together.
    let pause = all[proved.len()].duration_since(*proved.last().unwrap());
    assert!(pause > SignedDuration::from_secs(265), "AWS was asked in between: {all:?}");
}

/// When the tenant's role was tried.
fn calls(tenant: &Tenant) -> Vec<Timestamp> {
    let log = std::fs::read_to_string(repository().join("target/dev/run/aws/access.jsonl")).unwrap();
    let mine = log.lines().filter(|line| line.contains(&tenant.role_arn()));
    mine.map(|line| serde_json::from_str::<Value>(line).unwrap()["time"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// An External ID of a letter and a digit, which differs from run to run: no other account may have the same.
fn two_characters() -> String {
    let number = std::process::id();
    format!("{}{}", char::from(b'a' + (number / 10 % 26) as u8), number % 10)
}

/// A role, a Secret and a destination for each row. The bucket's policy lets all these roles put: here it is trust that
/// is looked at.
fn apply(tenant: &Tenant, rows: &[Row]) {
    let role = |row: &Row| format!("arn:aws:iam::{}:role/{}", tenant.account, row.name());
    let roles: Vec<String> = rows.iter().map(role).collect();
    let grant = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": format!("arn:aws:s3:::{}/*", tenant.bucket),
        "Condition": {"ArnEquals": {"aws:PrincipalArn": roles}},
    }]});
    let bucket = ["set-bucket-policy", "--bucket", &tenant.bucket];
    tenant.customer_with(&bucket, &grant.to_string()).expect_ok();
    let mut items = Vec::new();
    for row in rows {
        let name = row.name();
        if let Some(trust) = &row.trust {
            tenant.customer_with(&["create-role", "--role", &name], &trust.to_string()).expect_ok();
        }
        items.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "recordings.revenue.io/external-id", "stringData": {"externalID": row.external_id},
        }));
        items.push(tenant.destination(
            &name,
            json!({
                "roleARN": role(row),
                "externalIDSecretRef": {"name": name}, "prefix": format!("{name}/"),
            }),
        ));
    }
    tenant.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).expect_ok();
}

fn destinations(tenant: &Tenant) -> BTreeMap<String, Value> {
    let list = tenant.get(&["recordingdestinations"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone())).collect()
}

/// Waits until each row says what it must, all of it.
#[track_caller]
fn wait_for_verdicts(tenant: &Tenant, rows: &[Row]) {
    let wrong = || {
        let seen = destinations(tenant);
        let said = rows.iter().map(|row| (&row.rule, expected(row), said(&seen[&row.name()]["status"], row)));
        said.filter(|(_, expected, said)| expected != said).collect::<Vec<_>>()
    };
    let describe = || {
        let line = |(rule, expected, said)| format!("{rule}:\n  expected {expected}\n  said     {said}\n");
        wrong().into_iter().map(line).collect()
    };
    wait_for("the verdict of each row", describe, || wrong().is_empty().then_some(()));
    for row in rows {
        let status = destinations(tenant)[&row.name()]["status"].clone();
        match &row.verdict {
            Enforced => assert!(
                condition(&status, "ExternalIDEnforced")["message"]
                    .as_str()
                    .unwrap()
                    .contains("other accepted External IDs and other principals cannot be seen from here"),
                "{}",
                row.rule
            ),
            LetsIn(_) | RefusesUs => {
                let pasted: Value = serde_json::from_str(&remedy(&status)).unwrap();
                assert_eq!(Some(pasted), on_id("StringEquals", "<your External ID>"), "{}", row.rule);
            }
        }
    }
}

/// Ready, ExternalIDEnforced, which wrong callers got in, and which were refused or could not be had.
fn expected(row: &Row) -> Value {
    let let_in = match &row.verdict {
        RefusesUs => return json!(["False AssumeRoleDenied", "Unknown NotEvaluated", [], []]),
        Enforced => Vec::new(),
        LetsIn(callers) => callers.clone(),
    };
    let (ready, enforced) = match row.verdict {
        Enforced => ("True Validated", "True Validated"),
        _ => ("False ExternalIDNotEnforced", "False ExternalIDNotEnforced"),
    };
    let others = EVERYBODY.into_iter().filter(|caller| !let_in.contains(caller));
    let others = others.filter(|caller| let_in.is_empty() || !DRAWN.contains(caller));
    let has_letters = row.external_id.contains(|c: char| c.is_ascii_alphabetic());
    let result = |caller| if caller == CASE_FLIPPED && !has_letters { "Skipped" } else { "Passed" };
    let others: Vec<String> = others.map(|caller| format!("{caller} {}", result(caller))).collect();
    json!([ready, enforced, let_in, others])
}

fn said(status: &Value, row: &Row) -> Value {
    let of = |kind| {
        let condition = condition(status, kind);
        format!(
            "{} {}",
            condition["status"].as_str().unwrap_or("-"),
            condition["reason"].as_str().unwrap_or("-")
        )
    };
    let by_chance = |caller: &str| match &row.verdict {
        LetsIn(callers) => DRAWN.contains(&caller) && !callers.contains(&caller),
        _ => false,
    };
    let wrong_callers = || checks(status).into_iter().filter(|(name, _)| name.starts_with("AssumeRoleW"));
    let failed = failed(status).into_iter().filter(|name| !by_chance(name)).collect::<Vec<_>>();
    let others = wrong_callers().filter(|(name, result)| result != "Failed" && !by_chance(name));
    let others = others.map(|(name, result)| format!("{name} {result}")).collect::<Vec<_>>();
    json!([of("Ready"), of("ExternalIDEnforced"), failed, others])
}

fn condition(status: &Value, kind: &str) -> Value {
    let found = status["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.cloned().unwrap_or_default()
}

fn checks(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = status["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    checks.iter().map(|check| (text(&check["name"]), text(&check["result"]))).collect()
}

/// The wrong callers that got in.
fn failed(status: &Value) -> Vec<String> {
    let failed = checks(status).into_iter().filter(|(_, result)| result == "Failed").map(|(name, _)| name);
    failed.filter(|name| name.starts_with("AssumeRoleW")).collect()
}

/// The trust policy that the failed checks say to paste: the same in each.
fn remedy(status: &Value) -> String {
    let failed = status["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "Failed");
    let mut texts = failed.map(|check| {
        let (_, policy) = check["remedy"].as_str().unwrap().split_once(":\n").unwrap();
        policy.to_owned()
    });
    let first = texts.next().unwrap();
    assert!(texts.all(|text| text == first));
    first
}

/// In no object that a reader of destinations and Events can see. Two characters are found anywhere by chance.
fn assert_secrets_stay_secret(tenant: &Tenant, rows: &[Row]) {
    let seen = tenant.get(&["recordingdestinations,events", "--show-managed-fields"]).unwrap().to_string();
    assert!(seen.contains("managedFields") && seen.contains("ExternalIDNotEnforced"));
    for row in rows.iter().filter(|row| row.external_id.len() > 2) {
        let encoded = BASE64_STANDARD.encode(&row.external_id);
        assert!(!seen.contains(&row.external_id), "{}: the External ID is there", row.rule);
        assert!(!seen.contains(&encoded), "{}: the External ID is there in base64", row.rule);
    }
}
