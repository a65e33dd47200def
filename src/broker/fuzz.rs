//! What a stranger can send to the broker, for a fuzzer.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use super::responses::HeldTags;
use super::routes::{LONGEST_WAIT, wait};
use super::token;
use crate::api::{DeliveryReport, RecordingDestinationStatus};
use crate::domain::delivery::{self, News, PodReport};
use crate::domain::grant;

/// Reads a request: header lines, an empty line, and a report.
pub fn request(bytes: &[u8]) {
    let (head, body) = match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &[][..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
            _ = headers.try_append(name, value);
        }
    }
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
    if let Ok(token) = token::bearer(&headers) {
        _ = grant::may_pass(token.expose_secret(), now);
    }
    assert!(wait(&headers) <= LONGEST_WAIT);
    HeldTags::of(&headers).has("\"tag\"");
    let Ok(report) = serde_json::from_slice::<DeliveryReport>(body) else { return };
    let (pod, uid, spool) = ("recorder".to_owned(), "1".to_owned(), "emptyDir".to_owned());
    let news = [News::Report(PodReport { pod, uid, spool, report, at: now })];
    let mut status = RecordingDestinationStatus::default();
    let Some(entry) = delivery::apply_news(&status, &news) else { return };
    (status.uploaders, status.last_upload_time) = (entry.uploaders, entry.last_upload_time);
    status.last_losses = entry.last_losses;
    assert!(serde_json::to_string(&status).expect("a status serializes").len() < 4096);
    assert_eq!(delivery::apply_news(&status, &news), None, "the same report again changes nothing");
    if let Some(uploaders) = &status.uploaders {
        delivery::call_silent(uploaders, now + SignedDuration::from_hours(1))
            .expect("it is silent in the end");
    }
}
