//! Every way of breaking deliveries that the table names, on the real node, and what each screen says of it: while it
//! lasts, after it is mended, and when the pod is gone.

mod causes;
mod screens;
#[allow(dead_code, reason = "each user of the table reads fields of its own")]
#[path = "../breakages/table.rs"]
mod table;

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use self::causes::Cause;
use self::screens::Screens;
use self::table::{PodGone, ROWS, Row, Shown};
use crate::environment_or_skip;
use crate::support::{Tenant, is_long, wait_for};

/// Rows at a time: they mostly wait.
const AT_ONCE: usize = 6;

#[test]
fn no_screen_says_that_all_is_well_while_a_recording_waits() {
    environment_or_skip!();
    let rows: Vec<_> = ROWS.iter().filter(|row| row.is_short || is_long()).collect();
    let waiting = Mutex::new(rows.into_iter().rev().collect::<Vec<_>>());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = { waiting.lock().unwrap().pop() } {
                    if thread::scope(|one| one.spawn(|| play(row)).join()).is_err() {
                        failed.lock().unwrap().push(row.what);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0], "rows that failed; what they saw is above");
}

fn play(row: &Row) {
    let cause = Cause::of(row);
    let tenant = cause.tenant();
    tenant.start(&cause.recorder(&tenant));
    cause.begin(&tenant);
    if !cause.is_there_from_the_start() {
        wait_for("deliveries", || tenant.describe(), || shows(&tenant, "Delivering", "True", "Delivered"));
    }
    cause.break_it(&tenant);
    let screens =
        wait_for(row.what, || tenant.describe(), || Screens::of(&tenant).filter(|seen| seen.show(row)));
    screens.check(row);
    if matches!(row.shown, Shown::Delivers) {
        return;
    }
    cause.end_pod(&tenant);
    match row.pod_gone {
        PodGone::Nothing => {}
        PodGone::Entry(kind) => {
            // A pod that did not say that it ends may as well be cut off, for as long as three reports are missed.
            if kind == "Unaccounted" {
                thread::sleep(Duration::from_secs(15 * 60));
            }
            wait_for(kind, || tenant.describe(), || screens::has_entry(&tenant, kind));
        }
    }
    if cause.mend(&tenant) {
        tenant.start(&cause.sound_recorder(&tenant));
        cause.begin(&tenant);
        wait_for(
            "deliveries again",
            || tenant.describe(),
            || shows(&tenant, "Delivering", "True", "Delivered"),
        );
        tenant.wait_ready("acme");
    }
}

fn shows(tenant: &Tenant, kind: &str, status: &str, reason: &str) -> Option<()> {
    let condition = tenant.condition("acme", kind)?;
    (condition["status"] == status && condition["reason"] == reason).then_some(())
}
