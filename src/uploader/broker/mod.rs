//! The operator's broker, as the sidecar uses it.
//!
//! | file | holds |
//! |---|---|
//! | `https` | the broker behind its URL, with this pod's token |
//! | `destination` | follows where recordings go, and whether to send them now |
//! | `session` | the credentials in use, and the bucket opened with them |
//! | `report` | tells the broker how the sidecar stands |
//! | `loopback` | hands the session to AWS SDKs in the pod's other containers, where the pod asks for that |

pub mod destination;
pub mod https;
pub mod loopback;
pub mod report;
pub mod session;

use crate::api::{DeliveryReport, DestinationDocument};
use crate::secret::SessionCredentials;

/// The broker's answer.
#[derive(Clone, Debug)]
pub enum BrokerReply<T> {
    Granted(T),
    /// The broker gives this pod nothing now.
    Refused,
    /// AWS gives the broker no session for the destination's role: the code of its answer.
    RoleRefused(&'static str),
    /// No answer, and why.
    Unavailable(String),
}

impl<T> BrokerReply<T> {
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> BrokerReply<U> {
        match self {
            BrokerReply::Granted(value) => BrokerReply::Granted(make(value)),
            BrokerReply::Refused => BrokerReply::Refused,
            BrokerReply::RoleRefused(code) => BrokerReply::RoleRefused(code),
            BrokerReply::Unavailable(why) => BrokerReply::Unavailable(why),
        }
    }
}

pub trait Broker {
    /// Where recordings go, and whether to send them now.
    fn destination(&self) -> impl Future<Output = BrokerReply<DestinationDocument>>;
    /// A session for that destination. `refused`: the access key ID of the one that AWS did not take.
    fn credentials(&self, refused: Option<&str>) -> impl Future<Output = BrokerReply<SessionCredentials>>;
    /// How this sidecar stands.
    fn report(&self, report: &DeliveryReport) -> impl Future<Output = BrokerReply<()>>;
}
