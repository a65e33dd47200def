//! What to do with a recording. At every instant it is exactly one of *spooled*, *uploaded and
//! verified*, *quarantined and reported*; nothing here ever gives one up.
//!
//! - [`classify`], [`object_key`]: which files are recordings, their keys, and which media file a companion follows
//! - [`completeness`], [`quiet`], [`quarantine_wait`], [`awaits_media`]: whether a file has been written to its end
//! - [`after_put`], [`after_head`], [`after_read_back`]: what S3's answer means
//! - [`after_failed_read`]: what a file that cannot be read is
//! - [`remedy_to_write`], [`remedy_to_read`], [`remedy_to_watch`]: what helps where the spool cannot be used
//! - [`Standing`], [`Spacing`]: in which turn recordings are tried, and how fast
//! - [`RequestLimit`]: how many requests may be in flight
//! - [`backoff`], [`pause_after_refusals`], [`session_life`], [`renewal`]: how long to wait, and when a session is renewed
//! - [`termination_message`], [`Summary`]: what an uploader says at its end, in a pod and with `--once`
//! - [`refusal_reason`], [`refusal_of_most`]: what a refusal is called until a validation has found its cause, and which of
//!   several is reported
//! - [`FailureLog`]: when a failure that lasts is logged
//! - [`report_is_due`], [`reported_outage`], [`apply_news`]: what uploaders report of themselves, and what the status keeps of it
//! - [`LastReports`], [`call_silent`]: pods that are not heard of any more
//! - [`Sizes`], [`Journal`], [`after_part`], [`after_complete`]: recordings that go in parts

mod answers;
mod backoff;
mod completeness;
mod failure_log;
mod losses;
mod names;
mod notes;
mod parts;
mod poison;
mod refusal;
mod remedy;
mod report;
mod request_limit;
mod silence;
mod spacing;
mod summary;
mod termination_message;
mod update;

pub use answers::{Next, PUT_AGAIN_AFTER, after_head, after_head_or_afresh, after_put, after_read_back};
pub use backoff::{backoff, backoff_at_the_end, pause_after_refusals, renewal, session_life};
pub use completeness::{
    Completeness, Lease, Sighting, awaits_media, completeness, lease, quarantine_wait, quiet,
};
pub use failure_log::{FailureLog, LogLine};
pub use names::{
    Name, STATE_DIRECTORY, alternate, classify, companion_of, companion_of_part, is_companion_of, object_key,
};
pub use parts::{Dropped, Journal, Sizes, after_abort, after_complete, after_create, after_part, settings};
pub use poison::{Poison, Unread, after_failed_read};
pub use refusal::{refusal_of_most, refusal_reason};
pub use remedy::{remedy_to_read, remedy_to_watch, remedy_to_write};
pub use report::{PodReport, SentReport, outlives_pod, report_is_due, reported_outage, trouble};
pub use request_limit::{MOST_REQUESTS, Reply, RequestLimit};
pub use silence::{LastReports, SilentPod, Steps, call_silent, call_silent_at};
pub use spacing::{Spacing, Standing};
pub use summary::Summary;
pub use termination_message::{Leftover, termination_message, termination_message_without_spool};
pub use update::{News, StatusUpdate, apply_news};
