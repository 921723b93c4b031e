//! Templates and clones: what `guests/cloner` tries as the control domain.

use mote_tests::{Run, Until, boot_configuration, machine};
use mote_tools::boot::machine::Machine;
use mote_tools::cli::Hypervisor;
use mote_tools::config::Config;
use mote_tools::session::Wish;
use mote_tools::setup::{self, Need};

/// What the template is told.
const ARGUMENTS: &str = "ballast=256 alive=40";
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

/// The configuration with these arguments of the template in place of its own, on this machine.
fn cloner(arguments: &str, machine: &Machine) -> Run {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let text = include_str!("../../dtb/clones.dts");
    assert!(text.contains(ARGUMENTS), "other arguments");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("clones.dts");
    std::fs::write(&path, text.replace(ARGUMENTS, arguments)).expect("written");
    let config = Config::load(&path, machine.memory).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    boot_configuration(&config, machine, Hypervisor::Mote, Until::AllEnded, |_| Wish::GoOn)
}

/// A machine so small that not all clones can have their own of all that they write to.
fn clones() -> Run {
    cloner(ARGUMENTS, &machine(1, 64))
}

#[test]
fn clones_share_what_they_do_not_write_and_nothing_else() {
    let run = clones();
    for attempt in TRIES {
        assert!(run.said("control", &format!("cloner: {attempt} ok")), "{attempt}\n{run}");
    }
    let seeds: Vec<&str> = run.lines.iter().filter_map(|line| Some(line.text.split_once("seed ")?.1)).collect();
    assert!(matches!(seeds[..], [one, other] if one != other), "{run}");
    run.assert_all_free();
}

/// More than there are VMIDs of 8 bits: no secret is lost, or found by another. QEMU's TLBs know no VMIDs: they forget everything when the
/// one in force changes, and whenever `TCR_EL1` is written (`vttbr_write` and `vmsa_tcr_el12_write` in its `target/arm/helper.c`). So this
/// shows that domains get and lose theirs and go on, on all pCPUs at once, but would not notice TLBs that were not told to forget: that
/// nothing stale is ever found is for the model in `hypervisor/core/src/vmid.rs` to show, which does notice.
fn try_crowd(cpu: &str) {
    let run = cloner("ballast=8 crowd=600", &Machine { cpu: cpu.into(), ..machine(2, 512) });
    assert!(run.said("control", "cloner: crowd ok"), "{run}");
    run.assert_all_free();
}

#[test]
fn there_may_be_more_domains_than_vmids() {
    try_crowd("cortex-a72");
}

#[test]
fn there_may_be_as_many_where_vmids_are_longer() {
    try_crowd("max");
}
