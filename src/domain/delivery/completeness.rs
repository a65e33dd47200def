//! Whether a file has been written to its end. Only a rename is a guarantee.

use std::time::{Duration, SystemTime};

/// Quiet time after a file was closed by its writer, who may open it again.
const QUIET_AFTER_CLOSE: Duration = Duration::from_secs(1);
/// Quiet time of a file that was found, when nobody has it open for writing.
const QUIET_WHEN_FOUND: Duration = Duration::from_secs(5);
/// Quiet time of a file that was found, where nobody can tell whether it is open for writing.
const QUIET_WITHOUT_LEASE: Duration = Duration::from_secs(600);

/// How a file came to be known. Later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sighting {
    /// It was there when somebody looked: at start, or after inotify lost events.
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
}

/// NFS and SMB, as statfs(2) names them.
const NETWORK_FILE_SYSTEMS: [u64; 3] = [0x6969, 0xFF53_4D42, 0xFE53_4D42];

/// What a lease that the kernel does not grant says, by the kind of the file system. On a network it is granted only for
/// a file that the server has delegated to this node, which many servers never do.
pub fn ungranted(file_system: u64) -> Lease {
    if NETWORK_FILE_SYSTEMS.contains(&file_system) { Lease::Unavailable } else { Lease::Refused }
}

/// Whether a file may be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Written to its end, as far as anybody can know.
    Complete,
    /// To be looked at again after this time.
    NotBefore(Duration),
}

/// For how long a file has not changed: by the clock that wrote its time, its file system's, which says that it is
/// `now_there`; and as long as we have seen it in this state. No time of one clock is compared with another's.
pub fn quiet(modified: SystemTime, now_there: Option<SystemTime>, seen: Duration) -> Duration {
    let there = now_there.and_then(|now| now.duration_since(modified).ok());
    seen.max(there.unwrap_or_default())
}

/// Judges a file by how it was seen and by how long it has not changed.
pub fn completeness(sighting: Sighting, quiet: Duration, lease: Lease) -> Completeness {
    let needed = match (sighting, lease) {
        (Sighting::Renamed, _) => Duration::ZERO,
        (_, Lease::Refused) => return Completeness::NotBefore(QUIET_WHEN_FOUND),
        (Sighting::Closed, _) => QUIET_AFTER_CLOSE,
        (Sighting::Found, Lease::Granted) => QUIET_WHEN_FOUND,
        (Sighting::Found, Lease::Unavailable) => QUIET_WITHOUT_LEASE,
    };
    match needed.checked_sub(quiet) {
        None | Some(Duration::ZERO) => Completeness::Complete,
        Some(remaining) => Completeness::NotBefore(remaining),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_network_a_lease_that_is_not_granted_tells_of_no_writer() {
        for (file_system, expected) in [
            (0x6969, Lease::Unavailable),
            (0xFF53_4D42, Lease::Unavailable),
            (0xFE53_4D42, Lease::Unavailable),
            // ext4, xfs, tmpfs, overlay.
            (0xEF53, Lease::Refused),
            (0x5846_5342, Lease::Refused),
            (0x0102_1994, Lease::Refused),
            (0x794C_7630, Lease::Refused),
        ] {
            assert_eq!(ungranted(file_system), expected, "{file_system:x}");
        }
    }

    #[test]
    fn a_file_is_as_old_as_its_own_clock_says_whatever_ours_does_and_as_long_as_it_was_seen() {
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
            let quiet = quiet(at(modified), now_there.map(at), Duration::from_secs(seen));
            assert_eq!(quiet, Duration::from_secs(expected), "{modified} {now_there:?} {seen}");
        }
    }

    #[test]
    fn a_file_is_complete_when_renamed_or_quiet_and_not_open_for_writing() {
        use Completeness::{Complete, NotBefore};
        use Lease::{Granted, Refused, Unavailable};
        use Sighting::{Closed, Found, Renamed};
        let s = Duration::from_secs;
        for (sighting, quiet, lease, expected) in [
            (Renamed, s(0), Granted, Complete),
            (Renamed, s(0), Refused, Complete),
            (Renamed, s(0), Unavailable, Complete),
            (Closed, s(0), Granted, NotBefore(s(1))),
            (Closed, s(1), Granted, Complete),
            (Closed, s(1), Unavailable, Complete),
            (Closed, s(9), Refused, NotBefore(s(5))),
            (Found, s(0), Granted, NotBefore(s(5))),
            (Found, s(4), Granted, NotBefore(s(1))),
            (Found, s(5), Granted, Complete),
            (Found, s(9999), Refused, NotBefore(s(5))),
            (Found, s(5), Unavailable, NotBefore(s(595))),
            (Found, s(600), Unavailable, Complete),
        ] {
            assert_eq!(completeness(sighting, quiet, lease), expected, "{sighting:?} {quiet:?} {lease:?}");
        }
    }
}
