//! Which file uses which, read from `use` declarations and paths. A re-export is followed to the file that defines the
//! name, and is no use of its own.

use std::collections::{BTreeMap, BTreeSet};

/// The files that each file uses, both by their paths below `src`.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A module's names that lead elsewhere, each with the path that it stands for.
type ReExports = BTreeMap<String, Vec<String>>;

struct Modules<'a> {
    /// By module path, such as `["uploader", "spool"]`.
    files: BTreeMap<Vec<String>, &'a str>,
    re_exports: BTreeMap<Vec<String>, ReExports>,
}

/// Reads the arrows of all files, each given by its path and its code.
pub fn arrows(files: &[(String, String)]) -> Arrows {
    let mut modules = Modules { files: BTreeMap::new(), re_exports: BTreeMap::new() };
    for (file, _) in files {
        modules.files.insert(module_of(file), file);
    }
    for (file, code) in files {
        let module = module_of(file);
        let mut names = ReExports::new();
        for (path, is_public) in uses(code) {
            if is_public && let Some(path) = modules.absolute(&module, &path) {
                names.insert(path.last().cloned().unwrap_or_default(), path);
            }
        }
        modules.re_exports.insert(module, names);
    }
    let mut arrows = Arrows::new();
    for (file, code) in files {
        let module = module_of(file);
        let private = uses(code).into_iter().filter(|(_, is_public)| !is_public).map(|(path, _)| path);
        let used =
            private.chain(paths(code)).filter_map(|path| modules.file_of(&modules.absolute(&module, &path)?));
        arrows.insert(file.clone(), used.filter(|used| used != file).collect());
    }
    arrows
}

impl Modules<'_> {
    /// The path from the crate's root that a path in a module stands for; `None`: it leads out of the crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let mut absolute = module.to_vec();
        let mut rest = path;
        loop {
            match rest.first()?.as_str() {
                "crate" => absolute.clear(),
                "self" => {}
                "super" => drop(absolute.pop()?),
                first => {
                    let child = [absolute.as_slice(), &[first.to_owned()]].concat();
                    let is_ours = rest.len() < path.len() || self.files.contains_key(&child);
                    return is_ours.then(|| [absolute.as_slice(), rest].concat());
                }
            }
            rest = &rest[1..];
        }
    }

    /// The file that defines what a path from the root names.
    fn file_of(&self, path: &[String]) -> Option<String> {
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let elsewhere = rest.first().and_then(|name| self.re_exports.get(module)?.get(name));
        match elsewhere {
            Some(elsewhere) if elsewhere.as_slice() != path => self.file_of(elsewhere),
            _ => Some(self.files[module].to_owned()),
        }
    }
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The paths of all `use` declarations, with whether each is a re-export.
fn uses(code: &str) -> Vec<(Vec<String>, bool)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_declaration = before.is_empty() || before.starts_with("pub");
        let Some(end) = rest[at..].find(';') else { break };
        if is_declaration {
            let tree: String = rest[at + 4..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
            expand(&tree, &[], &mut |path| found.push((path, !before.is_empty())));
            rest = &rest[at + end..];
        } else {
            rest = &rest[at + 4..];
        }
    }
    found
}

/// Each path of a use tree.
fn expand(tree: &str, above: &[String], each: &mut impl FnMut(Vec<String>)) {
    let tree = tree.trim();
    let join = |path: &str| {
        let segments = path.split("::").map(|segment| segment.trim().to_owned());
        above.iter().cloned().chain(segments.filter(|segment| !segment.is_empty())).collect::<Vec<_>>()
    };
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return each(join(path.trim_end_matches("::self").trim_end_matches("::*")));
    };
    let above = join(path);
    let (mut depth, mut start) = (0, 0);
    let group = group.strip_suffix('}').unwrap_or(group);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let member = group[start..at].trim();
                if member == "self" {
                    each(above.clone());
                } else if !member.is_empty() {
                    expand(member, &above, each);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Paths in the code that begin with `crate::` or `super::`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let begins = |word: &'static str| code.match_indices(word).map(|(at, _)| at);
    begins("crate::")
        .chain(begins("super::"))
        .map(|at| {
            let end = code[at..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            let path = &code[at..end.map_or(code.len(), |end| at + end)];
            path.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
        })
        .collect()
}

/// The circles among the members of each folder: a folder below it counts as one member, its own `mod.rs` as another.
pub fn circles(arrows: &Arrows) -> Vec<String> {
    let folders: BTreeSet<&str> =
        arrows.keys().flat_map(|file| file.match_indices('/').map(|(at, _)| &file[..at])).collect();
    let mut circles = Vec::new();
    for folder in folders {
        let inside = |file: &str| {
            let rest = file.strip_prefix(folder)?.strip_prefix('/')?;
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        };
        let mut members = Arrows::new();
        for (file, used) in arrows {
            let Some(member) = inside(file) else { continue };
            let used = used.iter().filter_map(|used| inside(used)).filter(|used| *used != member);
            members.entry(member.clone()).or_default().extend(used);
        }
        let in_circle: Vec<_> = members.keys().filter(|member| reaches(&members, member, member)).collect();
        if !in_circle.is_empty() {
            circles.push(format!("src/{folder}: {in_circle:?} use each other in a circle"));
        }
    }
    circles
}

fn reaches(members: &Arrows, from: &str, to: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(member) = next.pop() {
        for used in members.get(member).into_iter().flatten() {
            if used == to {
                return true;
            }
            if seen.insert(used) {
                next.push(used);
            }
        }
    }
    false
}
