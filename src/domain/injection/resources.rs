//! Requests and limits of the sidecar: the chart's, or within its bounds those that the pod's annotations name.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use super::quantity::Amount;
use super::refusal::Refusal;
use crate::api::{
    SIDECAR_CPU_LIMIT_ANNOTATION, SIDECAR_CPU_REQUEST_ANNOTATION, SIDECAR_EPHEMERAL_STORAGE_LIMIT_ANNOTATION,
    SIDECAR_EPHEMERAL_STORAGE_REQUEST_ANNOTATION, SIDECAR_MEMORY_LIMIT_ANNOTATION,
    SIDECAR_MEMORY_REQUEST_ANNOTATION,
};

/// Amounts by resource: `cpu`, `memory`, `ephemeral-storage`.
type Amounts = BTreeMap<String, String>;

/// Resource, and the annotations that name its request and its limit.
const RESOURCES: [(&str, &str, &str); 3] = [
    ("cpu", SIDECAR_CPU_REQUEST_ANNOTATION, SIDECAR_CPU_LIMIT_ANNOTATION),
    ("memory", SIDECAR_MEMORY_REQUEST_ANNOTATION, SIDECAR_MEMORY_LIMIT_ANNOTATION),
    (
        EPHEMERAL_STORAGE,
        SIDECAR_EPHEMERAL_STORAGE_REQUEST_ANNOTATION,
        SIDECAR_EPHEMERAL_STORAGE_LIMIT_ANNOTATION,
    ),
];
pub(super) const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// Requests and limits of a sidecar whose pod names none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    pub requests: Amounts,
    pub limits: Amounts,
}

/// What a pod's annotations may name. A resource that is in neither has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceBounds {
    /// Least limits.
    pub min: Amounts,
    /// Most of a request and of a limit.
    pub max: Amounts,
}

/// The settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidResources {
    #[error("{0}; write JSON such as {{\"cpu\": \"500m\", \"memory\": \"256Mi\"}} within each part")]
    NotJSON(String),
    #[error(
        "{resource} is {amount:?}: it must be one of cpu, memory and ephemeral-storage, with an amount such as 500m or 256Mi"
    )]
    NoAmount { resource: String, amount: String },
}

impl Resources {
    /// Reads `{"requests": {…}, "limits": {…}}`.
    pub fn from_json(text: &str) -> Result<Self, InvalidResources> {
        let read: Resources = from_json(text)?;
        check([&read.requests, &read.limits])?;
        Ok(read)
    }

    /// The chart's defaults.
    pub fn usual() -> Self {
        Resources {
            requests: amounts(&[("cpu", "10m"), ("memory", "32Mi")]),
            limits: amounts(&[("memory", "256Mi")]),
        }
    }
}

impl ResourceBounds {
    /// Reads `{"min": {…}, "max": {…}}`.
    pub fn from_json(text: &str) -> Result<Self, InvalidResources> {
        let read: ResourceBounds = from_json(text)?;
        check([&read.min, &read.max])?;
        Ok(read)
    }

    /// The chart's defaults.
    pub fn usual() -> Self {
        ResourceBounds {
            min: amounts(&[("cpu", "50m"), ("memory", "64Mi"), (EPHEMERAL_STORAGE, "16Mi")]),
            max: amounts(&[("cpu", "4"), ("memory", "2Gi"), (EPHEMERAL_STORAGE, "4Gi")]),
        }
    }

    fn min(&self, resource: &str) -> Option<(&str, Amount)> {
        known(self.min.get(resource)?)
    }

    fn max(&self, resource: &str) -> Option<(&str, Amount)> {
        known(self.max.get(resource)?)
    }

    /// What others chose for our container, brought within the bounds.
    fn clamped<'a>(&'a self, resource: &str, theirs: &'a str, is_limit: bool) -> &'a str {
        let Some(amount) = Amount::parse(theirs) else { return theirs };
        let below = self.min(resource).filter(|(_, min)| is_limit && amount < *min);
        let above = self.max(resource).filter(|(_, max)| amount > *max);
        below.or(above).map_or(theirs, |(bound, _)| bound)
    }
}

/// What the pod's annotations name, each an amount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AskedResources(BTreeMap<&'static str, String>);

impl AskedResources {
    /// Reads the annotations.
    pub fn of(annotation: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let mut asked = BTreeMap::new();
        for (resource, request, limit) in RESOURCES {
            for name in [request, limit] {
                let Some(value) = annotation(name) else { continue };
                if Amount::parse(&value).is_none() {
                    return Err(Refusal::MalformedAmount { annotation: name, value, resource });
                }
                asked.insert(name, value);
            }
        }
        Ok(AskedResources(asked))
    }

    fn get(&self, annotation: &str) -> Option<(&str, Amount)> {
        known(self.0.get(annotation)?)
    }
}

/// The sidecar's requests and limits. `before` are those of a sidecar that the pod already has: what a LimitRange or an
/// autoscaler added there for a resource of which nothing else is said stays, within the bounds.
pub(super) fn requirements(
    usual: &Resources,
    bounds: &ResourceBounds,
    asked: &AskedResources,
    before: Option<&ResourceRequirements>,
) -> Result<ResourceRequirements, Refusal> {
    let theirs = before.cloned().unwrap_or_default();
    let (mut requests, mut limits) = (theirs.requests.unwrap_or_default(), theirs.limits.unwrap_or_default());
    for (resource, request_annotation, limit_annotation) in RESOURCES {
        let within = |annotation: &'static str, is_limit: bool| {
            let Some((value, amount)) = asked.get(annotation) else { return Ok(None) };
            let (bound, side) = match (bounds.min(resource), bounds.max(resource)) {
                (Some((min, least)), _) if is_limit && amount < least => {
                    (format!("no less than {min}"), "min")
                }
                (_, Some((max, most))) if amount > most => (format!("at most {max}"), "max"),
                _ => return Ok(Some(value)),
            };
            Err(Refusal::AmountOutOfBounds { annotation, value: value.to_owned(), bound, side, resource })
        };
        let choose = |asked: Option<&str>, usual: &Amounts, theirs: &BTreeMap<String, Quantity>, is_limit| {
            let others = || theirs.get(resource).map(|Quantity(it)| bounds.clamped(resource, it, is_limit));
            asked.or(usual.get(resource).map(String::as_str)).or_else(others).map(str::to_owned)
        };
        let (asked_request, asked_limit) =
            (within(request_annotation, false)?, within(limit_annotation, true)?);
        let limit = choose(asked_limit, &usual.limits, &limits, true);
        let mut request = choose(asked_request, &usual.requests, &requests, false);
        if let (Some(more), Some(most)) = (&request, &limit)
            && Amount::parse(more) > Amount::parse(most)
        {
            if asked_request.is_some() {
                let (request, limit) = (more.clone(), most.clone());
                return Err(Refusal::RequestAboveLimit {
                    annotation: request_annotation,
                    request,
                    limit,
                    limit_annotation,
                });
            }
            request = limit.clone();
        }
        set(&mut requests, resource, request);
        set(&mut limits, resource, limit);
    }
    Ok(ResourceRequirements { requests: some(requests), limits: some(limits), claims: None })
}

/// Sets an amount. The same amount in other units stays as it is written, as the API server has its own way to write it.
fn set(amounts: &mut BTreeMap<String, Quantity>, resource: &str, amount: Option<String>) {
    let Some(amount) = amount else { return };
    let before = amounts.get(resource).and_then(|Quantity(before)| Amount::parse(before));
    if before.is_none() || before != Amount::parse(&amount) {
        amounts.insert(resource.to_owned(), Quantity(amount));
    }
}

fn some<T>(amounts: BTreeMap<String, T>) -> Option<BTreeMap<String, T>> {
    (!amounts.is_empty()).then_some(amounts)
}

fn known(text: &str) -> Option<(&str, Amount)> {
    Some((text, Amount::parse(text)?))
}

fn amounts(of: &[(&str, &str)]) -> Amounts {
    of.iter().map(|(resource, amount)| (resource.to_string(), amount.to_string())).collect()
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, InvalidResources> {
    serde_json::from_str(text).map_err(|error| InvalidResources::NotJSON(error.to_string()))
}

fn check(parts: [&Amounts; 2]) -> Result<(), InvalidResources> {
    let mut all = parts.into_iter().flatten();
    let is_wrong = |(resource, amount): &(&String, &String)| {
        RESOURCES.iter().all(|(known, ..)| known != resource) || Amount::parse(amount).is_none()
    };
    match all.find(is_wrong) {
        Some((resource, amount)) => {
            Err(InvalidResources::NoAmount { resource: resource.clone(), amount: amount.clone() })
        }
        None => Ok(()),
    }
}
