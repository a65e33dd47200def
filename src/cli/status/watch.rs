//! `status --watch`: the overview, and then each destination again when it changes.

use std::collections::HashMap;
use std::io::Write as _;
use std::pin::pin;

use futures::StreamExt as _;
use jiff::Timestamp;

use super::super::kubernetes::failure;
use super::super::output::{CommandOutcome, Failure, Format, note, print, styles};
use super::table::Table;
use super::{Arguments, Row, run};
use crate::cluster::destinations::{self, Change};
use crate::printable::printable_lines;

/// Runs until it is interrupted, or its reader goes away.
pub(in crate::cli) async fn watch(arguments: &Arguments, format: Format) -> Result<CommandOutcome, Failure> {
    let overview = run(arguments).await?;
    print(&overview, format)?;
    let client = arguments.kubernetes.connect_to_watch().await?;
    let changes =
        destinations::changes(&client, overview.namespace.as_deref(), arguments.selector.as_deref());
    let mut changes = pin!(changes.map_err(|error| failure(&error))?);
    let table = Table::of(&overview.destinations, overview.now);
    let key = |row: &Row| (row.namespace.clone(), row.name.clone());
    let mut shown: HashMap<_, _> = overview.destinations.into_iter().map(|row| (key(&row), row)).collect();
    while let Some(change) = changes.next().await {
        let now = Timestamp::now();
        let line = match change {
            Ok(Change::Seen(destination)) => {
                let row = Row::of(&destination, now);
                // A watch begins with what is there, and begins again when the connection ends.
                if shown.get(&key(&row)) == Some(&row) {
                    continue;
                }
                let line = row.line(&table, format, now);
                shown.insert(key(&row), row);
                line
            }
            Ok(Change::Deleted(metadata)) => {
                let (namespace, name) =
                    (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                shown.remove(&(namespace.clone(), name.clone()));
                note(&format!("{namespace}/{name} was deleted"));
                continue;
            }
            Err(error) => {
                note(&format!("the watch was interrupted: {error}; it is begun again"));
                continue;
            }
        };
        let mut out = anstream::stdout();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(CommandOutcome::Well)
}

impl Row {
    fn line(&self, table: &Table, format: Format, now: Timestamp) -> String {
        match format {
            Format::Text => {
                let line = printable_lines(&table.row(self, now), &styles());
                line.trim_end_matches('\n').to_owned()
            }
            Format::Json => serde_json::to_string_pretty(self).expect("rows serialize"),
            Format::Yaml => {
                format!("---\n{}", serde_yaml::to_string(self).expect("rows serialize").trim_end())
            }
        }
    }
}
