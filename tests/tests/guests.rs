//! Unikernels that try what the virtual machine offers, what it must refuse, and their neighbours' patience.

use std::collections::HashMap;

use mote_tests::{Guest, Until, boot, boot_configuration, configuration, elf, machine};
use mote_tools::boot::machine::Machine;
use mote_tools::build;
use mote_tools::cli::Hypervisor;
use mote_tools::console::Line;
use mote_tools::report::State;
use mote_tools::session::Wish;

/// What `guests/rogue` tries and survives.
const MISBEHAVIOURS: [&str; 13] = [
    "outside",
    "foreign-devices",
    "fetch",
    "maintenance",
    "smc",
    "hvc",
    "hypercalls",
    "psci",
    "hints",
    "priorities",
    "storm",
    "stray",
    "mmio",
];

/// Guests that try everything that a virtual machine has, and everything that it has not.
fn try_everything(machine: &Machine) {
    let guests = [
        Guest::unikernel("rogue", "rogue"),
        Guest::unikernel("registers", "registers"),
        Guest::unikernel("smp", "smp").vcpus(4).memory(2048),
        Guest::unikernel("timer", "timer"),
        Guest::unikernel("tiny", "hello").memory(64),
    ];
    let run = boot(&guests, machine, Until::AllEnded);
    for misbehaviour in MISBEHAVIOURS {
        run.assert_finished("rogue", &format!("rogue: {misbehaviour} ok"));
    }
    run.assert_finished("registers", "registers: ok");
    run.assert_finished("smp", "smp: ok");
    assert!(run.said("smp", "smp: memory is moved, filled and compared rightly"), "{run}");
    run.assert_finished("timer", "timer: ok");
    run.assert_finished("tiny", "hello: a unikernel with 1 vCPU and 64 KiB");
}

#[test]
fn everything_is_answered_as_the_architecture_says_on_the_oldest_cpu() {
    try_everything(&Machine { cpu: "cortex-a53".into(), ..machine(2, 1024) });
}

#[test]
fn everything_is_answered_as_the_architecture_says_on_the_newest_cpu() {
    try_everything(&Machine { cpu: "max".into(), ..machine(1, 1024) });
}

#[test]
fn everything_is_answered_as_the_architecture_says_on_a_server_s_cpu() {
    try_everything(&Machine { cpu: "neoverse-n1".into(), ..machine(2, 1024) });
}

/// On a machine whose ticks are instructions, so that every moment there is comes.
#[test]
fn a_timer_wakes_its_vcpu_whenever_it_fires() {
    let run = boot(&[Guest::unikernel("timer", "timer")], &Machine::for_measuring(), Until::AllEnded);
    run.assert_finished("timer", "timer: deadlines at every moment fired");
}

#[test]
fn a_guest_s_end_concerns_nobody_else() {
    const CRASHES: [&str; 3] = ["panic", "undefined", "stack"];
    let rogue = |what: &str| Guest::unikernel(what, "rogue").arguments(&format!("do={what}"));
    let mut guests: Vec<Guest> = CRASHES.map(rogue).into();
    // These never end.
    guests.extend(["fault-loop", "idle"].map(rogue));
    guests.push(Guest::unikernel("spinner", "spinner"));
    guests.extend(["reboot", "flood"].map(rogue));
    guests.push(Guest::unikernel("hello", "hello"));
    let run = boot(&guests, &machine(2, 1024), Until::Ended(CRASHES.len() + 3));
    for crash in CRASHES {
        assert_eq!(run.report(crash).state, State::Crashed, "{crash}\n{run}");
        assert!(!run.report(crash).reason.is_empty());
    }
    assert_eq!(run.report("reboot").state, State::Reboot);
    assert_eq!(run.report("flood").state, State::Shutdown);
    run.assert_finished("hello", "hello: a unikernel");
}

#[test]
fn time_is_shared_by_weight() {
    let spinner = |name| Guest::unikernel(name, "spinner").arguments("report=100");
    let guests = [spinner("light"), spinner("heavy").properties("mote,weight = <512>;")];
    let machine = Machine::for_measuring();
    let config = configuration(&guests, &machine);
    let mut units = HashMap::new();
    // A second of virtual time is enough for slices of milliseconds.
    let seen_enough = |line: &Line| {
        let Some((done, time)) = line.text.strip_prefix("spinner: ").and_then(progress) else {
            return Wish::GoOn;
        };
        units.insert(line.speaker.clone().unwrap_or_default(), done);
        if time >= 1000 { Wish::Finish } else { Wish::GoOn }
    };
    let run = boot_configuration(&config, &machine, Hypervisor::Mote, Until::AllEnded, seen_enough);
    let (light, heavy) = (units["light"], units["heavy"]);
    assert!(heavy * 10 > light * 17 && heavy * 10 < light * 23, "{heavy} and {light}\n{run}");
}

#[test]
fn an_elf_file_is_loaded_and_entered_where_it_says() {
    let image = build::guest("raw").expect("it compiles").image;
    let bytes = std::fs::read(image).expect("readable");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw.elf");
    // Not where an Image would go.
    std::fs::write(&path, elf(0x4020_3000, &bytes)).expect("written");
    let run = boot(&[Guest::file("raw", &path).memory(8 << 10)], &machine(1, 1024), Until::AllEnded);
    run.assert_finished("raw", "raw: ok");
}

/// One image each, which two hypervisors run.
#[test]
fn unikernels_talk_through_a_grant_and_an_event_channel_here_as_on_xen() {
    let guest = |name: &str, peer: u32, properties: &str| {
        let properties = format!("xen,enhanced = \"no-xenstore\"; {properties}");
        let guest = Guest::unikernel(name, name).memory(8 << 10).properties(&properties);
        guest.arguments(&format!("peer={peer} rounds=50"))
    };
    let (ping, pong) = (guest("ping", 2, "mote,peers = \"pong\";"), guest("pong", 1, ""));
    let machine = machine(2, 1024);
    let config = configuration(&[ping, pong], &machine);
    for hypervisor in [Hypervisor::Mote, Hypervisor::Xen] {
        let run = boot_configuration(&config, &machine, hypervisor, Until::AllEnded, |_| Wish::GoOn);
        assert!(run.said("ping", "ping: ok"), "{hypervisor:?}\n{run}");
        assert!(run.said("pong", "pong: 50 rounds"), "{hypervisor:?}\n{run}");
        assert!(run.said("pong", "pong: ok"), "{hypervisor:?}\n{run}");
    }
}

/// What the configuration did not join stays apart.
#[test]
fn strangers_cannot_talk() {
    let ping = Guest::unikernel("ping", "ping").properties("xen,enhanced;").arguments("peer=2");
    let stranger = Guest::unikernel("stranger", "spinner");
    let run = boot(&[ping, stranger], &machine(1, 1024), Until::Ended(1));
    assert_eq!(run.report("ping").state, State::Crashed, "{run}");
    assert!(run.said("ping", "panic: a port: Errno(1)"), "{run}");
}

/// Of `N units in M ms`, N and M.
fn progress(text: &str) -> Option<(u64, u64)> {
    let (done, rest) = text.split_once(" units in ")?;
    Some((done.parse().ok()?, rest.strip_suffix(" ms")?.parse().ok()?))
}

#[test]
fn an_image_that_knows_only_xen_s_memory_map_runs_here_as_on_xen() {
    let image = build::guest("raw").expect("it compiles").image;
    let guests = [Guest::file("raw", &image).memory(8 << 10)];
    let machine = machine(1, 1024);
    let config = configuration(&guests, &machine);
    for hypervisor in [Hypervisor::Mote, Hypervisor::Xen] {
        let run = boot_configuration(&config, &machine, hypervisor, Until::AllEnded, |_| Wish::GoOn);
        assert!(run.said("raw", "raw: ok"), "{hypervisor:?}\n{run}");
    }
}
