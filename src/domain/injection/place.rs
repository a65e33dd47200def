//! Puts a named entry into a list of a pod's spec, in place of one of the same name.

use serde::Serialize;
use serde_json::Value;

/// Where the one of the same name was, so that a second look changes nothing; else at the end.
pub(super) fn where_it_was(spec: &mut Value, list: &str, name: &str, entry: &impl Serialize) {
    let list = entries(spec, list);
    match list.iter().position(|other| other["name"] == name) {
        Some(index) => list[index] = json(entry),
        None => list.push(json(entry)),
    }
}

/// After all others.
pub(super) fn last(spec: &mut Value, list: &str, name: &str, entry: &impl Serialize) {
    let list = entries(spec, list);
    list.retain(|other| other["name"] != name);
    list.push(json(entry));
}

fn entries<'a>(spec: &'a mut Value, list: &str) -> &'a mut Vec<Value> {
    let list = &mut spec[list];
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().expect("it was made one")
}

fn json(entry: &impl Serialize) -> Value {
    serde_json::to_value(entry).expect("API types serialize")
}
