//! Sets a named entry in a list of a pod's spec, in place of one of the same name.

use serde::Serialize;
use serde_json::Value;

/// Sets the entry where one of the same name is, so that a second injection changes nothing; else at the end.
pub(super) fn set(spec: &mut Value, list: &str, name: &str, entry: &impl Serialize) {
    let list = entries(spec, list);
    match list.iter().position(|other| other["name"] == name) {
        Some(index) => list[index] = json(entry),
        None => list.push(json(entry)),
    }
}

/// Sets the entry at the end of the list.
pub(super) fn set_last(spec: &mut Value, list: &str, name: &str, entry: &impl Serialize) {
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
