//! Whether a file has been written to its end. Only a rename is a guarantee.

use std::time::{Duration, SystemTime};

/// Quiet time after a file was closed by its writer, who may open it again.
const QUIET_AFTER_CLOSE: Duration = Duration::from_secs(1);
/// The same where nobody can tell when he does: longer than most who write hold something back.
const QUIET_AFTER_CLOSE_REMOTE: Duration = Duration::from_secs(60);
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
    /// The file is on a network, and its server does not say who writes it.
    Remote,
}

/// NFS, SMB and Ceph, as statfs(2) names them.
const NETWORK_FILE_SYSTEMS: [u64; 4] = [0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x00C3_6400];

/// What a lease that the kernel does not grant says, by the kind of the file system, and by whether it says that somebody
/// writes. On a network it is granted only for a file that the server has delegated to this node, which many servers
/// never do, and refused without one.
pub fn ungranted(file_system: u64, is_refused: bool) -> Lease {
    match (NETWORK_FILE_SYSTEMS.contains(&file_system), is_refused) {
        (true, _) => Lease::Remote,
        (false, true) => Lease::Refused,
        (false, false) => Lease::Unavailable,
    }
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
/// `now_there`; and as long as we have seen it in this state. No time of one clock is compared with another's. A server of
/// SMB may leave a file's time as it is until the file is closed: there it counts only what we saw, the size included.
pub fn quiet(lease: Lease, modified: SystemTime, now_there: Option<SystemTime>, seen: Duration) -> Duration {
    let there = match lease {
        Lease::Remote => None,
        _ => now_there.and_then(|now| now.duration_since(modified).ok()),
    };
    seen.max(there.unwrap_or_default())
}

/// Judges a file by how it was seen and by how long it has not changed.
pub fn completeness(sighting: Sighting, quiet: Duration, lease: Lease) -> Completeness {
    let needed = match (sighting, lease) {
        (Sighting::Renamed, _) => Duration::ZERO,
        (_, Lease::Refused) => return Completeness::NotBefore(QUIET_WHEN_FOUND),
        (Sighting::Closed, Lease::Remote) => QUIET_AFTER_CLOSE_REMOTE,
        (Sighting::Closed, _) => QUIET_AFTER_CLOSE,
        (Sighting::Found, Lease::Granted) => QUIET_WHEN_FOUND,
        (Sighting::Found, Lease::Unavailable | Lease::Remote) => QUIET_WITHOUT_LEASE,
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
        let (nfs, cifs, smb2, ceph) = (0x6969, 0xFF53_4D42, 0xFE53_4D42, 0x00C3_6400);
        for file_system in [nfs, cifs, smb2, ceph] {
            let said = [true, false].map(|is_refused| ungranted(file_system, is_refused));
            assert_eq!(said, [Lease::Remote, Lease::Remote], "{file_system:x}");
        }
        let (ext4, xfs, tmpfs, overlay) = (0xEF53, 0x5846_5342, 0x0102_1994, 0x794C_7630);
        for file_system in [ext4, xfs, tmpfs, overlay] {
            let said = [true, false].map(|is_refused| ungranted(file_system, is_refused));
            assert_eq!(said, [Lease::Refused, Lease::Unavailable], "{file_system:x}");
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
            let quiet = |lease| quiet(lease, at(modified), now_there.map(at), Duration::from_secs(seen));
            for lease in [Lease::Granted, Lease::Unavailable] {
                assert_eq!(quiet(lease), Duration::from_secs(expected), "{modified} {now_there:?} {seen}");
            }
            // Its time may stand still while it is written to.
            assert_eq!(quiet(Lease::Remote), Duration::from_secs(seen));
        }
    }

    #[test]
    fn a_file_is_complete_when_renamed_or_quiet_and_not_open_for_writing() {
        use Completeness::{Complete, NotBefore};
        use Lease::{Granted, Refused, Remote, Unavailable};
        use Sighting::{Closed, Found, Renamed};
        let s = Duration::from_secs;
        for (sighting, quiet, lease, expected) in [
            (Renamed, s(0), Granted, Complete),
            (Renamed, s(0), Refused, Complete),
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
        ] {
            assert_eq!(completeness(sighting, quiet, lease), expected, "{sighting:?} {quiet:?} {lease:?}");
        }
    }
}
