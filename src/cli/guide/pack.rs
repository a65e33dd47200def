//! What the customer gets, as text: one set of facts, five renderings.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Value, context};

use super::page;
use crate::api::{BucketTarget, PROBE_DIRECTORY, RecordingDestinationSpec, RoleARN};
use crate::domain::trust::{
    ONLY_THIS_ROLE, PLACEHOLDER, Policy, key_policy, no_trust_policy, object_actions, only_this_role,
    revoke_older_sessions, role_policy, trust_policy,
};

/// A form in which the set-up is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::EnumIter)]
pub(super) enum Format {
    /// Text to read.
    Markdown,
    /// One page that needs nothing else: the text, with buttons to copy, and the files for the tools.
    Html,
    /// A script for bash and the AWS CLI.
    Script,
    /// A CloudFormation template.
    Cloudformation,
    /// A Terraform configuration.
    Terraform,
}

impl Format {
    /// Name of its file in a directory.
    pub(super) fn file(self) -> &'static str {
        match self {
            Format::Markdown => "guide.md",
            Format::Html => "guide.html",
            Format::Script => "setup.sh",
            Format::Cloudformation => "cloudformation.yaml",
            Format::Terraform => "main.tf",
        }
    }

    /// What the customer does with it.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Format::Markdown => "the guide, to read",
            Format::Html => "the same as a page, with the files below in it",
            Format::Script => "sets up, checks and revokes, with the AWS CLI",
            Format::Cloudformation => "sets up as a CloudFormation stack",
            Format::Terraform => "sets up with Terraform",
        }
    }
}

/// Why there is no guide for a destination.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// A value that would have to be quoted in one of the formats.
    #[error(
        "{field}: the guide puts it into scripts and templates, so it may have letters, digits and : / _ + = , . @ - alone"
    )]
    Characters {
        /// The field or flag.
        field: &'static str,
    },
    /// Not the ARN of a role; the API server would have refused it too.
    #[error("spec.roleARN: {0}")]
    RoleARN(#[from] crate::api::InvalidRoleARN),
    /// The principal is none that a role can trust.
    #[error(
        "--platform-principal-arn must be the ARN of an IAM user or role, such as arn:aws:iam::103850359708:user/RingDNA_Web"
    )]
    Principal,
    /// Role and principal are in different partitions.
    #[error(
        "spec.roleARN is in partition {role}, the platform's principal in {principal}: AssumeRole never crosses partitions"
    )]
    Partition {
        /// That of the role.
        role: String,
        /// That of the principal.
        principal: String,
    },
    /// The bucket is in another account than the role.
    #[error(
        "spec.expectedBucketOwner is not the account of spec.roleARN: the guide sets up bucket and role in one account; \
         leave expectedBucketOwner out, or write to the customer what each of the two accounts has to do"
    )]
    TwoAccounts,
}

/// Everything that the texts say.
#[derive(Clone, Debug)]
pub(super) struct Pack {
    target: BucketTarget,
    role: RoleARN,
    role_path: String,
    principal_arn: String,
}

impl Pack {
    /// The facts of a destination and the principal that its role is to trust.
    ///
    /// # Errors
    /// For what one guide cannot say, or not safely: see [`Unfit`].
    pub(super) fn new(spec: &RecordingDestinationSpec, principal_arn: &str) -> Result<Self, Unfit> {
        let role: RoleARN = spec.role_arn.parse()?;
        let target = BucketTarget::from(spec);
        let key = target.encryption.kms_key_arn.as_deref().unwrap_or_default();
        for (field, value) in [
            ("spec.bucket", target.bucket.as_str()),
            ("spec.region", &target.region),
            ("spec.roleARN", &spec.role_arn),
            ("spec.prefix", &target.prefix),
            ("spec.encryption.kmsKeyARN", key),
            ("--platform-principal-arn", principal_arn),
        ] {
            if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b":/_+=,.@-".contains(&b)) {
                return Err(Unfit::Characters { field });
            }
        }
        let principal: Vec<&str> = principal_arn.splitn(6, ':').collect();
        let &["arn", partition, "iam", "", account, resource] = principal.as_slice() else {
            return Err(Unfit::Principal);
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let is_caller =
            ["user/", "role/"].iter().any(|kind| resource.len() > kind.len() && resource.starts_with(kind));
        if !is_account || !is_caller {
            return Err(Unfit::Principal);
        }
        if partition != role.partition {
            return Err(Unfit::Partition { role: role.partition, principal: partition.to_owned() });
        }
        if target.expected_bucket_owner != role.account {
            return Err(Unfit::TwoAccounts);
        }
        let resource = spec.role_arn.splitn(6, ':').nth(5).unwrap_or_default();
        let role_path =
            resource.trim_start_matches("role").strip_suffix(&role.name).unwrap_or("/").to_owned();
        Ok(Pack { target, role, role_path, principal_arn: principal_arn.to_owned() })
    }

    /// The text in one format.
    pub(super) fn render(&self, format: Format) -> String {
        match format {
            Format::Markdown => self.fill("guide.md"),
            Format::Html => {
                let files = [Format::Script, Format::Cloudformation, Format::Terraform]
                    .map(|format| (format.file(), self.render(format)));
                page::render(&self.target.bucket, &self.render(Format::Markdown), &files)
            }
            Format::Script | Format::Cloudformation | Format::Terraform => self.fill(format.file()),
        }
    }

    fn fill(&self, template: &str) -> String {
        let template = TEMPLATES.iter().find(|(name, _)| *name == template).expect("it is one of ours").1;
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        environment.set_syntax(syntax.build().expect("these are its own delimiters"));
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        // Every value is of characters that mean nothing in any of the formats: see `Pack::new`.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment
            .render_str(template, self.facts())
            .expect("the templates are fixed, and tests render each")
    }

    fn facts(&self) -> Value {
        let (target, role) = (&self.target, &self.role);
        let role_arn = role.to_string();
        let trust = trust_policy(&self.principal_arn);
        let permissions = role_policy(target, &role.partition);
        let bucket_policy = only_this_role(target, &role.partition, &role_arn);
        let revoke = revoke_older_sessions("$(date -u +%Y-%m-%dT%H:%M:%SZ)");
        context! {
            account => role.account.as_str(),
            partition => role.partition.as_str(),
            bucket => target.bucket.as_str(),
            region => target.region.as_str(),
            prefix => target.prefix.as_str(),
            kms_key_arn => target.encryption.kms_key_arn.as_deref(),
            role_arn => role_arn.as_str(),
            role_name => role.name.as_str(),
            role_path => self.role_path.as_str(),
            principal_arn => self.principal_arn.as_str(),
            placeholder => PLACEHOLDER,
            probes => format!("{}{PROBE_DIRECTORY}", target.prefix),
            actions => object_actions(target),
            trust => trust.to_string(),
            trust_yaml => yaml(&trust),
            trust_hcl => hcl(&trust),
            permissions => permissions.to_string(),
            permissions_yaml => yaml(&permissions),
            permissions_hcl => hcl(&permissions),
            bucket_policy => bucket_policy.to_string(),
            bucket_policy_yaml => yaml(&bucket_policy),
            bucket_policy_hcl => hcl(&bucket_policy),
            only_this_role_sid => ONLY_THIS_ROLE,
            key_policy => key_policy(target, &role.partition, &role_arn).to_string(),
            no_trust => no_trust_policy().to_string(),
            no_trust_line => line(&no_trust_policy()),
            revoke => revoke_older_sessions("<now>").to_string(),
            revoke_line => line(&revoke).replace('"', "\\\""),
        }
    }
}

const TEMPLATES: &[(&str, &str)] = &[
    ("guide.md", include_str!("templates/guide.md")),
    ("setup.sh", include_str!("templates/setup.sh")),
    ("cloudformation.yaml", include_str!("templates/cloudformation.yaml")),
    ("main.tf", include_str!("templates/main.tf")),
];

/// With its version in quotes: some readers of YAML take it for a date.
fn yaml(policy: &Policy) -> String {
    let text = serde_yaml::to_string(policy).expect("a policy serializes");
    text.trim_end().replace("Version: 2012-10-17", "Version: \"2012-10-17\"")
}

/// JSON is HCL, spaced as its formatter does.
fn hcl(policy: &Policy) -> String {
    policy.to_string().replace("\": ", "\" : ")
}

fn line(policy: &Policy) -> String {
    serde_json::to_string(policy).expect("a policy serializes")
}
