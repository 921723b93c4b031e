//! Templates and clones: what `guests/cloner` tries as the control domain.

use std::path::Path;

use mote_tests::{Run, Until, boot_configuration, machine};
use mote_tools::cli::Hypervisor;
use mote_tools::config::Config;
use mote_tools::session::Wish;
use mote_tools::setup::{self, Need};

/// What it tries, in its order.
const TRIES: [&str; 10] = [
    "refusals",
    "identity",
    "isolation",
    "events",
    "limits",
    "balloon",
    "speed",
    "density",
    "exhaustion",
    "destruction",
];

/// A machine so small that not all clones can have their own of all that they write to.
fn clones() -> Run {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let machine = machine(1, 64);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dtb/clones.dts");
    let config = Config::load(&path, machine.memory).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    boot_configuration(&config, &machine, Hypervisor::Mote, Until::AllEnded, |_| Wish::GoOn)
}

#[test]
fn clones_share_what_they_do_not_write_and_nothing_else() {
    let run = clones();
    for attempt in TRIES {
        assert!(run.said("control", &format!("cloner: {attempt} ok")), "{attempt}\n{run}");
    }
    let seeds: Vec<&str> = run.lines.iter().filter_map(|line| Some(line.text.split_once("seed ")?.1)).collect();
    assert!(matches!(seeds[..], [one, other] if one != other), "{run}");
    let machine = run.heard.machine().expect("the machine's report");
    assert_eq!(machine.free_bytes, machine.pool_bytes, "frames are lost\n{run}");
}
