//! What each row must say, and what the status says.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Verdict::{Enforced, LetsIn, RefusesUs};
use super::{CASE_FLIPPED, DRAWN, EVERYBODY, Row, on_id};
use crate::support::{Tenant, wait_for};

pub fn destinations(tenant: &Tenant) -> BTreeMap<String, Value> {
    let list = tenant.get(&["recordingdestinations"]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone())).collect()
}

/// Waits until each row says what it must, all of it.
#[track_caller]
pub fn wait_for_verdicts(tenant: &Tenant, rows: &[Row]) {
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
    let mut others = others.collect::<Vec<_>>();
    // The status has what passed before what was skipped.
    others.sort_by_key(|(name, _)| EVERYBODY.iter().position(|caller| caller == name));
    let others = others.into_iter().map(|(name, result)| format!("{name} {result}")).collect::<Vec<_>>();
    json!([of("Ready"), of("ExternalIDEnforced"), failed, others])
}

pub fn condition(status: &Value, kind: &str) -> Value {
    let found = status["conditions"].as_array().and_then(|all| all.iter().find(|c| c["type"] == kind));
    found.cloned().unwrap_or_default()
}

fn checks(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = status["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    checks.iter().map(|check| (text(&check["name"]), text(&check["result"]))).collect()
}

/// The wrong callers that got in.
pub fn failed(status: &Value) -> Vec<String> {
    let failed = checks(status).into_iter().filter(|(_, result)| result == "Failed").map(|(name, _)| name);
    failed.filter(|name| name.starts_with("AssumeRoleW")).collect()
}

/// The trust policy that the failed checks say to paste: the same in each.
pub fn remedy(status: &Value) -> String {
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
pub fn assert_secrets_stay_secret(tenant: &Tenant, rows: &[Row]) {
    let seen = tenant.get(&["recordingdestinations,events", "--show-managed-fields"]).unwrap().to_string();
    assert!(seen.contains("managedFields") && seen.contains("ExternalIDNotEnforced"));
    for row in rows.iter().filter(|row| row.external_id.len() > 2) {
        let encoded = BASE64_STANDARD.encode(&row.external_id);
        assert!(!seen.contains(&row.external_id), "{}: the External ID is there", row.rule);
        assert!(!seen.contains(&encoded), "{}: the External ID is there in base64", row.rule);
    }
}
