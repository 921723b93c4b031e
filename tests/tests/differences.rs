//! One guest on two hypervisors: what `guests/probe` is answered here is what Xen answers, but for what `differences.txt` lists
//! with a reason.

use std::collections::HashSet;
use std::fmt::Write;

use mote_tests::{Guest, Run, Until, boot_configuration, configuration, machine};
use mote_tools::cli::Hypervisor;
use mote_tools::console::Line;
use mote_tools::session::Wish;

/// The list: see there for what its lines mean.
const LIST: &str = include_str!("../differences.txt");
/// With fewer answers the guest cannot have asked for everything.
const PROBES_MIN: usize = 2000;

/// A line of the list.
struct Entry {
    line: usize,
    name: &'static str,
    mote: &'static str,
    xen: &'static str,
}

/// A question that the two answer differently.
struct Difference<'a> {
    name: &'a str,
    mote: &'a str,
    xen: &'a str,
}

impl Entry {
    fn explains(&self, difference: &Difference) -> bool {
        matches(self.name, difference.name) && matches(self.mote, difference.mote) && matches(self.xen, difference.xen)
    }
}

/// What the list has.
fn entries() -> Vec<Entry> {
    let lines = (1..).zip(LIST.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let entry = |(line, text): (usize, &'static str)| {
        let fields: Vec<&str> = text.split(" | ").map(str::trim).collect();
        let [name, mote, xen, why] = fields[..] else {
            panic!("differences.txt:{line} is not `name | Mote's value | Xen's value | why`");
        };
        assert!(!why.is_empty(), "differences.txt:{line} gives no reason");
        Entry { line, name, mote, xen }
    };
    lines.map(entry).collect()
}

/// Whether `text` is `pattern`, in which each `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.any(|at| matches(rest, &text[at..]))
}

/// Names and answers.
fn answers(run: &Run) -> Vec<(&str, &str)> {
    let answer = |line| str::strip_prefix(line, "probe: ")?.split_once(" = ");
    run.of("probe").filter_map(answer).collect()
}

fn ask(hypervisor: Hypervisor) -> Run {
    let guest = |name: &str, arguments: &str| {
        let guest = Guest::unikernel(name, "probe").memory(8 << 10).arguments(arguments);
        guest.properties("xen,enhanced = \"no-xenstore\"; mote,peers = \"other\";")
    };
    let other = guest("other", "self=2 peer=1 role=other").properties("xen,enhanced = \"no-xenstore\";");
    let guests = [guest("probe", "self=1 peer=2").vcpus(2), other];
    let machine = machine(2, 1024);
    let over = |line: &Line| {
        let over = ["probe: done", "panic: ", "crash: sp"].iter().any(|end| line.text.starts_with(end));
        if over { Wish::Finish } else { Wish::GoOn }
    };
    let run = boot_configuration(&configuration(&guests, &machine), &machine, hypervisor, Until::AllEnded, over);
    assert!(run.said("probe", "probe: done"), "{hypervisor:?}\n{run}");
    run
}

#[test]
fn a_guest_is_answered_here_as_on_xen_but_for_what_is_listed() {
    let runs = [Hypervisor::Mote, Hypervisor::Xen].map(ask);
    let [mote, xen] = [&runs[0], &runs[1]].map(answers);
    assert!(mote.len() >= PROBES_MIN, "only {} questions were asked", mote.len());
    let names = |answers: &[(&str, &str)]| answers.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&mote), names(&xen), "not the same questions were asked");
    let different: HashSet<&str> = mote.iter().map(|(name, _)| *name).collect();
    assert_eq!(different.len(), mote.len(), "two questions have one name");

    let pairs = mote.iter().zip(&xen).filter(|(mote, xen)| mote.1 != xen.1);
    let differences: Vec<_> = pairs.map(|(&(name, mote), &(_, xen))| Difference { name, mote, xen }).collect();
    let entries = entries();
    let mut wrong = String::new();
    for difference in differences.iter().filter(|difference| !entries.iter().any(|entry| entry.explains(difference))) {
        let Difference { name, mote, xen } = difference;
        let _ = writeln!(wrong, "not listed: {name} | {mote} | {xen} |");
    }
    for entry in entries.iter().filter(|entry| !differences.iter().any(|difference| entry.explains(difference))) {
        let _ = writeln!(wrong, "differences.txt:{} is no difference any more: {}", entry.line, entry.name);
    }
    assert!(wrong.is_empty(), "{} questions, {} differences\n{wrong}", mote.len(), differences.len());
}

#[test]
fn a_pattern_stands_for_what_it_should() {
    assert!(matches("a*c", "abc") && matches("a*c", "ac") && matches("*", "") && matches("a**d", "abcd"));
    assert!(matches("a b", "a b") && matches("*x*", "axa"));
    assert!(!matches("a*c", "abd") && !matches("abc", "ab") && !matches("*x", "xa"));
}
