//! What people see: the destination, its Events, the sidecar's metrics and log, and `kubectl recordings explain`.

use serde_json::Value;

use super::table::{Row, Shown};
use crate::support::{Done, Tenant, recordings};

pub struct Screens {
    status: Value,
    events: Vec<Value>,
    explain: Done,
    log: String,
}

impl Screens {
    /// What they show now; `None` while there is no destination.
    pub fn of(tenant: &Tenant) -> Option<Self> {
        let destination = tenant.get(&["recordingdestination", "acme"]);
        let events = tenant.get(&["events.events.k8s.io"])?;
        let of_destination =
            |event: &&Value| event["regarding"]["name"] == "acme" && event["type"] == "Warning";
        Some(Screens {
            status: destination.map(|found| found["status"].clone()).unwrap_or_default(),
            events: events["items"].as_array()?.iter().filter(of_destination).cloned().collect(),
            explain: recordings(&["explain", "acme", "--namespace", &tenant.namespace], "", &[]),
            log: tenant.kubectl(&["logs", "recorder", "--container=recording-uploader"]).text(),
        })
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let of_kind = |condition: &&Value| condition["type"] == kind;
        let found = self.status["conditions"].as_array().and_then(|all| all.iter().find(of_kind));
        let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    }

    /// Whether the destination shows what the row says.
    pub fn show(&self, row: &Row) -> bool {
        let (ready, delivering) = (self.condition("Ready"), self.condition("Delivering"));
        let is = |(status, reason): &(String, String), wanted: &str, cause: &str| {
            status == wanted && reason == cause
        };
        match row.shown {
            Shown::NotReady(reason) => is(&ready, "False", reason) && is(&delivering, "False", reason),
            Shown::Unknown(reason) => is(&ready, "Unknown", reason) && delivering.0 != "True",
            Shown::NotDelivering("") => self.status.is_null(),
            Shown::NotDelivering(reason) => ready.0 == "True" && is(&delivering, "False", reason),
            Shown::Delivers => ready.0 == "True" && delivering.0 == "True",
        }
    }

    /// Holds the other screens to it.
    #[track_caller]
    pub fn check(&self, row: &Row) {
        let (explained, what) = (self.explain.text(), row.what);
        if let Shown::Delivers = row.shown {
            assert!(self.explain.ok && explained.starts_with('✓'), "{what}: {explained}");
            return;
        }
        assert!(!self.explain.ok && !explained.starts_with('✓'), "{what}: {explained}");
        if let Shown::NotReady(reason) | Shown::NotDelivering(reason) = row.shown
            && !reason.is_empty()
        {
            let headline = explained.lines().next().unwrap_or_default();
            assert!(headline.contains(reason), "{what}: {explained}");
            let is_told = self.events.iter().any(|event| event["reason"] == reason);
            assert!(is_told || reason == "Suspended", "{what}: no Event {reason} among {:?}", self.events);
        }
        assert!(self.log.contains(row.log), "{what}: no {:?} in the log:\n{}", row.log, self.log);
    }
}

/// Whether `status.lastLosses` has an entry of this kind about recordings of the recorder.
pub fn has_entry(tenant: &Tenant, kind: &str) -> Option<()> {
    let destination = tenant.get(&["recordingdestination", "acme"])?;
    let losses = destination["status"]["lastLosses"].as_array()?;
    losses.iter().any(|loss| loss["kind"] == kind && loss["pod"] == "recorder").then_some(())
}
