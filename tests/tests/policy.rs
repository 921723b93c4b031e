//! That nothing reaches another domain past the policy: every place of the hypervisor where a number becomes a domain, or where
//! the table is asked, is known here.

use std::fs;
use std::path::{Path, PathBuf};

use mote_tools::workspace;

/// A piece of source: in which file of `hypervisor/src`, how often, and why that is right.
type Place = (&'static str, usize, &'static str);

/// Where a number becomes a domain.
const LOOK_UPS: [Place; 4] = [
    (
        "domain/pv.rs",
        2,
        "whether a peer is still there, and the other end of a port, which was connected under the policy",
    ),
    ("exits/xen.rs", 1, "`find_domain`, see below"),
    ("exits/xen/events.rs", 1, "the other end of a port, which was connected under the policy"),
    ("exits/xen/grants.rs", 1, "the granter of a mapping that was made under the policy"),
];

/// Where a guest's number becomes a domain.
const FINDS: [Place; 4] = [
    ("exits/xen.rs", 2, "its definition, and `domain_for`, which asks the policy"),
    ("exits/xen/domctl.rs", 1, "followed by the question that is right for a clone, or for another"),
    ("exits/xen/grants.rs", 1, "whether there is one decides which error is given"),
    ("exits/xen/memory_op.rs", 1, "followed by the question whether its memory may be mapped"),
];

/// Where the table is asked.
const QUESTIONS: [Place; 1] = [("exits/xen.rs", 1, "`may`, which all others ask")];

/// All files of Rust below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the source").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// How often each file has one of `texts`, if it does.
fn occurrences(texts: &[&str]) -> Vec<(String, usize)> {
    let source = workspace::root().join("hypervisor/src");
    let count = |path: PathBuf| {
        let content = fs::read_to_string(&path).expect("readable");
        let code = content.lines().filter(|line| !line.trim_start().starts_with("//"));
        let count = code.map(|line| texts.iter().map(|text| line.matches(text).count()).sum::<usize>()).sum();
        (path.strip_prefix(&source).expect("below it").display().to_string(), count)
    };
    let mut found: Vec<(String, usize)> =
        files(&source).into_iter().map(count).filter(|(_, count)| *count > 0).collect();
    found.sort();
    found
}

fn known(places: &[Place]) -> Vec<(String, usize)> {
    places.iter().map(|(file, count, _)| ((*file).to_owned(), *count)).collect()
}

#[test]
fn numbers_become_domains_only_where_the_policy_was_or_is_asked() {
    let method = ["machine().domain(", "machine.domain("];
    assert_eq!(occurrences(&method), known(&LOOK_UPS));
    assert_eq!(occurrences(&["find_domain("]), known(&FINDS));
}

#[test]
fn the_table_is_asked_in_one_place() {
    assert_eq!(occurrences(&["allows("]), known(&QUESTIONS));
}
