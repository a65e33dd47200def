//! A namespace's AWS accounts.

use crate::api::{ALLOWED_ACCOUNTS_ANNOTATION, Objection, Reason};

/// Whether namespaces must be bound to AWS accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::Display)]
#[strum(serialize_all = "camelCase")]
pub enum AccountBinding {
    /// A namespace without the annotation may use any account.
    #[default]
    WhenPresent,
    /// A namespace without the annotation may use none.
    Required,
}

/// The AWS accounts that a namespace may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// The namespace has no annotation.
    #[default]
    Absent,
    /// Only these. Entries are kept as written; one that is no account matches none.
    Accounts(Vec<String>),
}

impl Binding {
    /// Reads the value of the Namespace's annotation. An empty one binds to no account at all.
    pub fn read(annotation: Option<&str>) -> Self {
        let Some(value) = annotation else { return Binding::Absent };
        let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Binding::Accounts(entries.map(str::to_owned).collect())
    }

    /// Why a role and a bucket of those accounts may not be used from that namespace.
    pub(super) fn objection(
        &self,
        namespace: &str,
        accounts: &[String],
        rule: AccountBinding,
    ) -> Option<Objection> {
        let refused = |message: String| {
            Some(Objection {
                reason: Reason::AccountNotAllowed,
                message,
                remedy: format!(
                    "Whoever administers the platform binds the namespace:\n\
                     kubectl annotate namespace {namespace} --overwrite {ALLOWED_ACCOUNTS_ANNOTATION}={}",
                    accounts.join(",")
                ),
            })
        };
        match self {
            Binding::Absent if rule == AccountBinding::WhenPresent => None,
            Binding::Absent => refused(format!("namespace {namespace} is not bound to any AWS account")),
            Binding::Accounts(allowed) => {
                let stranger = accounts.iter().find(|account| !allowed.contains(account))?;
                refused(format!("namespace {namespace} is not bound to AWS account {stranger}"))
            }
        }
    }
}
