//! The first command that anybody types.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn mote(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a web server on this machine answers.
fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("an answer");
    page
}

#[test]
fn without_arguments_linux_and_a_unikernel_serve_pages_until_they_are_shut_down() {
    let mut run =
        command(&["run", "--timeout", "240"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let machine = run.id().to_string();
    let addresses =
        BufReader::new(run.stderr.take().expect("a pipe")).lines().map_while(Result::ok).filter_map(|line| {
            let (guest, address) = line.strip_prefix("mote: ")?.split_once(" is at http://")?;
            Some((guest.to_owned(), address.trim_end_matches('/').to_owned()))
        });
    let addresses: Vec<_> = addresses.take(2).collect();
    let mut lines = BufReader::new(run.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    for guest in ["web", "linux"] {
        let ready = format!("{guest}: ready: http://10.0.2.");
        // The unikernel is the first: Linux takes longer.
        assert!(lines.any(|line| line.starts_with(&ready)), "{guest} is not ready");
    }
    for guest in ["web", "linux"] {
        let (_, address) = addresses.iter().find(|(name, _)| name == guest).expect("it is told where it is");
        let page = get(address);
        assert!(page.contains(" 200 ") && page.contains("<!doctype html>"), "{guest}: {page}");
    }
    let (status, said) = mote(&["shutdown", "--wait", "--machine", &machine, "linux", "web"]);
    assert_eq!(status, Some(0), "{said}");
    let rest: Vec<_> = lines.collect();
    assert_eq!(run.wait().expect("it ends").code(), Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("memory touched")), "{rest:?}");
}

#[test]
fn what_guests_cost_is_shown_when_they_have_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("costs.json");
    let (status, said) = mote(&["run", HELLO, "--json", json.to_str().expect("text")]);
    assert_eq!(status, Some(0), "{said}");
    for text in ["linux: Linux linux 6.12", "linux: CPUs: 2", "hello: hello: a unikernel", "memory touched"] {
        assert!(said.contains(text), "`{text}` is missing:\n{said}");
    }
    let costs = std::fs::read_to_string(json).expect("written");
    assert!(costs.contains("\"name\": \"linux\"") && costs.contains("\"kind\": \"machine\""), "{costs}");
}

#[test]
fn the_same_configuration_runs_on_xen() {
    let (status, said) = mote(&["run", HELLO, "--hypervisor", "xen"]);
    assert_eq!(status, Some(0), "{said}");
    for text in ["linux: Linux linux 6.12", "hello: hello: a unikernel"] {
        assert!(said.contains(text), "`{text}` is missing:\n{said}");
    }
}

/// Guests that end by themselves.
const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dtb/hello.dts");

#[test]
fn time_runs_out_with_a_status_of_its_own() {
    let (status, said) = mote(&["run", "--timeout", "1", "--icount"]);
    assert_eq!(status, Some(124), "{said}");
}
