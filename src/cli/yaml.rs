//! YAML documents in which each field knows its line. Read as kubectl reads them: mappings with text for keys, merge
//! keys, and YAML 1.1's words for true and false.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// Deepest nesting, and most nodes of one file with all aliases written out. No manifest comes near.
const DEEPEST: usize = 64;
const MOST: usize = 200_000;

/// A value and its line. Not for showing: it may hold an External ID.
#[derive(Clone)]
pub(super) struct Node {
    /// Counted from 1.
    pub line: usize,
    pub content: Content,
}

#[derive(Clone)]
pub(super) enum Content {
    /// Text, a number, true, false or null.
    Scalar(Value),
    List(Vec<Node>),
    /// A mapping, as written: a key may be there twice.
    Map(Vec<Field>),
}

/// One entry of a mapping.
#[derive(Clone)]
pub(super) struct Field {
    pub name: String,
    pub line: usize,
    pub value: Node,
}

/// The text is not YAML, or not of the kind that Kubernetes takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Counted from 1.
    pub line: usize,
    pub problem: String,
}

impl Malformed {
    /// The sentence that names the file as well.
    pub(super) fn in_file(&self, name: &str) -> String {
        format!("{name}:{}: this is not YAML that Kubernetes reads: {}", self.line, self.problem)
    }
}

impl Node {
    /// The fields of a mapping; none of anything else.
    pub(super) fn fields(&self) -> &[Field] {
        match &self.content {
            Content::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The entries of a sequence; none of anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The value under a path of keys. Of a key that is there twice, the last, as everywhere.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| {
            Some(&node.fields().iter().rev().find(|field| field.name == *key)?.value)
        })
    }

    /// The text under a path of keys.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        match &self.at(path)?.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The value without its lines.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::value).collect(),
            Content::Map(fields) => {
                let entries = fields.iter().map(|field| (field.name.clone(), field.value.value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

/// The documents of a text; empty ones are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Malformed> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Malformed {
            line: error.marker().line(),
            problem: format!("{}; mind the indentation, and quotes around text with : or #", error.info()),
        })?;
        reader.take(event, span)?;
    }
    Ok(reader.done)
}

#[derive(Default)]
struct Reader {
    done: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    count: usize,
}

/// A collection whose end has not come.
struct Open {
    node: Node,
    anchor: usize,
    /// Of a mapping: the key whose value comes next.
    key: Option<(String, usize)>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Malformed> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix() == "str");
                let value = if is_text { Value::String(text.into_owned()) } else { plain(&text) };
                self.end(Node { line, content: Content::Scalar(value) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(line, Content::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(line, Content::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { node, anchor, .. } = self.open.pop().expect("what ends has begun");
                self.end(node, anchor)
            }
            Event::Alias(anchor) => {
                let meant = self.anchors.get(&anchor).cloned();
                let meant = meant.ok_or_else(|| malformed(line, "an alias within what it stands for"))?;
                self.end(meant, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, content: Content, anchor: usize) -> Result<(), Malformed> {
        if self.open.len() == DEEPEST {
            return Err(malformed(line, "it is nested too deeply"));
        }
        self.open.push(Open { node: Node { line, content }, anchor, key: None });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn end(&mut self, node: Node, anchor: usize) -> Result<(), Malformed> {
        self.count += size(&node);
        if self.count > MOST {
            return Err(malformed(node.line, "it is too large, with its aliases written out"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            let is_empty = matches!(&node.content, Content::Scalar(Value::Null));
            self.done.extend((!is_empty).then_some(node));
            return Ok(());
        };
        match (&mut parent.node.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(fields), Some((name, _))) if name == "<<" => merge(fields, node)?,
            (Content::Map(fields), Some((name, line))) => fields.push(Field { name, line, value: node }),
            (Content::Map(_), None) => parent.key = Some((key(&node)?, node.line)),
            (Content::Scalar(_), _) => unreachable!("nothing is put into a scalar"),
        }
        Ok(())
    }
}

fn malformed(line: usize, problem: &str) -> Malformed {
    Malformed { line, problem: problem.to_owned() }
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Scalar(_) => 0,
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(fields) => fields.iter().map(|field| size(&field.value)).sum(),
    }
}

fn key(node: &Node) -> Result<String, Malformed> {
    match &node.content {
        Content::Scalar(Value::String(text)) => Ok(text.clone()),
        Content::Scalar(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
        _ => Err(malformed(node.line, "a key must be text")),
    }
}

/// `<<: *anchor`: what is there already comes first.
fn merge(fields: &mut Vec<Field>, node: Node) -> Result<(), Malformed> {
    let line = node.line;
    let merged = match node.content {
        Content::Map(merged) => merged,
        Content::List(maps) => maps.into_iter().flat_map(|map| map.fields().to_vec()).collect(),
        Content::Scalar(_) => return Err(malformed(line, "only a mapping can be merged with <<")),
    };
    for field in merged {
        if fields.iter().all(|known| known.name != field.name) {
            fields.push(field);
        }
    }
    Ok(())
}

/// What a scalar without quotes means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let whole = match digits.get(..2) {
        Some("0x") => i64::from_str_radix(&digits[2..], 16).ok(),
        Some("0o") => i64::from_str_radix(&digits[2..], 8).ok(),
        Some("0b") => i64::from_str_radix(&digits[2..], 2).ok(),
        _ => text.parse().ok(),
    };
    whole.map(Number::from).or_else(|| Number::from_f64(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(text: &str) -> Vec<Value> {
        documents(text).unwrap_or_else(|malformed| panic!("{malformed:?}")).iter().map(Node::value).collect()
    }

    #[test]
    fn documents_are_read_as_kubectl_reads_them() {
        for (text, expected) in [
            ("a: b\n---\n# nothing\n---\nc: 1\n", vec![json!({"a": "b"}), json!({"c": 1})]),
            (r#"{"a": ["b", 1.5, null]}"#, vec![json!({"a": ["b", 1.5, null]})]),
            ("a: \"111\"\nb: 111\nc: !!str 111\n", vec![json!({"a": "111", "b": 111, "c": "111"})]),
            ("a: yes\nb: 'yes'\nc: ~\nd:\n", vec![json!({"a": true, "b": "yes", "c": null, "d": null})]),
            (
                "a: 1.2.3\nb: 2024-01-01\nc: 0x1f\nd: -1\ne: .5\nf: e1\n",
                vec![json!({"a": "1.2.3", "b": "2024-01-01", "c": 31, "d": -1, "e": 0.5, "f": "e1"})],
            ),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", vec![json!({"a": "x\ny\n", "b": "x y"})]),
            (
                "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n",
                vec![json!({"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}})],
            ),
            ("1: a\ntrue: b\n", vec![json!({"1": "a", "true": "b"})]),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn each_field_knows_its_line() {
        let documents = documents("a:\n  b: 1\n  c:\n    - x\n---\nd: 2\n").unwrap();
        let lines = |node: &Node| node.fields().iter().map(|f| (f.name.clone(), f.line)).collect::<Vec<_>>();
        assert_eq!(lines(&documents[0]), [("a".to_owned(), 1)]);
        assert_eq!(lines(documents[0].at(&["a"]).unwrap()), [("b".to_owned(), 2), ("c".to_owned(), 3)]);
        assert_eq!(documents[0].at(&["a", "c"]).unwrap().items()[0].line, 4);
        assert_eq!(lines(&documents[1]), [("d".to_owned(), 6)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        for (text, line) in [
            ("a: b\n c: d\n", 2),
            ("a: [1\nb: 2\n", 2),
            ("a: *nobody\n", 1),
            ("? [a]\n: b\n", 1),
            ("a: 1\n<<: text\n", 2),
            ("a: &a [*a]\n", 1),
        ] {
            assert_eq!(documents(text).err().map(|malformed| malformed.line), Some(line), "{text}");
        }
        assert!(documents(&"[".repeat(10_000)).is_err());
        let laughs: String = (1..9)
            .map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(",")))
            .collect();
        let problem = documents(&format!("a0: &a0 [x]\n{laughs}")).err().unwrap().problem;
        assert!(problem.contains("too large"), "{problem}");
    }
}
