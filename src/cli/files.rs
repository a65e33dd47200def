//! Manifests, from files, directories and standard input, as kubectl reads them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::output::Failure;
use super::yaml::{self, Malformed, Node};

/// Which manifests to read.
#[derive(clap::Args)]
pub(super) struct Filenames {
    /// Files and directories with manifests; - is standard input. Of a directory, the files *.json, *.yaml and *.yml are read.
    #[arg(short, long = "filename", required = true, num_args = 1.., value_delimiter = ',', value_name = "FILE")]
    filenames: Vec<PathBuf>,
    /// Read the directories within directories, too.
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Filenames {
    pub(super) fn read(&self) -> Result<Vec<Source>, Failure> {
        read(&self.filenames, self.recursive)
    }
}

/// One file, read.
pub(super) struct Source {
    /// As messages call it.
    pub name: String,
    /// Its documents, or where it is not YAML.
    pub documents: Result<Vec<Node>, Malformed>,
}

/// Reads files and directories; `-` is standard input.
pub(super) fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<Source>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            false => files.push(path.clone()),
            true => {
                let before = files.len();
                manifests_below(path, recursive, &mut files)?;
                if files.len() == before {
                    return Err(Failure::Undone(format!(
                        "{} has no manifest: of a directory, the files *.json, *.yaml and *.yml are read, with -R those of \
                         the directories in it, too",
                        path.display()
                    )));
                }
            }
        }
    }
    files.iter().map(|path| read_one(path)).collect()
}

/// The manifests of a directory, in the order of their names.
fn manifests_below(directory: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries
        .map_err(|error| Failure::Undone(format!("{} cannot be read: {error}", directory.display())))?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                manifests_below(&path, recursive, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The documents of files of which each must be YAML.
pub(super) fn documents(sources: Vec<Source>) -> Result<Vec<Node>, Failure> {
    let mut all = Vec::new();
    for Source { name, documents } in sources {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_directory_kubectls_kinds_of_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("more");
        std::fs::create_dir(&below).unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "README.md", "d.yaml.orig", "more/e.yaml"] {
            std::fs::write(directory.path().join(name), "kind: Pod\n").unwrap();
        }
        let names = |paths: &[&Path], recursive| {
            let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
            let sources = read(&paths, recursive).map_err(|failure| failure.to_string())?;
            let root = format!("{}/", directory.path().display());
            Ok::<_, String>(sources.iter().map(|source| source.name.replace(&root, "")).collect::<Vec<_>>())
        };
        assert_eq!(names(&[directory.path()], false).unwrap(), ["a.yml", "b.yaml", "c.json"]);
        assert_eq!(names(&[directory.path()], true).unwrap(), ["a.yml", "b.yaml", "c.json", "more/e.yaml"]);
        let named = directory.path().join("README.md");
        assert_eq!(names(&[&named, &below], false).unwrap(), ["README.md", "more/e.yaml"]);
        let empty = tempfile::tempdir().unwrap();
        let refused = names(&[empty.path()], true).unwrap_err();
        assert!(refused.contains("has no manifest") && refused.contains("*.yml"), "{refused}");
    }
}
