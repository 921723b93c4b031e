//! The driver domain is killed while guests use it: what they had begun goes on, and nothing is lost.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mote_api::model::Action;
use mote_tests::{Guest, Run, boot_beside_hearing, configuration, hear_where, machine};
use mote_tools::console::Line;
use mote_tools::report::State;
use mote_tools::running::Client;
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);
/// As often as anybody likes to ask.
const FOR_EVER: u32 = 1_000_000;

/// Waits until both guests have begun and ended something, which they have found right or wrong.
fn wait_for_progress(lines: &Receiver<Line>) {
    // What was said before is no progress.
    while lines.try_recv().is_ok() {}
    hear_both_twice(lines, ["ask", "disk"], "wrong");
}

/// Waits until each of two guests has said a text twice.
fn hear_both_twice(lines: &Receiver<Line>, guests: [&str; 2], text: &str) {
    let mut times = [0; 2];
    hear_where(lines, SOON, &format!("{guests:?} both say `{text}` twice"), |line| {
        for (times, guest) in times.iter_mut().zip(guests) {
            *times += u32::from(line.speaker.as_deref() == Some(guest) && line.text.contains(text));
        }
        times.iter().all(|times| *times >= 2)
    });
}

/// Kills the driver domain `times` times, each time after both guests have gone on since the last.
fn kill(client: &Client, lines: &Receiver<Line>, times: u32) {
    wait_for_progress(lines);
    // The first time the control domain gets tables for where it looks at devices; it keeps them.
    let mut free = None;
    for time in 0..times {
        // It makes no difference how it ends.
        if time % 3 == 1 {
            client.shut_down("driver", Action::Poweroff).expect("it is asked");
        } else {
            client.destroy("driver").expect("it ends and begins");
        }
        wait_for_progress(lines);
        assert_eq!(client.domain("driver").expect("it is back").id, 1);
        let left = client.machine().expect("an answer").free_kib;
        assert_eq!(left, *free.get_or_insert(left), "memory is lost");
    }
}

fn guests(file: &Path) -> [Guest; 4] {
    let file = file.display();
    let vif = "xen,enhanced; vif { compatible = \"mote,vif\"; };";
    let vbd =
        format!("xen,enhanced; disk {{ compatible = \"mote,vbd\"; mote,vdev = \"xvda\"; mote,file = \"{file}\"; }};");
    let ask = format!("ip=10.0.2.30/24 server=10.0.2.31 bytes=4000000 times={FOR_EVER}");
    [
        Guest::unikernel("driver", "driver").properties("xen,enhanced; mote,driver;").memory(4096),
        Guest::unikernel("answer", "netload").properties(vif).arguments("ip=10.0.2.31/24").memory(2048),
        Guest::unikernel("ask", "netload").properties(vif).arguments(&ask).memory(2048),
        Guest::unikernel("disk", "diskload")
            .properties(&vbd)
            .arguments(&format!("disk=xvda kilobytes=1024 times={FOR_EVER}"))
            .memory(2048),
    ]
}

fn run(times: u32) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("disk.img");
    std::fs::File::create(&file).and_then(|file| file.set_len(1 << 20)).expect("a file");
    let machine = machine(2, 512);
    let config = configuration(&guests(&file), &machine);
    boot_beside_hearing(&config, &machine, |_, client, lines| kill(client, lines, times))
}

fn nothing_is_lost(times: u32) {
    let run = run(times);
    assert_eq!(run.end, End::PoweredOff, "{run}");
    for guest in ["ask", "disk"] {
        let words = if guest == "ask" { "4000000 bytes, 0 wrong" } else { "diskload: 0 sectors are wrong" };
        let all: Vec<_> = run.of(guest).filter(|line| line.contains("wrong")).collect();
        assert!(all.iter().all(|line| line.contains(words)), "{run}");
        assert!(all.len() > 2 * times as usize, "{run}");
    }
    let lives = run.heard.domains().filter(|domain| domain.name == "driver");
    assert!(lives.filter(|domain| domain.state == State::Shutdown).count() > times as usize, "{run}");
}

#[test]
fn a_driver_domain_that_is_killed_comes_back_and_guests_go_on() {
    nothing_is_lost(3);
}

#[test]
fn event_channels_of_the_configuration_are_there_again() {
    let end = |own: &str, other: &str| {
        format!("{own}: channel {{ compatible = \"xen,evtchn-v1\"; xen,evtchn = <10 &{other}>; }};")
    };
    let guests = [
        Guest::unikernel("driver", "driver").properties("xen,enhanced; mote,driver;").memory(4096),
        Guest::unikernel("second", "ping")
            .properties(&format!("xen,enhanced; mote,driver; {}", end("one", "two")))
            .arguments("static=10"),
        Guest::unikernel("guest", "ping")
            .properties(&format!("xen,enhanced; {}", end("two", "one")))
            .arguments("static=10"),
    ];
    let machine = machine(1, 512);
    let run = boot_beside_hearing(&configuration(&guests, &machine), &machine, |_, client, lines| {
        for _ in 0..3 {
            hear_both_twice(lines, ["second", "guest"], "was woken");
            client.destroy("second").expect("it ends and begins");
            while lines.try_recv().is_ok() {}
        }
        client.destroy("guest").expect("it ends");
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
}

#[test]
#[ignore = "ten times as three times, and longer"]
fn a_driver_domain_that_is_killed_ten_times_comes_back_each_time() {
    nothing_is_lost(10);
}
