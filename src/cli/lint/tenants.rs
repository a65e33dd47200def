//! Consistency of destinations with their Secrets, Namespaces and each other.

use jiff::Timestamp;

use super::findings::{Document, Findings};
use super::secrets;
use crate::api::{ALLOWED_ACCOUNTS_ANNOTATION, RecordingDestination, RecordingDestinationStatus, RoleARN};
use crate::domain::ownership::{AccountBinding, Binding, Claim, ClaimIndex};
use crate::secret::{ExternalID, Fingerprint, Fingerprints};

/// A destination that the API server would take, and what it would claim.
struct Tenant<'a> {
    document: &'a Document<'a>,
    claim: Claim,
}

/// Checks destinations, and returns for each the External ID that the files have for it.
pub(super) fn check(
    destinations: &[(&Document, RecordingDestination)],
    documents: &[Document],
    findings: &mut Findings,
) -> Vec<Option<ExternalID>> {
    for namespace in documents.iter().filter(|document| document.kind() == "Namespace") {
        accounts(namespace, findings);
    }
    let fingerprints = Fingerprints::default();
    let mut earlier: Vec<Tenant> = Vec::new();
    let mut ids = Vec::new();
    for (document, destination) in destinations {
        alone(document, destination, findings);
        let id = secrets::external_id(document, destination, documents, findings);
        let fingerprint = id.as_ref().map(|id| fingerprints.of(id));
        let tenant = Tenant { document, claim: claim(earlier.len(), destination, fingerprint) };
        binding(&tenant, documents, findings);
        same_external_id(&tenant, &earlier, findings);
        overlap(&tenant, &earlier, findings);
        earlier.push(tenant);
        ids.push(id);
    }
    secrets::unnamed(destinations, documents, findings);
    ids
}

/// What it would claim once it was proved.
fn claim(index: usize, destination: &RecordingDestination, external_id: Option<Fingerprint>) -> Claim {
    let claim = Claim::of(destination, &RecordingDestinationStatus::default(), external_id);
    Claim { uid: index.to_string().into(), proved: Some(Timestamp::UNIX_EPOCH), writable: true, ..claim }
}

/// Checks one destination by itself.
fn alone(document: &Document, destination: &RecordingDestination, findings: &mut Findings) {
    let spec = &destination.spec;
    let Ok(role) = spec.role_arn.parse::<RoleARN>() else { return };
    if spec.bucket_owner() != role.account {
        let message = format!(
            "it is not the role's account {}: unless the bucket is in another account, and its policy lets the role in, \
             remove the field",
            role.account
        );
        findings.warning(
            document,
            document.line(&["spec", "expectedBucketOwner"]),
            "spec.expectedBucketOwner",
            message,
        );
    }
    let key_region = spec.encryption.kms_key_arn.as_deref().and_then(|arn| arn.split(':').nth(3));
    if let Some(region) = key_region.filter(|region| *region != spec.region) {
        let message = format!(
            "the key is in {region}, the bucket in {}: name a key of the bucket's Region",
            spec.region
        );
        findings.error(
            document,
            document.line(&["spec", "encryption", "kmsKeyARN"]),
            "spec.encryption.kmsKeyARN",
            message,
        );
    }
}

/// Whether the Namespace lets the destination use its account.
fn binding(tenant: &Tenant, documents: &[Document], findings: &mut Findings) {
    let document = tenant.document;
    let is_own =
        |other: &&Document| other.kind() == "Namespace" && Some(other.name()) == document.namespace();
    let Some(namespace) = documents.iter().find(is_own) else { return };
    let annotation = namespace.node.text(&["metadata", "annotations", ALLOWED_ACCOUNTS_ANNOTATION]);
    let mut alone = ClaimIndex::new(AccountBinding::WhenPresent);
    alone.bind(&tenant.claim.namespace, Binding::read(annotation));
    if let Err(objection) = alone.standing(&tenant.claim, |_| true) {
        let message = format!(
            "{} by {}:{}: name a role and a bucket of an account that is, or add this one there",
            objection.message,
            namespace.file,
            namespace.line(&["metadata", "annotations", ALLOWED_ACCOUNTS_ANNOTATION])
        );
        let is_bound = matches!(Binding::read(annotation), Binding::Accounts(accounts) if accounts.iter().any(|account| {
            tenant.claim.role_arn.split(':').nth(4) == Some(account)
        }));
        let field = if is_bound { "expectedBucketOwner" } else { "roleARN" };
        findings.error(document, document.line(&["spec", field]), &format!("spec.{field}"), message);
    }
}

/// Whether a Namespace's annotation names accounts.
fn accounts(namespace: &Document, findings: &mut Findings) {
    let path = ["metadata", "annotations", ALLOWED_ACCOUNTS_ANNOTATION];
    let Binding::Accounts(entries) = Binding::read(namespace.node.text(&path)) else { return };
    let is_account = |entry: &String| entry.len() == 12 && entry.bytes().all(|b| b.is_ascii_digit());
    if entries.is_empty() || !entries.iter().all(is_account) {
        let message = "it must be 12-digit AWS account IDs, separated by commas, in quotes: what is none matches no role";
        let field = format!("metadata.annotations.{ALLOWED_ACCOUNTS_ANNOTATION}");
        findings.error(namespace, namespace.line(&path), &field, message.to_owned());
    }
}

/// Whether another destination has its External ID. The first such is reported.
fn same_external_id(tenant: &Tenant, earlier: &[Tenant], findings: &mut Findings) {
    let alone = |claim: &Claim| Claim { writable: false, ..claim.clone() };
    let mine = alone(&tenant.claim);
    let is_same = |other: &&Tenant| mine.external_id.is_some() && other.claim.external_id == mine.external_id;
    let line = tenant.document.line(&["spec", "externalIDSecretRef"]);
    let field = "spec.externalIDSecretRef";
    if let Some(other) = earlier.iter().find(|other| mine.is_contested_by(&alone(&other.claim))) {
        let message = format!(
            "its External ID is also that of {}, and one of them would be DestinationConflict: each customer needs an \
             External ID of its own",
            other.whose()
        );
        findings.error(tenant.document, line, field, message);
    } else if let Some(other) =
        earlier.iter().filter(is_same).find(|other| other.claim.namespace != mine.namespace)
    {
        let message = format!(
            "its External ID is also that of {}, in another namespace: give each tenant one of its own, or whoever has \
             the one has the other",
            other.whose()
        );
        findings.warning(tenant.document, line, field, message);
    }
}

/// Whether another's keys could be its own.
fn overlap(tenant: &Tenant, earlier: &[Tenant], findings: &mut Findings) {
    let alone = |claim: &Claim| Claim { external_id: None, ..claim.clone() };
    let mine = alone(&tenant.claim);
    let Some(other) = earlier.iter().find(|other| mine.is_contested_by(&alone(&other.claim))) else { return };
    let keys = |claim: &Claim| match claim.prefix.as_str() {
        "" => "the whole bucket".to_owned(),
        prefix => format!("prefix {prefix}"),
    };
    let message = format!(
        "{} overlaps with {} of {} in bucket {}, and one of them would be DestinationConflict: give them prefixes of \
         which none begins with the other",
        keys(&mine),
        keys(&other.claim),
        other.whose(),
        mine.bucket
    );
    let field = if mine.prefix.is_empty() { "bucket" } else { "prefix" };
    findings.error(
        tenant.document,
        tenant.document.line(&["spec", field]),
        &format!("spec.{field}"),
        message,
    );
}

impl Tenant<'_> {
    /// Its name and place, for another's message.
    fn whose(&self) -> String {
        format!("{} of {}:{}", self.document.name(), self.document.file, self.document.node.line)
    }
}
