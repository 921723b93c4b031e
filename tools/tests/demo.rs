//! The first command that anybody types.

use std::process::{Command, Stdio};

fn mote(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_mote")).args(arguments).stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn without_arguments_linux_and_a_unikernel_run_and_their_costs_are_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("costs.json");
    let (status, said) = mote(&["run", "--json", json.to_str().expect("text")]);
    assert_eq!(status, Some(0), "{said}");
    for text in ["linux: Linux linux 6.12", "linux: CPUs: 2", "hello: hello: a unikernel", "memory touched"] {
        assert!(said.contains(text), "`{text}` is missing:\n{said}");
    }
    let costs = std::fs::read_to_string(json).expect("written");
    assert!(costs.contains("\"name\": \"linux\"") && costs.contains("\"kind\": \"machine\""), "{costs}");
}

#[test]
fn the_same_configuration_runs_on_xen() {
    let (status, said) = mote(&["run", "--hypervisor", "xen"]);
    assert_eq!(status, Some(0), "{said}");
    for text in ["linux: Linux linux 6.12", "hello: hello: a unikernel"] {
        assert!(said.contains(text), "`{text}` is missing:\n{said}");
    }
}

#[test]
fn time_runs_out_with_a_status_of_its_own() {
    let (status, said) = mote(&["run", "--timeout", "1", "--icount"]);
    assert_eq!(status, Some(124), "{said}");
}
