//! The termination message: what an uploader leaves behind when its pod ends.

use super::report::outlives_pod;
use crate::api::{agreeing, counted};

/// Longest termination message, in bytes, that the kubelet keeps.
const LONGEST_MESSAGE: usize = 4096;

/// What is still in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Recordings not yet uploaded and verified.
    pub pending: usize,
    /// Their size.
    pub pending_bytes: u64,
    /// Names of some of them.
    pub examples: Vec<String>,
    /// Why they are still here, as far as that is known.
    pub cause: Option<String>,
    /// Recordings uploaded and verified that could not be unlinked.
    pub not_unlinked: usize,
    /// Files under names of recordings in progress.
    pub in_progress: usize,
    /// A directory of the spool that could not be read in the end.
    pub unread: Option<String>,
    /// Files moved to quarantine by this process.
    pub quarantined: u64,
    /// Uploads in parts that S3 may still hold, as it did not say that they ended.
    pub left_open: u64,
    /// Kind of the spool's volume, and of a claim its name, as far as that is known.
    pub volume: Option<String>,
}

/// The message, empty when nothing is left.
pub fn termination_message(left: &Leftover) -> String {
    let mut sentences = Vec::new();
    if left.pending > 0 {
        let cause = left.cause.as_deref().map(|cause| format!(" ({cause})")).unwrap_or_default();
        let fate = match left.volume.as_deref() {
            None => "they last as long as the spool volume does".to_owned(),
            Some(volume) if outlives_pod(volume) => {
                format!("they stay in the volume ({volume}), and the next uploader of that volume sends them")
            }
            Some(volume) => format!("they are in the pod's {volume} volume, which is deleted with the pod"),
        };
        sentences.push(format!(
            "{} ({}) {} not uploaded{cause}: {fate}",
            counted(left.pending, "recording"),
            counted(left.pending_bytes, "byte"),
            agreeing(left.pending, "is", "are")
        ));
    }
    if let Some(directory) = &left.unread {
        sentences.push(format!(
            "the directory \"{directory}\" of the spool could not be read: what is in it was not uploaded, nor counted here"
        ));
    }
    if left.in_progress > 0 {
        sentences.push(format!(
            "{} with a name of a recording in progress (.part, .tmp or a leading dot) {} not uploaded",
            counted(left.in_progress, "file"),
            agreeing(left.in_progress, "was", "were")
        ));
    }
    if left.quarantined > 0 {
        sentences.push(format!(
            "{} {} moved to {}/quarantine in the spool; the log says why",
            counted(left.quarantined, "file"),
            agreeing(left.quarantined, "was", "were"),
            super::STATE_DIRECTORY
        ));
    }
    if left.not_unlinked > 0 {
        sentences.push(format!(
            "{} {} uploaded and verified but could not be unlinked (SpoolNotWritable)",
            counted(left.not_unlinked, "recording"),
            agreeing(left.not_unlinked, "is", "are")
        ));
    }
    if left.left_open > 0 {
        sentences.push(format!(
            "{} may be left in the bucket; a lifecycle rule with AbortIncompleteMultipartUpload removes what is left",
            counted(left.left_open, "unfinished multipart upload")
        ));
    }
    if !left.examples.is_empty() {
        sentences.push(format!("not uploaded are, among others: {}", left.examples.join(", ")));
    }
    let mut message = sentences.join(". ");
    message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
    message
}

/// The message of an uploader that was shut down while it waited for its spool, for this reason.
pub fn termination_message_without_spool(reason: &str) -> String {
    format!(
        "this uploader ended while it waited for the spool ({reason}): what is in it, it neither uploaded nor counted, and \
         that lasts as long as the spool volume does"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_spool_leaves_no_message() {
        assert_eq!(termination_message(&Leftover::default()), "");
    }

    #[test]
    fn the_message_says_what_is_left_and_why() {
        let left = Leftover {
            pending: 2,
            pending_bytes: 300,
            unread: Some("2026".into()),
            examples: vec!["a.wav".into(), "b.wav".into()],
            cause: Some("the destination is Paused: Suspended".into()),
            quarantined: 1,
            ..Leftover::default()
        };
        assert_eq!(
            termination_message(&left),
            "2 recordings (300 bytes) are not uploaded (the destination is Paused: Suspended): they last as long as \
             the spool volume does. the directory \"2026\" of the spool could not be read: what is in it was not \
             uploaded, nor counted here. 1 file was moved to .recording-uploader/quarantine in the spool; the log says \
             why. not uploaded are, among others: a.wav, b.wav"
        );
    }

    #[test]
    fn the_message_says_what_becomes_of_the_recordings_with_the_volume() {
        for (volume, says) in [
            (
                Some("persistentVolumeClaim/calls"),
                "stay in the volume (persistentVolumeClaim/calls), and the next",
            ),
            (Some("hostPath"), "stay in the volume (hostPath)"),
            (Some("nfs"), "stay in the volume (nfs)"),
            (Some("emptyDir"), "are in the pod's emptyDir volume, which is deleted with the pod"),
            (Some("ephemeral"), "are in the pod's ephemeral volume, which is deleted with the pod"),
            (None, "last as long as the spool volume does"),
        ] {
            let left = Leftover { pending: 1, volume: volume.map(str::to_owned), ..Leftover::default() };
            let message = termination_message(&left);
            assert!(message.contains(&format!(": they {says}")), "{volume:?}: {message}");
        }
    }

    #[test]
    fn who_never_had_the_spool_says_why() {
        assert_eq!(
            termination_message_without_spool("SpoolInUse"),
            "this uploader ended while it waited for the spool (SpoolInUse): what is in it, it neither uploaded nor \
             counted, and that lasts as long as the spool volume does"
        );
    }

    #[test]
    fn the_message_fits_into_what_the_kubelet_keeps() {
        let left = Leftover { examples: vec!["ü".repeat(9000)], ..Leftover::default() };
        assert!((4000..=LONGEST_MESSAGE).contains(&termination_message(&left).len()));
    }
}
