//! Whether a file has been written to its end. Only a rename is a guarantee.

use std::time::{Duration, SystemTime};

/// Quiet time after a file was closed by its writer, who may open it again.
const QUIET_AFTER_CLOSE: Duration = Duration::from_secs(1);
/// The same where the kernel does not see the writer: longer than most writers hold data back.
const QUIET_AFTER_CLOSE_REMOTE: Duration = Duration::from_secs(60);
/// Quiet time of a file that was found, when no process has it open for writing.
const QUIET_WHEN_FOUND: Duration = Duration::from_secs(5);
/// Quiet time of a file that was found, where the kernel does not know whether it is open for writing.
const QUIET_WITHOUT_LEASE: Duration = Duration::from_secs(600);

/// Quiet time of a file that was renamed into place while a writer has it open, who may not be done, as with log
/// rotation; or who may have forgotten to close it.
const QUIET_AFTER_RENAME: Duration = Duration::from_secs(60);
/// Time between two looks at such a file: its close is no stronger evidence than its rename.
const UNTIL_CLOSED: Duration = Duration::from_secs(1);
/// Time between two looks at a file that cannot be read: a change of its rights is told by no event.
const UNTIL_READABLE: Duration = Duration::from_secs(5);
/// Quiet time of a media file in progress after which its companion goes without it: its recorder has crashed.
const QUIET_IN_PROGRESS: Duration = Duration::from_secs(600);

/// Longer than a recording is written to.
const LONGEST_CALL: Duration = Duration::from_secs(12 * 3600);

/// How a file came to be known. Later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sighting {
    /// A walk found it: at start, or after inotify lost events.
    Found,
    /// Its writer closed it.
    Closed,
    /// It was renamed into place.
    Renamed,
}

/// Whether the kernel grants a read lease, which it refuses while a writer has the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has it open for writing.
    Granted,
    /// Somebody has.
    Refused,
    /// The file system, or the file's owner, does not allow leases.
    Unavailable,
    /// The file is on a network volume, whose server does not report writers.
    Remote,
    /// The same, and its time may stand still until its writer closes it.
    RemoteWithLazyTime,
}

/// File systems whose writers are all on this node, as statfs(2) names them: ext2 to 4, XFS, Btrfs, tmpfs, ramfs,
/// overlayfs, F2FS, ZFS, bcachefs.
const LOCAL: [u64; 9] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0x8584_58F6,
    0x794C_7630,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
];
/// NFS and Ceph, which grant a lease only for what their server has delegated to this node.
const DELEGATING: [u64; 2] = [0x6969, 0x00C3_6400];
/// SMB of either kind.
const SMB: [u64; 2] = [0xFF53_4D42, 0xFE53_4D42];

/// What the kernel's own answer about a lease is worth on that file system. NFS grants one only for a file that the server has
/// delegated to this node, which many servers never do, and answers as if somebody wrote otherwise. SMB grants one beside
/// a writer on another node, and so may any file system that is not known: FUSE, 9p, Lustre, GPFS.
pub fn lease(file_system: u64, answer: Lease) -> Lease {
    match answer {
        answer if LOCAL.contains(&file_system) => answer,
        _ if SMB.contains(&file_system) => Lease::RemoteWithLazyTime,
        Lease::Granted if DELEGATING.contains(&file_system) => Lease::Granted,
        _ => Lease::Remote,
    }
}

/// Whether a file may be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Written to its end, as far as anybody can know.
    Complete,
    /// To be examined again after this time.
    NotBefore(Duration),
}

/// For how long a file has not changed: by the clock of its file system, which reads `now_there`; and for how long this
/// process has seen this version. No time of one clock is compared with another's. A time that may
/// stand still while the file is written to counts once no call lasts as long.
pub fn quiet(lease: Lease, modified: SystemTime, now_there: Option<SystemTime>, seen: Duration) -> Duration {
    let there = now_there.and_then(|now| now.duration_since(modified).ok()).unwrap_or_default();
    if lease == Lease::RemoteWithLazyTime && there < LONGEST_CALL { seen } else { seen.max(there) }
}

/// Judges a file by how it was seen and by how long it has not changed. `pod_ends`: the containers that wrote have ended.
pub fn completeness(sighting: Sighting, quiet: Duration, lease: Lease, pod_ends: bool) -> Completeness {
    let is_remote = matches!(lease, Lease::Remote | Lease::RemoteWithLazyTime);
    let needed = match (sighting, lease) {
        (Sighting::Renamed, Lease::Refused) if quiet < QUIET_AFTER_RENAME => {
            return Completeness::NotBefore(UNTIL_CLOSED);
        }
        (Sighting::Renamed, _) => Duration::ZERO,
        (_, Lease::Refused) => return Completeness::NotBefore(QUIET_WHEN_FOUND),
        // inotify reports a close by writers on this node alone.
        (Sighting::Closed, _) if is_remote && !pod_ends => QUIET_AFTER_CLOSE_REMOTE,
        (Sighting::Closed, _) => QUIET_AFTER_CLOSE,
        (Sighting::Found, Lease::Granted) => QUIET_WHEN_FOUND,
        (Sighting::Found, _) => QUIET_WITHOUT_LEASE,
    };
    match needed.checked_sub(quiet) {
        None | Some(Duration::ZERO) => Completeness::Complete,
        Some(remaining) => Completeness::NotBefore(remaining),
    }
}

/// How much longer a file that can never be uploaded stays where it is, as its writer may not be done with it; `None`:
/// it goes to quarantine.
pub fn quarantine_wait(quiet: Duration) -> Option<Duration> {
    QUIET_WITHOUT_LEASE.checked_sub(quiet).filter(|wait| !wait.is_zero()).map(|wait| wait.min(UNTIL_READABLE))
}

/// Whether a companion waits for a media file in progress, which has been quiet for so long.
pub fn awaits_media(quiet: Duration, pod_ends: bool) -> bool {
    !pod_ends && quiet < QUIET_IN_PROGRESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_network_what_the_kernel_says_of_a_lease_is_worth_less() {
        use Lease::{Granted, Refused, Remote, RemoteWithLazyTime, Unavailable};
        let (ext4, xfs, tmpfs, overlay) = (0xEF53, 0x5846_5342, 0x0102_1994, 0x794C_7630);
        let (nfs, ceph, cifs, smb2) = (0x6969, 0x00C3_6400, 0xFF53_4D42, 0xFE53_4D42);
        let (fuse, plan9, lustre, gpfs, unknown) = (0x6573_5546, 0x0102_1997, 0x0BD0_0BD0, 0x4750_4653, 0);
        for (file_systems, worth) in [
            (vec![ext4, xfs, tmpfs, overlay], [Granted, Refused, Unavailable]),
            (vec![nfs, ceph], [Granted, Remote, Remote]),
            (vec![fuse, plan9, lustre, gpfs, unknown], [Remote; 3]),
            (vec![cifs, smb2], [RemoteWithLazyTime; 3]),
        ] {
            for file_system in file_systems {
                let said = [Granted, Refused, Unavailable].map(|answer| lease(file_system, answer));
                assert_eq!(said, worth, "{file_system:x}");
            }
        }
    }

    #[test]
    fn a_files_age_counts_by_its_own_clock_or_by_how_long_it_was_seen() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (modified, now_there, seen, expected) in [
            (1000, Some(1003), 0, 3),
            (1000, Some(1003), 4, 4),
            // Set into the future by its writer, or the clock was set back.
            (1000, Some(900), 0, 0),
            (1000, Some(900), 2, 2),
            // As old as it may look by our clock.
            (1000, None, 0, 0),
            (1000, None, 2, 2),
        ] {
            let quiet = |lease| quiet(lease, at(modified), now_there.map(at), Duration::from_secs(seen));
            for lease in [Lease::Granted, Lease::Unavailable, Lease::Remote] {
                assert_eq!(quiet(lease), Duration::from_secs(expected), "{modified} {now_there:?} {seen}");
            }
        }
    }

    #[test]
    fn a_time_that_may_stand_still_counts_once_no_call_lasts_as_long() {
        let (hours, written) = (|hours: u64| Duration::from_secs(hours * 3600), SystemTime::UNIX_EPOCH);
        for (there, expected) in [(hours(11), Duration::from_secs(7)), (hours(12), hours(12))] {
            let quiet =
                quiet(Lease::RemoteWithLazyTime, written, Some(written + there), Duration::from_secs(7));
            assert_eq!(quiet, expected);
        }
    }

    #[test]
    fn a_file_is_complete_when_renamed_or_quiet_and_not_open_for_writing() {
        use Completeness::{Complete, NotBefore};
        use Lease::{Granted, Refused, Remote, RemoteWithLazyTime, Unavailable};
        use Sighting::{Closed, Found, Renamed};
        let s = Duration::from_secs;
        for (sighting, quiet, lease, expected) in [
            (Renamed, s(0), Granted, Complete),
            (Renamed, s(59), Refused, NotBefore(s(1))),
            (Renamed, s(60), Refused, Complete),
            (Renamed, s(0), Unavailable, Complete),
            (Renamed, s(0), Remote, Complete),
            (Closed, s(0), Granted, NotBefore(s(1))),
            (Closed, s(1), Granted, Complete),
            (Closed, s(1), Unavailable, Complete),
            (Closed, s(1), Remote, NotBefore(s(59))),
            (Closed, s(60), Remote, Complete),
            (Closed, s(9), Refused, NotBefore(s(5))),
            (Found, s(0), Granted, NotBefore(s(5))),
            (Found, s(4), Granted, NotBefore(s(1))),
            (Found, s(5), Granted, Complete),
            (Found, s(9999), Refused, NotBefore(s(5))),
            (Found, s(5), Unavailable, NotBefore(s(595))),
            (Found, s(600), Unavailable, Complete),
            (Found, s(599), Remote, NotBefore(s(1))),
            (Found, s(600), Remote, Complete),
            (Closed, s(59), RemoteWithLazyTime, NotBefore(s(1))),
            (Found, s(599), RemoteWithLazyTime, NotBefore(s(1))),
        ] {
            let judged = completeness(sighting, quiet, lease, false);
            assert_eq!(judged, expected, "{sighting:?} {quiet:?} {lease:?}");
        }
    }

    #[test]
    fn only_what_is_quiet_is_quarantined_and_only_what_is_written_is_waited_for() {
        let s = Duration::from_secs;
        for (quiet, wait) in [(0, Some(s(5))), (598, Some(s(2))), (600, None), (9999, None)] {
            assert_eq!(quarantine_wait(s(quiet)), wait, "{quiet}");
        }
        for (quiet, pod_ends, waits) in
            [(0, false, true), (599, false, true), (600, false, false), (0, true, false)]
        {
            assert_eq!(awaits_media(s(quiet), pod_ends), waits, "{quiet} {pod_ends}");
        }
    }

    #[test]
    fn when_the_pod_ends_a_close_is_the_last() {
        use Completeness::{Complete, NotBefore};
        let at = |sighting, lease| completeness(sighting, Duration::from_secs(1), lease, true);
        for lease in [Lease::Granted, Lease::Unavailable, Lease::Remote, Lease::RemoteWithLazyTime] {
            assert_eq!(at(Sighting::Closed, lease), Complete, "{lease:?}");
        }
        assert_eq!(at(Sighting::Closed, Lease::Refused), NotBefore(Duration::from_secs(5)));
        assert_eq!(at(Sighting::Found, Lease::Remote), NotBefore(Duration::from_secs(599)));
    }
}
