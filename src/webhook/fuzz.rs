//! A review decoded and injected, for a fuzzer.

use super::routes::read;
use crate::domain::injection::{self, Settings};

/// Reads a review and injects its pod. The patch must turn the pod that was sent into the injected one, and a second
/// injection must change nothing.
pub fn review(body: &[u8]) {
    let Ok((_, pod)) = read(body) else { return };
    let settings =
        Settings::usual("recording-operator:1".into(), "https://broker:8443".into(), "a CA".into());
    let Ok(injected) = injection::inject(&pod, &settings) else { return };
    let patch = json_patch::diff(&pod, &injected);
    let mut patched = pod;
    json_patch::patch(&mut patched, &patch).expect("the patch fits its pod");
    assert_eq!(patched, injected);
    assert_eq!(injection::inject(&injected, &settings), Ok(injected));
}
