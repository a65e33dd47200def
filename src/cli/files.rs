//! Manifests, from files and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::output::Failure;
use super::yaml::{self, Malformed, Node};

/// One file, read.
pub(super) struct Source {
    /// As messages call it.
    pub name: String,
    /// Its documents, or where it is not YAML.
    pub documents: Result<Vec<Node>, Malformed>,
}

/// Reads files; `-` is standard input.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    paths.iter().map(|path| read_one(path)).collect()
}

/// Reads files of which each must be YAML.
pub(super) fn documents(paths: &[PathBuf]) -> Result<Vec<Node>, Failure> {
    let mut all = Vec::new();
    for Source { name, documents } in read(paths)? {
        all.extend(documents.map_err(|malformed| Failure::Undone(malformed.in_file(&name)))?);
    }
    Ok(all)
}

fn read_one(path: &Path) -> Result<Source, Failure> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    let read = match is_stdin {
        true => std::io::stdin().read_to_string(&mut text).map(|_| ()),
        false => std::fs::read_to_string(path).map(|read| text = read),
    };
    read.map_err(|error| Failure::Undone(format!("{name} cannot be read: {error}")))?;
    Ok(Source { name, documents: yaml::documents(&text) })
}
