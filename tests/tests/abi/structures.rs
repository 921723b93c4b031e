//! What C calls the structures and fields.

use std::collections::{BTreeMap, BTreeSet};

use xen_abi::{Layout, domctl, event_channel, grant_table, hvm, memory, sched, sysctl, vcpu, version, xen};

use super::c::Question;
use super::source::Declared;

const MODULES: [(&str, &[Layout]); 10] = [
    ("domctl", domctl::LAYOUTS),
    ("event_channel", event_channel::LAYOUTS),
    ("grant_table", grant_table::LAYOUTS),
    ("hvm", hvm::LAYOUTS),
    ("memory", memory::LAYOUTS),
    ("sched", sched::LAYOUTS),
    ("sysctl", sysctl::LAYOUTS),
    ("vcpu", vcpu::LAYOUTS),
    ("version", version::LAYOUTS),
    ("xen", xen::LAYOUTS),
];

/// Fields that C calls otherwise, because the name is a word of Rust's, says too little, or is a union's.
const NAMES: [(&str, &str); 14] = [
    ("domctl::BindPtIrq.spi", "u.spi.spi"),
    ("domctl::CoreRegs.x", "x0"),
    ("domctl::SchedulerOp.weight", "u.credit2.weight"),
    ("domctl::SchedulerOp.cap", "u.credit2.cap"),
    ("event_channel::Status.peer", "u.virq"),
    ("event_channel::Status.peer_port", "u.interdomain.port"),
    ("grant_table::CacheFlush.place", "a"),
    ("grant_table::CopyEnd.place", "u"),
    ("grant_table::Map.gref", "ref"),
    ("memory::AddToPhysmapBatch.foreign_domid", "u.foreign_domid"),
    ("memory::Exchange.input", "in"),
    ("memory::Exchange.output", "out"),
    ("vcpu::RegisterRunstateArea.address", "addr"),
    ("event_channel::ControlBlock.reserved", "_rsvd"),
];
/// Fields that stand for several of C's in a row: that the next begins where it does compares their size.
const ROWS: [&str; 1] = ["domctl::CoreRegs.x"];
/// What the names of fields begin with that fill holes in C. Their neighbours' places are compared, and so theirs.
const PADDING: [&str; 3] = ["pad", "reserved", "rsvd"];

/// What is to be asked about structures.
///
/// # Panics
///
/// If one that is declared is not in the list, or the list has what is not there.
pub fn questions(declared: &Declared) -> Vec<Question> {
    let listed: BTreeSet<String> = MODULES.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(listed, declared.with_structures, "the modules with structures that are compared, and that there are");
    let mut names = BTreeMap::from(NAMES);
    let mut questions = Vec::new();
    for (module, layouts) in MODULES {
        for layout in layouts {
            for c in c_names(layout) {
                of_structure(&format!("{module}::{}", layout.name), layout, c, &names, &mut questions);
            }
        }
    }
    names.retain(|name, _| !questions.iter().any(|question| question.what.starts_with(&format!("{name}:"))));
    assert!(names.is_empty(), "there are no such fields: {names:?}");
    questions
}

/// Its documentation says what C calls it, `like this`.
fn c_names(layout: &Layout) -> Vec<&'static str> {
    let quoted = layout.doc.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|text| text.starts_with("struct ")).collect();
    assert!(!names.is_empty(), "the documentation of {} does not say `struct …`", layout.name);
    names
}

fn of_structure(
    name: &str,
    layout: &Layout,
    c: &str,
    names: &BTreeMap<&str, &'static str>,
    questions: &mut Vec<Question>,
) {
    let mut ask = |what: String, expression: String, here: usize| {
        questions.push(Question { what, expression, here: here as i64 });
    };
    ask(format!("{name}: size"), format!("sizeof({c})"), layout.size);
    for &(field, offset, size) in layout.fields {
        let path = format!("{name}.{field}");
        let member = match names.get(path.as_str()) {
            Some(member) => member,
            None if PADDING.iter().any(|padding| field.starts_with(padding)) => continue,
            None => field,
        };
        ask(format!("{path}: offset"), format!("offsetof({c}, {member})"), offset);
        if !ROWS.contains(&path.as_str()) {
            ask(format!("{path}: size"), format!("sizeof((({c} *)0)->{member})"), size);
        }
    }
}
