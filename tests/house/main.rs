//! The import rules that `src/lib.rs` states, held.

mod arrows;

use std::fs;
use std::path::{Path, PathBuf};

use arrows::{Arrows, arrows, circles};

/// Room → what it may use of ours. A room's own modules are always its own to use.
const RULES: &[(&str, &[&str])] = &[
    ("allocations", &[]),
    ("api", &[]),
    ("secret", &[]),
    ("concurrency", &[]),
    ("printable", &[]),
    ("domain/verdict", &["api", "secret"]),
    ("domain/trust", &["api", "secret"]),
    ("domain/ownership", &["api", "secret"]),
    ("domain/grant", &["api", "secret"]),
    ("domain/injection", &["api", "secret"]),
    ("domain/delivery", &["api", "secret"]),
    ("aws", &["api", "secret", "concurrency", "domain"]),
    ("cluster", &["api", "secret", "printable", "domain"]),
    ("serve", &["telemetry"]),
    ("telemetry", &["printable"]),
    (
        "controller",
        &["allocations", "api", "secret", "concurrency", "domain", "aws", "cluster", "serve", "telemetry"],
    ),
    (
        "webhook",
        &[
            "allocations",
            "api",
            "secret",
            "concurrency",
            "printable",
            "domain",
            "aws",
            "cluster",
            "serve",
            "telemetry",
        ],
    ),
    ("broker", &["api", "secret", "concurrency", "domain", "aws", "cluster", "serve", "telemetry"]),
    ("uploader", &["api", "secret", "printable", "domain", "aws", "serve", "telemetry"]),
    ("cli", &["api", "secret", "printable", "domain", "aws", "cluster"]),
];

/// What makes a decision depend on more than its inputs.
const IMPURE: &[&str] = &[
    "async fn",
    "async {",
    "async |",
    "tokio::",
    "tracing::",
    "Timestamp::now",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "std::fs",
    "std::net",
    "std::env",
    "kube::Client",
    "kube::Api",
    "aws_sdk",
];

fn sources(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Each source file, by its path below `src`, with its code (comments and tests apart).
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src).into_iter().map(|path| {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (name, code.join("\n"))
    });
    files.collect()
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

fn room_of(file: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    RULES.iter().find(|(room, _)| file.starts_with(&format!("{room}/")) || file == format!("{room}.rs"))
}

/// The rooms of ours that the code names, by `crate::` paths. `use crate::{a, b}` is not used here; a test holds that too.
fn rooms_named(code: &str) -> Vec<String> {
    let segment =
        |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let paths = code
        .match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    paths
        .map(|(at, _)| {
            let rest = &code[at + "crate::".len()..];
            let room = segment(rest);
            match rest[room.len()..].strip_prefix("::") {
                Some(rest) if room == "domain" => format!("domain/{}", segment(rest)),
                _ => room,
            }
        })
        .collect()
}

#[test]
fn each_room_uses_only_what_it_may() {
    let mut broken = Vec::new();
    for (file, code) in files() {
        let Some((room, allowed)) = room_of(&file) else { continue };
        for named in rooms_named(&code) {
            let allowed =
                named == *room || allowed.iter().any(|a| named == *a || named.starts_with(&format!("{a}/")));
            if !allowed && !named.is_empty() {
                broken.push(format!("src/{file} is of {room} and uses {named}"));
            }
        }
        if code.contains("crate::{") {
            broken.push(format!("src/{file}: write `use crate::room::…` once for each room"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_files_or_folders_of_a_room_use_each_other_in_a_circle() {
    let files: Vec<_> = files().into_iter().filter(|(file, _)| !is_test(file)).collect();
    let arrows = arrows(&files);
    let known = [
        ("uploader/driver/mod.rs", "uploader/driver/scan.rs"),
        ("uploader/spool/journal.rs", "uploader/spool/mod.rs"),
        ("uploader/driver/outcome.rs", "domain/delivery/spacing.rs"),
    ];
    for (file, used) in known {
        assert!(
            arrows[file].contains(used),
            "{file} uses {used}, and the test does not see it: {:?}",
            arrows[file]
        );
    }
    let circles = circles(&arrows);
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_of_files_or_folders_is_found() {
    let arrow = |from: &str, to: &str| (from.to_owned(), [to.to_owned()].into());
    let of = |arrows: &[(&str, &str)]| {
        circles(&arrows.iter().map(|(from, to)| arrow(from, to)).collect::<Arrows>())
    };
    assert!(of(&[("a/b.rs", "a/c.rs"), ("a/c.rs", "a/d/e.rs"), ("a/d/e.rs", "x/y.rs")]).is_empty());
    assert_eq!(of(&[("a/b.rs", "a/c.rs"), ("a/c.rs", "a/d/e.rs"), ("a/d/f.rs", "a/b.rs")]).len(), 1);
    assert_eq!(of(&[("a/d/mod.rs", "a/d/f.rs"), ("a/d/f.rs", "a/d/mod.rs")]).len(), 1);
}

#[test]
fn every_file_has_at_most_four_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let long =
        ["src", "tests"].into_iter().flat_map(|folder| sources(&root.join(folder))).filter_map(|path| {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (lines > 400).then(|| format!("{}: {lines}", path.display()))
        });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "split what needs a table of contents:\n{}", long.join("\n"));
}

#[test]
fn every_source_file_belongs_to_a_room() {
    let wiring = ["lib.rs", "main.rs", "domain/mod.rs"];
    for (file, _) in files() {
        assert!(
            room_of(&file).is_some() || wiring.contains(&file.as_str()) || file.starts_with("bin/"),
            "src/{file} is in no room of src/lib.rs"
        );
    }
}

#[test]
fn decisions_depend_on_their_inputs_alone() {
    let mut broken = Vec::new();
    for (file, code) in files().into_iter().filter(|(file, _)| file.starts_with("domain/") && !is_test(file))
    {
        broken.extend(
            IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("src/{file}: {word}")),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_aws_calls_aws_and_only_cluster_calls_kubernetes() {
    let mut broken = Vec::new();
    for (file, code) in files() {
        let holds = |words: &[&str]| words.iter().any(|word| code.contains(word));
        if !file.starts_with("aws/") && holds(&["aws_sdk_", "aws_smithy_", "aws_config"]) {
            broken.push(format!("src/{file} uses the AWS SDK"));
        }
        if !file.starts_with("cluster/") && holds(&["Api::", "Api<"]) {
            broken.push(format!("src/{file} calls the Kubernetes API"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A page may claim that a test holds something: then that test is there.
#[test]
fn every_test_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: String = sources(&root.join("src"))
        .into_iter()
        .chain(sources(&root.join("tests")))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut seen = 0;
    for page in fs::read_dir(root.join("docs")).unwrap() {
        let text = fs::read_to_string(page.unwrap().path()).unwrap();
        let words = text.split('`').skip(1).step_by(2);
        let is_test = |word: &&str| {
            // Metrics are named so, too.
            word.matches('_').count() > 3
                && !word.starts_with("recording_")
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        for name in words.filter(is_test) {
            assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// A page that is moved takes the links to it along.
#[test]
fn every_link_between_documents_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let more = ["README.md", "CONTRIBUTING.md", "charts/recording-operator/README.md", "tests/README.md"]
        .map(|file| root.join(file));
    let mut seen = 0;
    for page in documents.chain(more) {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(page.parent().unwrap().join(link).exists(), "{} links to {link}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
