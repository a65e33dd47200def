//! What `kubectl recordings guide` hands over, carried out by a customer in whose account there is nothing.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::environment_or_skip;
use crate::support::{Done, Tenant, dev, recordings, setting};

/// The customer's administrator, at a shell with the pack and the aws CLI.
struct Administrator<'a> {
    tenant: &'a Tenant,
    home: tempfile::TempDir,
}

impl<'a> Administrator<'a> {
    fn with_pack(tenant: &'a Tenant) -> Self {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().to_str().unwrap();
        let done = recordings(
            &[
                "guide",
                "--bucket",
                &tenant.bucket,
                "--region=us-east-1",
                "--account",
                &tenant.account,
                "--platform-principal-arn",
                &setting("PLATFORM_PRINCIPAL_ARN").unwrap(),
                "--prefix=calls/",
                "--directory",
                directory,
            ],
            "",
            &[],
        );
        assert!(done.expect_ok().text().contains("guide.html"));
        dev("dev.sdks", &["aws", directory], "").expect_ok();
        Administrator { tenant, home }
    }

    /// A command in the directory of the pack. Nothing that it says may hold the External ID.
    fn types(&self, command: &str) -> Done {
        let home: &Path = self.home.path();
        let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-c", command]).current_dir(home).env("HOME", home).env("PATH", path);
        shell.env("AWS_ENDPOINT_URL", setting("AWS_ENDPOINT_URL").unwrap());
        shell.env("AWS_ACCESS_KEY_ID", &self.tenant.account).env("AWS_SECRET_ACCESS_KEY", "root");
        shell.env("EXTERNAL_ID", &self.tenant.external_id);
        let done = Done::from(shell.output().unwrap());
        let shown = done.text() + &done.stderr;
        assert!(!shown.contains(&self.tenant.external_id), "the External ID shows: {command}");
        done
    }
}

/// What the platform does with the three values.
fn on_board(tenant: &Tenant) {
    tenant.apply_secret(&tenant.external_id);
    tenant.apply_destination("acme", json!({"prefix": "calls/"}));
    tenant.wait_ready("acme");
}

#[test]
fn the_setup_script_makes_a_destination_ready_and_its_revocation_denies() {
    environment_or_skip!();
    let tenant = Tenant::before_set_up("guide-script", None);
    let customer = Administrator::with_pack(&tenant);
    let dry = customer.types("./setup.sh --dry-run").expect_ok().text();
    assert!(dry.lines().all(|line| line.starts_with("would ")), "{dry}");
    assert!(!customer.types(&format!("aws s3api head-bucket --bucket {}", tenant.bucket)).ok, "it is there");

    customer.types("./setup.sh").expect_ok();
    let again = customer.types("./setup.sh").expect_ok().text();
    let report = again.split("\n\n").next().unwrap();
    assert!(report.lines().all(|line| line.starts_with("ok ")), "{again}");
    assert!(again.contains(&tenant.role_arn()), "{again}");
    on_board(&tenant);

    customer.types("./setup.sh --only-this-role").expect_ok();
    tenant.revalidate("acme");
    tenant.wait_ready("acme");
    customer.types("./setup.sh --revoke").expect_ok();
    tenant.revalidate("acme");
    tenant.wait_reason("acme", "False", "AssumeRoleDenied");
}

#[test]
fn after_the_stack_in_a_new_account_the_destination_turns_ready() {
    environment_or_skip!();
    let tenant = Tenant::before_set_up("guide-stack", None);
    let customer = Administrator::with_pack(&tenant);
    let guide = std::fs::read_to_string(customer.home.path().join("guide.md")).unwrap();
    let (_, command) = guide.split_once("```sh Deploy the stack\n").unwrap();
    let command = command.split_once("```").unwrap().0;
    // It asks for the External ID.
    customer.types(&format!("answer=$EXTERNAL_ID; {{\n{command}}} <<<\"$answer\"")).expect_ok();
    on_board(&tenant);
    let looked = customer.types("./setup.sh --dry-run").expect_ok().text();
    assert!(looked.lines().all(|line| line.starts_with("ok ")), "{looked}");
}
