//! The device-tree compiler: from source text to a tree, its errors in our form.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use miette::miette;

use super::directory;
use super::mistake::{Mistake, Place};
use super::positions::{Positions, parse_location};
use crate::failure::{Failure, Result};

/// The compiler's name.
const DTC: &str = "dtc";

/// What a file compiles to.
#[derive(Debug)]
pub struct Compiled {
    /// The tree, unless the text is no device-tree source at all.
    pub tree: Option<DeviceTree>,
    /// What the compiler itself finds wrong.
    pub mistakes: Vec<Mistake>,
    /// Where everything in the tree was written.
    pub positions: Positions,
}

/// Compiles the file at `path`.
///
/// # Errors
///
/// The compiler is missing. What is wrong with the file is in the value.
pub fn compile(path: &Path) -> Result<Compiled> {
    // Forced, it writes a tree that breaks a rule too, so that the other mistakes are found as well.
    let output = run(path, &["-f", "-q", "-q", "-O", "dtb"])?;
    let annotated = run(path, &["-f", "-q", "-q", "-O", "dts", "-T", "-T"])?;
    let mut positions = Positions::read(&String::from_utf8_lossy(&annotated.stdout), directory(path));
    let mut mistakes = Vec::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        if let Some(mistake) = read_error(line) {
            if let Place::Text(span) = &mistake.place {
                positions.add_text(&span.file);
            }
            mistakes.push(mistake);
        }
    }
    let tree = Fdt::new(&output.stdout).ok().map(|fdt| DeviceTree::from_fdt(&fdt));
    if tree.is_none() && mistakes.is_empty() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        mistakes.push(Mistake {
            place: Place::File,
            what: format!("{}: {words}", path.display()),
            help: "this is not device-tree source that dtc can read".into(),
        });
    }
    Ok(Compiled { tree, mistakes, positions })
}

fn run(path: &Path, options: &[&str]) -> Result<Output> {
    // In the file's own directory, so that what it includes and what the compiler prints are
    // relative to it; with `./`, so that a name with a leading dash is no option.
    let mut file = OsString::from("./");
    file.push(path.file_name().unwrap_or_default());
    Command::new(DTC)
        .args(["-I", "dts"])
        .args(options)
        .arg(file)
        .current_dir(directory(path))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::unable(miette!(
                help = "`cargo run -- setup` installs it (Debian: apt install device-tree-compiler)",
                "the device-tree compiler {DTC} does not start: {error}"
            ))
        })
}

/// A line of the compiler's error output as a mistake, or nothing for a line that only says that
/// there were some.
fn read_error(line: &str) -> Option<Mistake> {
    let line = ["Error: ", "Lexical error: "].iter().find_map(|p| line.strip_prefix(p)).unwrap_or(line);
    let (location, words) = line.split_once(' ')?;
    let span = parse_location(location.trim_end_matches(':'))?;
    let (what, help) = match words.split_once("): ") {
        Some((rule, words)) if rule.contains("duplicate_node_names") => (
            words.replace("Duplicate node name", "another node here has the same name"),
            "give each guest a name of its own".into(),
        ),
        Some((rule, words)) if rule.contains("duplicate_property_names") => {
            (words.into(), "keep one of the two".into())
        }
        Some((_, words)) => (words.into(), String::new()),
        None if words == "syntax error" => {
            (words.into(), "look just before this place for a missing `;`, `}`, `>` or quotation mark".into())
        }
        None => (words.into(), String::new()),
    };
    Some(Mistake { place: Place::Text(span), what, help })
}
