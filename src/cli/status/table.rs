//! The overview in words: a table, a summary, and what is wrong around the destinations.

use jiff::Timestamp;

use super::super::grade::Grade;
use super::super::output::{CommandOutcome, DIM, Report, paint};
use super::super::readiness::Readiness;
use super::super::words::age;
use super::{Overview, Row};

const HEADER: [&str; 9] =
    ["NAMESPACE", "NAME", "READY", "REASON", "WHOSE", "FOR", "ENFORCED", "DELIVERING", "VALIDATED"];

/// The widths of the columns.
pub(super) struct Table {
    widths: [usize; 9],
}

impl Table {
    /// Wide enough for all rows.
    pub(super) fn of(rows: &[Row], now: Timestamp) -> Self {
        let mut widths = HEADER.map(str::len);
        for row in rows {
            let cells = row.cells(now);
            cells.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.len().max(*width));
        }
        Table { widths }
    }

    pub(super) fn header(&self) -> String {
        self.line(&HEADER.map(str::to_owned))
    }

    pub(super) fn row(&self, row: &Row, now: Timestamp) -> String {
        paint(row.grade.style(), &self.line(&row.cells(now)))
    }

    fn line(&self, cells: &[String; 9]) -> String {
        let padded = cells.iter().zip(self.widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

impl Row {
    fn cells(&self, now: Timestamp) -> [String; 9] {
        let ago = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| age(now.duration_since(time)));
        let Readiness { ready, reason, side, since, .. } = &self.readiness;
        let side = side.map_or("-".to_owned(), |side| side.to_string());
        let cells = [&self.namespace, &self.name, ready, reason, &side].map(String::as_str);
        let [namespace, name, ready, reason, side] = cells.map(str::to_owned);
        [
            namespace,
            name,
            ready,
            reason,
            side,
            ago(*since),
            self.enforced.clone(),
            self.delivering.clone(),
            ago(self.last_validation_time),
        ]
    }
}

impl Overview {
    /// How many there are of each grade, the best first.
    fn summary(&self) -> String {
        let mut grades: Vec<Grade> = self.destinations.iter().map(|row| row.grade).collect();
        grades.dedup();
        grades.sort_by_key(|grade| (*grade != Grade::Well, *grade));
        let count = |wanted: &Grade| self.destinations.iter().filter(|row| row.grade == *wanted).count();
        let parts = grades.iter().map(|grade| format!("{} {}", count(grade), grade.words()));
        format!("{} in all: {}", self.destinations.len(), parts.collect::<Vec<_>>().join(", "))
    }
}

impl Report for Overview {
    fn text(&self) -> String {
        let Some(first) = self.destinations.first() else {
            let there = match &self.namespace {
                None => "there is no RecordingDestination yet: kubectl recordings init begins one".to_owned(),
                Some(namespace) => format!(
                    "there is no RecordingDestination in namespace {namespace}: -A shows those of all namespaces, and \
                     kubectl recordings init begins one"
                ),
            };
            return format!("{there}\n{}", self.surroundings.text(self.now));
        };
        let table = Table::of(&self.destinations, self.now);
        let mut text = format!("{}\n", table.header());
        for row in &self.destinations {
            text.push_str(&format!("{}\n", table.row(row, self.now)));
        }
        text.push_str(&format!("\n{}\n", self.summary()));
        for row in self.destinations.iter().filter(|row| row.grade == Grade::NotRenewed) {
            let since = row.not_renewed_since.map(|since| age(self.now.duration_since(since)));
            text.push_str(&format!(
                "the status of {}/{} is {} old and should have been renewed: the controller does not answer\n",
                row.namespace,
                row.name,
                since.unwrap_or_default()
            ));
        }
        for row in &self.destinations {
            for pod in &row.silent_pods {
                let namespace = &row.namespace;
                text.push_str(&format!(
                    "pod {namespace}/{pod} was in trouble and no longer reports: kubectl get pod {pod} -n {namespace}\n"
                ));
            }
        }
        if first.grade != Grade::Well {
            let explain = format!("kubectl recordings explain {} -n {}", first.name, first.namespace);
            text.push_str(&paint(DIM, &format!("{explain} says what to do about the first\n")));
        }
        text + &self.surroundings.text(self.now)
    }

    fn outcome(&self) -> CommandOutcome {
        self.worst()
    }
}
