use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use serde_json::{Value, json};

use super::*;

/// The command as it is typed.
#[derive(Parser)]
struct Typed {
    #[command(flatten)]
    arguments: Arguments,
}

fn guide(words: &[&str]) -> Result<Handed, String> {
    let principal = "--platform-principal-arn=arn:aws:iam::103850359708:user/RingDNA_Web";
    let is_named = words.iter().any(|word| word.starts_with("--platform-principal-arn"));
    let usual = if is_named { vec!["guide"] } else { vec!["guide", principal] };
    let typed = Typed::try_parse_from([&usual[..], words].concat()).map_err(|error| error.to_string())?;
    run(&typed.arguments).map_err(|failure| failure.to_string())
}

fn text(words: &[&str]) -> String {
    match guide(words) {
        Ok(Handed::Printed { text, .. }) => text,
        Ok(Handed::Written { .. }) => panic!("nothing was to be written"),
        Err(error) => panic!("{error}"),
    }
}

const PLAIN: &[&str] =
    &["--bucket=acme-recordings", "--region=us-east-1", "--account=111111111111", "--prefix=calls/"];

/// Three customers, in what their guides differ.
fn customers() -> Vec<(&'static str, Pack)> {
    let spec = |changes: Value| {
        let mut spec = json!({
            "bucket": "acme-recordings", "region": "us-east-1", "prefix": "calls/",
            "roleARN": "arn:aws:iam::111111111111:role/revenue-call-recording-writer",
            "externalIDSecretRef": {"name": "acme-external-id"},
        });
        for (field, value) in changes.as_object().unwrap() {
            spec[field] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    };
    let user = "arn:aws:iam::103850359708:user/RingDNA_Web";
    let pack = |changes, principal| Pack::new(&spec(changes), principal).unwrap();
    vec![
        ("plain", pack(json!({}), user)),
        (
            "kms",
            pack(
                json!({
                    "bucket": "globex-recordings", "region": "eu-central-1",
                    "roleARN": "arn:aws:iam::222222222222:role/platform/recordings/writer",
                    "encryption": {"type": "KMS", "kmsKeyARN": "arn:aws:kms:eu-central-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"},
                }),
                user,
            ),
        ),
        (
            "no-acl",
            pack(
                json!({
                    "bucket": "initech-recordings", "region": "us-gov-west-1", "prefix": "", "objectACL": "None",
                    "roleARN": "arn:aws-us-gov:iam::333333333333:role/writer",
                }),
                "arn:aws-us-gov:iam::103850359708:role/recordings",
            ),
        ),
    ]
}

/// `golden/CUSTOMER/FILE`, of one customer the page too. `GOLDEN=write` updates them.
#[test]
fn what_is_handed_over_is_what_the_golden_files_say() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/guide/golden");
    for (customer, pack) in customers() {
        for format in Format::iter().filter(|format| *format != Format::Html || customer == "plain") {
            let file = golden.join(customer).join(format.file());
            let made = pack.render(format);
            if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, &made).unwrap();
            }
            let expected = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                made == expected,
                "{} is not what is made now: GOLDEN=write, and read it",
                file.display()
            );
        }
    }
}

#[test]
fn all_formats_hold_the_same_policies() {
    for (customer, pack) in customers() {
        let script = pack.render(Format::Script);
        let of_script = |name: &str| -> Value {
            let (_, rest) = script.split_once(&format!("{name} <<'JSON' || true\n")).unwrap();
            serde_json::from_str(rest.split_once("\nJSON\n").unwrap().0).unwrap()
        };
        let wanted = ["TRUST", "PERMISSIONS", "BUCKET_POLICY"].map(of_script);

        let markdown = pack.render(Format::Markdown);
        let of_markdown = |title: &str| -> Value {
            let (_, rest) = markdown.split_once(&format!("```json {title}\n")).unwrap();
            serde_json::from_str(rest.split_once("\n```").unwrap().0).unwrap()
        };
        assert_eq!(
            ["Trust policy", "Permissions policy", "Bucket policy"].map(of_markdown),
            wanted,
            "{customer}"
        );
        assert_eq!(of_markdown("Lifecycle configuration"), json!({"Rules": of_script("LIFECYCLE_RULES")}));

        let template = pack.render(Format::Cloudformation).replace("!Ref ExternalId", "<your External ID>");
        let template: Value = serde_yaml::from_str(&template.replace(['!'], "")).unwrap();
        let resources = &template["Resources"];
        let role = &resources["Role"]["Properties"];
        let of_template = [
            &role["AssumeRolePolicyDocument"],
            &role["Policies"][0]["PolicyDocument"],
            &resources["BucketPolicy"]["Properties"]["PolicyDocument"],
        ];
        assert_eq!(of_template.map(Value::clone), wanted, "{customer}");

        let terraform = pack.render(Format::Terraform).replace("var.external_id", "\"<your External ID>\"");
        let of_terraform = |attribute: &str| -> Value {
            let (_, rest) = terraform.split_once(&format!("{attribute} = jsonencode(")).unwrap();
            serde_json::from_str(rest.split_once(')').unwrap().0).unwrap()
        };
        assert_eq!(of_terraform("assume_role_policy"), wanted[0], "{customer}");
        assert_eq!(of_terraform("role = aws_iam_role.recordings.id\n  policy"), wanted[1], "{customer}");
        assert_eq!(of_terraform("bucket = aws_s3_bucket.recordings.id\n  policy"), wanted[2], "{customer}");
    }
}

#[test]
fn a_few_flags_say_what_a_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tenant.yaml");
    let tenant = include_str!("../../../examples/tenant.yaml");
    fs::write(&file, tenant).unwrap();
    let from_file = |format: &str| text(&["--filename", file.to_str().unwrap(), "--format", format]);
    for format in ["markdown", "html", "script", "cloudformation", "terraform"] {
        let made = from_file(format);
        assert_eq!(made, text(&[PLAIN, &["--format", format]].concat()), "{format}");
        // The file has it, in the Secret.
        assert!(tenant.contains("5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19"));
        assert!(!made.contains("5f0c2f7e"), "{format} shows the External ID");
    }
}

/// A forgotten flag would have the customer trust somebody else's user.
#[test]
fn the_principal_has_no_default() {
    let without = Typed::try_parse_from([&["guide"], PLAIN].concat()).err().unwrap().to_string();
    assert!(without.contains("--platform-principal-arn <ARN>"), "{without}");
    assert!(guide(PLAIN).is_ok());
}

#[test]
fn of_several_destinations_the_one_that_is_named_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tenants.yaml");
    let acme = include_str!("../../../examples/tenant.yaml");
    let other = acme
        .replace("acme", "globex")
        .replace("5f0c2f7e", "0a1b2c3d")
        .replace("111111111111", "222222222222");
    fs::write(&file, format!("{acme}\n---\n{other}")).unwrap();
    let file = file.to_str().unwrap();
    assert!(text(&["--filename", file, "globex"]).contains("globex-recordings"));
    assert!(text(&["--filename", file, "acme"]).contains("acme-recordings"));
    let error = guide(&["--filename", file]).err().unwrap();
    assert!(error.ends_with("tenants.yaml has several destinations: name the one"), "{error}");
    let error = guide(&["--filename", file, "initech"]).err().unwrap();
    assert!(error.contains("no such RecordingDestination"), "{error}");
}

#[test]
fn what_a_guide_cannot_say_is_refused_with_the_field_the_rule_and_the_fix() {
    let with = |change: &[&'static str]| {
        let mut words: BTreeMap<&str, &str> =
            PLAIN.iter().map(|word| (word.split('=').next().unwrap(), *word)).collect();
        words.extend(change.iter().map(|word| (word.split('=').next().unwrap(), *word)));
        guide(&words.into_values().collect::<Vec<_>>())
    };
    assert!(with(&[]).is_ok());
    assert!(with(&["--role-arn=arn:aws:iam::111111111111:role/a/b/writer"]).is_ok());
    for (change, message) in [
        ("--bucket=acme.recordings", "bucket must not contain dots"),
        ("--region=nowhere", "region must be an AWS region code such as us-east-1"),
        ("--account=1", "roleARN must be an IAM role ARN"),
        ("--prefix=/calls", "prefix must be empty or segments"),
        ("--kms-key-arn=alias/recordings", "encryption.kmsKeyARN must be a KMS key ARN"),
        (
            "--role-arn=arn:aws:iam::111111111111:role/$(id)/writer",
            "letters, digits and : / _ + = , . @ - alone",
        ),
        (
            "--role-arn=arn:aws-cn:iam::111111111111:role/writer",
            "region and roleARN are in different AWS partitions",
        ),
        ("--platform-principal-arn=RingDNA_Web", "must be the ARN of an IAM user or role"),
        ("--platform-principal-arn=arn:aws:iam::103850359708:root", "must be the ARN of an IAM user or role"),
        ("--platform-principal-arn=arn:aws:iam::103850359708:user/'", "letters, digits and"),
    ] {
        let error = with(&[change]).err().unwrap_or_else(|| panic!("{change} is not refused"));
        assert!(error.contains(message), "{change}: {error}");
    }
}

#[test]
fn role_and_bucket_in_two_accounts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tenant.yaml");
    let tenant = include_str!("../../../examples/tenant.yaml");
    fs::write(&file, format!("{tenant}  expectedBucketOwner: \"222222222222\"\n")).unwrap();
    let error = guide(&["--filename", file.to_str().unwrap()]).err().unwrap();
    assert!(error.contains("bucket and role in one account"), "{error}");
    fs::write(&file, format!("{tenant}  expectedBucketOwner: \"111111111111\"\n")).unwrap();
    assert!(guide(&["--filename", file.to_str().unwrap()]).is_ok());
}

#[test]
fn a_directory_gets_all_files_and_keeps_those_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let pack = directory.path().join("for/acme");
    let into = [PLAIN, &["--directory", pack.to_str().unwrap()]].concat();
    for round in ["first", "again"] {
        let Ok(Handed::Written { files }) = guide(&into) else { panic!("{round}") };
        let names: Vec<PathBuf> = Format::iter().map(|format| pack.join(format.file())).collect();
        assert_eq!(files, names, "{round}");
    }
    let mode = |name: &str| fs::metadata(pack.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("setup.sh"), mode("main.tf")), (0o755, 0o644));

    fs::write(pack.join("main.tf"), "# mine\n").unwrap();
    let error = guide(&into).err().unwrap();
    assert!(error.contains("main.tf cannot be written: it is there already"), "{error}");
    assert_eq!(fs::read_to_string(pack.join("main.tf")).unwrap(), "# mine\n");
}

#[test]
fn the_page_needs_nothing_else_and_lets_nothing_else_in() {
    let page = text(&[PLAIN, &["--format=html"]].concat());
    for reference in ["src=", "url(", "@import", "<link", "<iframe", "href=\"http", "fetch(", "localStorage"]
    {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches("<style>").count(), 1);
    assert_eq!(page.matches("<script>").count(), 1);
    let markdown = text(PLAIN);
    let snippets = markdown.matches("\n```").count() / 2 + 3;
    assert_eq!(
        page.matches("class=\"copy\"").count(),
        snippets,
        "a button for each block of code, and for each file"
    );
}
