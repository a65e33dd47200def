//! `check`: the operator's own proof of a destination, made from here, before any cluster knows of it.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::Serialize;

use super::explanation::Explanation;
use super::files::Filenames;
use super::lint::{Findings, Manifests};
use super::output::{CommandOutcome, Failure, Report, note};
use crate::api::RecordingDestination;
use crate::aws::{DefaultCredentials, Examiner, NoDefaultCredentials, Sts};
use crate::domain::trust::Writes;
use crate::domain::verdict::{
    Due, Enforcement, Evidence, Platform, Rules, SecretObservation, due, judge, probe_due,
};
use crate::secret::ExternalID;

/// What to check.
///
/// Asks AWS as the platform's principal: it assumes each role with the External ID of the Secret in the files, tries
/// wrong callers, and puts, reads and deletes two small objects below PREFIX.recording-operator/.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Filenames,
    /// The principal that customers' roles trust, by ARN: the chart's platform.principalARN. The AWS credentials of this
    /// shell must be its.
    #[arg(long, value_name = "ARN")]
    platform_principal_arn: String,
    /// ARN of a role of the platform that accepts any External ID, as the operator is told of it.
    #[arg(long)]
    control_role_arn: Option<String>,
    /// Region whose STS endpoint is used.
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    aws_region: String,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Checked {
    /// The manifests have errors, so AWS was not called.
    Unfit(Findings),
    Asked(Vec<Explanation>),
}

/// Calls to STS in a second; one destination needs ten.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();

pub(super) async fn run(arguments: &Arguments) -> Result<Checked, Failure> {
    let sources = arguments.files.read()?;
    let Manifests { findings, destinations } = Manifests::read(&sources);
    if findings.outcome() != CommandOutcome::Well {
        return Ok(Checked::Unfit(findings));
    }
    if destinations.is_empty() {
        return Err(Failure::Undone("there is no RecordingDestination in the files".to_owned()));
    }
    if let Some((destination, _)) = destinations.iter().find(|(_, id)| id.is_none()) {
        return Err(Failure::Undone(format!(
            "the External ID of {} is not in the files: add the Secret {}, as kubectl recordings lint says",
            destination.metadata.name.as_deref().unwrap_or_default(),
            destination.spec.external_id_secret_ref.name
        )));
    }
    let examiner = examiner(arguments).await?;
    let mut all = Vec::new();
    for (destination, id) in destinations.into_iter().filter_map(|(destination, id)| Some((destination, id?)))
    {
        note(&format!("asking AWS about {}", destination.metadata.name.as_deref().unwrap_or_default()));
        all.push(check(&examiner, destination, id).await);
    }
    note("claims of other destinations are not looked at: the operator alone knows them");
    Ok(Checked::Asked(all))
}

/// The examiner, if the shell's credentials are the platform's: refusals of another principal prove nothing.
async fn examiner(arguments: &Arguments) -> Result<Examiner, Failure> {
    let undone = |error: NoDefaultCredentials| Failure::Undone(error.to_string());
    let found = DefaultCredentials::load(&arguments.aws_region).await.map_err(undone)?;
    let key = found.key().await.map_err(undone)?;
    let sts = Sts::new(&found.connection_to_sts(), &arguments.aws_region, key, CALLS_PER_SECOND);
    let principal = arguments.platform_principal_arn.clone();
    let connection = found.connection().clone();
    // The probe never replaces an object, so it needs no rule against that.
    let control = arguments.control_role_arn.clone();
    let examiner = Examiner::new(connection, sts, principal.clone(), control, Writes::Any);
    let why = match examiner.check_platform_key().await {
        Platform::AsConfigured => return Ok(examiner),
        Platform::AnotherPrincipal(arn) => format!(
            "the AWS credentials of this shell are those of {arn}, customers' roles trust {principal}: use its \
             credentials, or name yours with --platform-principal-arn if roles trust that"
        ),
        Platform::Refused | Platform::RefusedEverywhere => {
            format!(
                "AWS does not accept the AWS credentials of this shell: use an active access key of {principal}"
            )
        }
        Platform::Unreadable | Platform::NotKnown => {
            "AWS did not say whose the AWS credentials of this shell are: see whether STS can be reached"
                .to_owned()
        }
    };
    Err(Failure::Unanswered(format!("inconclusive: {why}; nothing was asked of any role")))
}

/// Validates like the controller on a new destination.
async fn check(examiner: &Examiner, mut destination: RecordingDestination, id: ExternalID) -> Explanation {
    (destination.metadata.generation, destination.status) = (Some(1), None);
    let rules = Rules { partition: examiner.partition().to_owned(), ..Rules::default() };
    let evidence = match due(&destination, None, &rules, &Ok(()), Timestamp::now()) {
        Due::ReportSuspended => Evidence::Suspended,
        Due::ReportInvalid(problem) => Evidence::InvalidSpec(problem),
        _ => {
            let secret = SecretObservation::Resolved { version: String::new(), known: false };
            let probe_due = |enforcement: &Enforcement| {
                probe_due(&destination, &secret, enforcement, None, &rules, Timestamp::now())
            };
            let role = examiner.try_role(&destination, &id, Some(probe_due)).await;
            Evidence::Validated { secret, role: Some(Box::new(role)) }
        }
    };
    let now = Timestamp::now();
    let texts = examiner.texts(&destination);
    let verdict = judge(&destination, &evidence, &texts, None, &rules, |_| Ok(()), now);
    destination.status = Some(verdict.status);
    Explanation::of_one_validation(&destination, now)
}

impl Report for Checked {
    fn text(&self) -> String {
        match self {
            Checked::Unfit(findings) => findings.text(),
            Checked::Asked(all) => all.iter().map(Report::text).collect::<Vec<_>>().join("\n"),
        }
    }

    /// The worst of all.
    fn outcome(&self) -> CommandOutcome {
        match self {
            Checked::Unfit(findings) => findings.outcome(),
            Checked::Asked(all) => all.iter().map(Report::outcome).max().unwrap_or(CommandOutcome::Unclear),
        }
    }
}
