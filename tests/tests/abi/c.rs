//! A C compiler that is asked for numbers.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use mote_tools::setup::Paths;

/// Every header that a module of the crate is named after.
const HEADERS: [&str; 14] = [
    "domctl.h",
    "errno.h",
    "event_channel.h",
    "features.h",
    "grant_table.h",
    "hvm/hvm_op.h",
    "hvm/params.h",
    "io/console.h",
    "memory.h",
    "sched.h",
    "sysctl.h",
    "vcpu.h",
    "version.h",
    "xen.h",
];
/// What stands before an answer in the compiler's assembly.
const MARK: &str = "->";

/// A number that is known here and in C.
#[derive(Clone, Debug)]
pub struct Question {
    /// What it is, for people.
    pub what: String,
    /// How C writes it.
    pub expression: String,
    /// What it is here. One of 64 bits without a sign stands for the signed one with the same bits.
    pub here: i64,
}

impl Question {
    /// That C has another number.
    pub fn difference(&self, answer: i64) -> String {
        format!("{}: {} here, {answer} in C ({})", self.what, self.here, self.expression)
    }
}

/// What C, for arm64 and with the headers in the directory `headers`, answers to each question.
///
/// Nothing is run: the compiler writes each number into its assembly.
pub fn answers(questions: &[Question], headers: &Path) -> Vec<i64> {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("questions.c");
    fs::write(&source, program(questions)).expect("written");
    let mut compiler = Command::new(Paths::CROSS_COMPILER);
    compiler.args(["-std=gnu11", "-ffreestanding", "-S", "-o", "-", "-isystem"]).arg(headers).arg(&source);
    let output = compiler.output().expect("the compiler starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "C does not know what is asked for (each line begins with what it is here):\n{errors}"
    );
    let assembly = String::from_utf8_lossy(&output.stdout);
    let answers = assembly.lines().filter_map(|line| line.trim().strip_prefix(MARK));
    let answers: Vec<i64> = answers.map(|answer| answer.parse().expect("a number")).collect();
    assert_eq!(answers.len(), questions.len(), "{assembly}");
    answers
}

fn program(questions: &[Question]) -> String {
    // What is for tools is seen as well, and the newest interface.
    let mut program = String::from("#include <stddef.h>\n#include <stdint.h>\n#define __XEN_TOOLS__ 1\n");
    for header in HEADERS {
        let _ = writeln!(program, "#include <xen/{header}>");
    }
    program += "void numbers(void) {\n";
    for Question { what, expression, .. } in questions {
        let _ = writeln!(program, "#line 1 \"{what}\"");
        let _ = writeln!(program, "__asm__ volatile(\"\\n{MARK}%c0\" : : \"i\" ((long)({expression})));");
    }
    program + "}\n"
}
