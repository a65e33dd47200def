//! Files that are made from the code are what the code makes. `UPDATE=1 cargo test --test generated` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use recording_operator::api::{Reason, Side};
use serde_json::Value;
use strum::VariantArray as _;

#[allow(dead_code, reason = "each user of the table reads fields of its own")]
#[path = "breakages/table.rs"]
mod breakages;

fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn assert_is(file: &str, made: &str) {
    if std::env::var("UPDATE").is_ok() {
        fs::write(path(file), made).unwrap();
    }
    let found = fs::read_to_string(path(file)).unwrap_or_default();
    assert!(found == made, "{file} is stale: run `make generate`");
}

#[test]
fn the_crd_file_is_what_the_types_say() {
    let made = serde_yaml::to_string(&recording_operator::api::crd()).unwrap();
    assert_is("crds/recordingdestinations.yaml", &made);
}

#[test]
fn the_chart_carries_the_same_crd() {
    let made = serde_yaml::to_string(&recording_operator::api::crd()).unwrap();
    assert_is("charts/recording-operator/files/crds/recordingdestinations.yaml", &made);
}

#[test]
fn the_api_reference_is_what_the_types_say() {
    let crd = serde_json::to_value(recording_operator::api::crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut page = format!(
        "# RecordingDestination, {}/{}\n\nMade from the types by `make generate`; `kubectl explain recdest.spec` says the \
         same. The rules are the API server's: what breaks one is refused at apply with the sentence beside it.\n",
        text(&crd["spec"]["group"]),
        text(&version["name"]),
    );
    for part in ["spec", "status"] {
        page += &format!("\n## {part}\n\n{}\n", text(&schema[part]["description"]));
        page += "\n| field | type | |\n|---|---|---|\n";
        let mut rules = Vec::new();
        fields(part, &schema[part], &mut page, &mut rules);
        if !rules.is_empty() {
            page += "\n| rule of | says |\n|---|---|\n";
            rules.iter().for_each(|rule| page += rule);
        }
    }
    page += "\n## Columns of `kubectl get`\n\n| column | shows |\n|---|---|\n";
    for column in version["additionalPrinterColumns"].as_array().unwrap() {
        let wide = if column["priority"].as_i64().unwrap_or_default() > 0 { ", with `-o wide`" } else { "" };
        page += &format!("| {} | `{}`{wide} |\n", text(&column["name"]), text(&column["jsonPath"]));
    }
    assert_is("docs/api.md", &page);
}

/// The rows of all fields below an object, and the sentences of its rules.
fn fields(of: &str, schema: &Value, page: &mut String, rules: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let says = rule["message"].as_str().or(rule["messageExpression"].as_str()).unwrap();
        rules.push(format!("| `{of}` | {} |\n", cell(says)));
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{of}.{name}");
        let needed = if required.iter().any(|it| *it == name) { ", required" } else { "" };
        let about = cell(field["description"].as_str().unwrap_or_default());
        *page += &format!("| `{path}` | {}{needed} | {about}{} |\n", kind(field), limits(field));
        // What a Kubernetes condition holds is Kubernetes' to say.
        if name == "conditions" {
            continue;
        }
        match field["type"].as_str() {
            Some("array") => fields(&format!("{path}[]"), &field["items"], page, rules),
            _ => fields(&path, field, page, rules),
        }
    }
}

fn kind(field: &Value) -> String {
    match (field["type"].as_str().unwrap_or_default(), field["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&field["items"])),
        (_, Some("date-time")) => "time".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

fn limits(field: &Value) -> String {
    let one_of = field["enum"].as_array().map(|values| {
        let values: Vec<_> =
            values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or("null"))).collect();
        format!("One of {}.", values.join(", "))
    });
    let named = [
        ("default", "Default"),
        ("minimum", "At least"),
        ("maximum", "At most"),
        ("maxLength", "Characters, at most"),
        ("maxItems", "Items, at most"),
    ];
    let named = named.iter().filter_map(|(name, word)| match &field[name] {
        Value::Null => None,
        value => Some(format!("{word}: `{}`.", value.to_string().trim_matches('"'))),
    });
    one_of.into_iter().chain(named).map(|limit| format!(" {limit}")).collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_page_of_what_you_see_when_is_the_table_that_the_cluster_tests_play() {
    use breakages::{PodGone, ROWS, Shown};
    let mut page = String::from(
        "# What you see when\n\nMade by `make generate` from the table that a test breaks on a real cluster, row by row, while a \
         recorder writes a file a second. Status and Event follow within ten seconds of the sidecar's knowing, its metrics \
         at once, the alert by its second scrape or when its own wait is over. `kubectl recordings explain NAME` begins \
         with the same reason, says whose side it is on, and has the text to paste; each reason is in \
         [What the status says](status.md). No recording is deleted by any of this: recordings stay in the spool and are \
         delivered when the cause has ended, for as long as the volume lasts.\n",
    );
    let mut group = "";
    for row in ROWS {
        if row.group != group {
            group = row.group;
            page += &format!(
                "\n## {group}\n\n| when | `Ready` | `Delivering` | whose side | alert | if the pod is deleted meanwhile |\n\
                 |---|---|---|---|---|---|\n"
            );
        }
        let whose = |reason: &str| match reason.parse::<Reason>().ok().and_then(Reason::side) {
            Some(Side::Customer) => "the customer's",
            Some(Side::Tenant) => "the tenant's YAML",
            Some(Side::Platform) => "the platform's",
            Some(Side::Pod) => "the pod's",
            Some(Side::Nobody) | None => "nobody's, it is tried again",
        };
        let (ready, delivering, whose) = match row.shown {
            Shown::NotReady(reason) => {
                (format!("False, `{reason}`"), format!("False, `{reason}`"), whose(reason))
            }
            Shown::Unknown(reason) => (format!("Unknown, `{reason}`"), "not True".to_owned(), whose(reason)),
            Shown::NotDelivering("") => ("–".to_owned(), "–".to_owned(), "the tenant's YAML"),
            Shown::NotDelivering(reason) => ("True".to_owned(), format!("False, `{reason}`"), whose(reason)),
            Shown::Delivers => ("True".to_owned(), "True".to_owned(), "–"),
        };
        let alert = row.alert().map_or("–".to_owned(), |alert| format!("`{alert}`"));
        let gone = match row.pod_gone {
            PodGone::Nothing => "everything had arrived".to_owned(),
            PodGone::Entry(kind) => format!("`status.lastLosses` has an entry `{kind}`"),
        };
        page += &format!("| {} | {ready} | {delivering} | {whose} | {alert} | {gone} |\n", row.what);
    }
    assert_is("docs/what-you-see.md", &page);
}

/// Reasons stand in a page by who can do something about them, as `kubectl recordings` says it.
#[test]
fn the_page_on_the_status_says_of_each_reason_whose_it_is() {
    let rows = [
        ("| the customer's |", Side::Customer),
        ("| the tenant's YAML |", Side::Tenant),
        ("| the platform's |", Side::Platform),
        ("| nobody's, it is tried again |", Side::Nobody),
        ("| the pod's |", Side::Pod),
    ];
    let page = fs::read_to_string(path("docs/status.md")).unwrap();
    let words = |row: &str| {
        let line = page.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row {row}"));
        line.split('`').filter_map(|word| word.parse::<Reason>().ok()).collect::<Vec<_>>()
    };
    for (row, side) in rows {
        let listed = words(row);
        for reason in Reason::VARIANTS.iter().copied() {
            // No condition depends on it.
            let is_said = reason.side() == Some(side) && reason != Reason::DeleteObjectDenied;
            assert_eq!(listed.contains(&reason), is_said, "{reason} in the row {row}");
        }
    }
}

#[test]
fn the_readme_says_of_each_spool_what_the_page_about_pods_says() {
    let rows = |file: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(path(file)).unwrap();
        let (_, table) = text.split_once("\n| spool |").unwrap_or_else(|| panic!("{file} has no such table"));
        let rows = table.lines().take_while(|line| line.starts_with(['|', ' '])).skip(2);
        // What follows in a cell says how.
        let cell = |cell: &str| cell.split(": ").next().unwrap().trim().to_owned();
        rows.map(|row| row.trim_matches('|').split(" | ").map(cell).collect()).collect()
    };
    let (readme, page) = (rows("README.md"), rows("docs/pods.md"));
    assert_eq!(readme.len(), 4);
    for (short, long) in readme.iter().zip(&page) {
        assert_eq!((short.len(), &short[0]), (5, &long[0]));
        for (short, long) in short.iter().zip(long) {
            assert!(long.starts_with(short.as_str()), "{short}, {long}");
        }
    }
    assert_eq!(readme.len(), page.len());
}
