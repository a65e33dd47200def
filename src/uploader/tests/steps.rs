//! The calls to the file system and to S3, one by one, each of which can be the process's last or fail. The plan is
//! the process's own, so it is for processes that do nothing else: see `crash`. Tests beside others have one call of
//! their thread fail, or those below a directory of theirs.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Names the plan: `none@0`, `kill@17`, `EIO@17`, or `ENOSPC@17+` for that call and all that follow and take space.
pub const PLAN: &str = "RECORDING_UPLOADER_TEST_STEP";

/// The calls that take space.
pub const TAKE_SPACE: [&str; 9] = [
    "make a directory",
    "create a file",
    "write a file",
    "sync a file",
    "rename a file",
    "sync a directory",
    "lock a file",
    "leave a message",
    // Of which a user has so many on a node.
    "watch a directory",
];

static STEPS: AtomicU64 = AtomicU64::new(0);
static TAKEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

thread_local! {
    static NEXT: Cell<Option<(&'static str, i32)>> = const { Cell::new(None) };
}
static BELOW: Mutex<Vec<(PathBuf, &str, i32)>> = Mutex::new(Vec::new());

struct Plan {
    fault: Fault,
    at: u64,
    and_later: bool,
}

enum Fault {
    None,
    Kill,
    Error(i32),
}

/// One more call. Does what the plan says.
pub fn step(call: &'static str) -> io::Result<()> {
    if let Some((_, code)) = NEXT.get().filter(|(next, _)| *next == call) {
        NEXT.set(None);
        return Err(io::Error::from_raw_os_error(code));
    }
    static PLANNED: OnceLock<Option<Plan>> = OnceLock::new();
    let Some(plan) = PLANNED.get_or_init(|| Some(parse(&std::env::var(PLAN).ok()?))) else { return Ok(()) };
    TAKEN.lock().unwrap().push(call);
    let number = STEPS.fetch_add(1, Ordering::SeqCst) + 1;
    if number != plan.at && !(plan.and_later && number > plan.at) {
        return Ok(());
    }
    match plan.fault {
        Fault::None => Ok(()),
        Fault::Kill => kill(),
        Fault::Error(libc::ENOSPC) if !TAKE_SPACE.contains(&call) => Ok(()),
        Fault::Error(code) => Err(io::Error::from_raw_os_error(code)),
    }
}

/// The same, of a call about what is at this path.
pub fn step_at(call: &'static str, path: &Path) -> io::Result<()> {
    step(call)?;
    let path = path.canonicalize()?;
    let below = BELOW.lock().unwrap();
    match below.iter().find(|(root, failing, _)| *failing == call && path.starts_with(root)) {
        Some((.., code)) => Err(io::Error::from_raw_os_error(*code)),
        None => Ok(()),
    }
}

/// The next call of that name on this thread fails so.
pub fn fail_next(call: &'static str, code: i32) {
    NEXT.set(Some((call, code)));
}

/// Calls of that name about what is below a directory fail so from now on.
pub fn fail_below(root: PathBuf, call: &'static str, code: i32) {
    BELOW.lock().unwrap().push((root.canonicalize().unwrap(), call, code));
}

/// Calls of that name about what is there succeed again.
pub fn heal_below(root: &Path, call: &str) {
    BELOW.lock().unwrap().retain(|(failing, name, _)| failing != root || *name != call);
}

/// The calls so far, of a process with a plan.
pub fn steps() -> Vec<&'static str> {
    TAKEN.lock().unwrap().clone()
}

fn parse(plan: &str) -> Plan {
    let (fault, at) = plan.split_once('@').expect("FAULT@NUMBER");
    let fault = match fault {
        "none" => Fault::None,
        "kill" => Fault::Kill,
        "EIO" => Fault::Error(libc::EIO),
        "ENOSPC" => Fault::Error(libc::ENOSPC),
        other => panic!("no fault {other}"),
    };
    let number = at.trim_end_matches('+');
    Plan { fault, at: number.parse().expect("a number"), and_later: number != at }
}

fn kill() -> ! {
    // SAFETY: takes no pointer, and nothing is left to be unsound afterwards.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}
