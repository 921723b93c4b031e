//! Very many machines at once: each is launched by a client that says half of what it wants, and all answer when they hear the rest.
//!
//! Ten thousand take minutes and 4 GiB of the host's, so they come by name alone:
//! `cargo test --package mote-tests --test crowd -- --ignored --nocapture`.

use mote_tests::{Guest, Run, Until, boot_configuration, configuration, machine};
use mote_tools::boot::machine::Machine;
use mote_tools::cli::Hypervisor;
use mote_tools::session::Wish;

/// So many clients of one service, on a driver domain with so many KiB.
fn crowd(clients: u32, driver: u64, machine: &Machine) -> Run {
    let service = "xen,enhanced; interface { compatible = \"mote,vif\"; mote,ip = \"10.0.2.22\"; mote,service = <80>;
        mote,machines = <65535>; mote,life = <600000>; mote,per-client = <0>; mote,clone-memory = <512>; };";
    let client = "xen,enhanced; interface { compatible = \"mote,vif\"; mote,ip = \"10.0.2.30\"; };";
    let ask = format!("ip=10.0.2.30/24 service=10.0.2.22 clients={clients}");
    let guests = [
        Guest::unikernel("driver", "driver").memory(driver).properties("xen,enhanced; mote,driver;"),
        Guest::unikernel("dust", "http").arguments("ip=10.0.2.22/24 patience=600").properties(service),
        Guest::unikernel("crowd", "crowd").memory(4096).arguments(&ask).properties(client),
    ];
    let config = configuration(&guests, machine);
    boot_configuration(&config, machine, Hypervisor::Mote, Until::Ended(1), |_| Wish::GoOn)
}

/// All clients had a machine each at once, and got an answer.
fn assert_all_answered(run: &Run, clients: u32) {
    for what in ["alive, 1 domains".into(), format!("answered, {clients} domains")] {
        let line = format!("crowd: {clients} of {clients} {what}");
        assert!(run.said("crowd", &line), "{line}\n{run}");
    }
}

#[test]
fn a_thousand_machines_are_alive_at_once_and_all_answer() {
    let clients = 1000;
    let run = crowd(clients, 8192, &machine(1, 1024));
    assert_all_answered(&run, clients);
}

#[test]
#[ignore = "takes minutes, and 4 GiB of the host's memory"]
fn ten_thousand_machines_are_alive_at_once_on_4_gib_and_all_answer() {
    let clients = 10_000;
    let run = crowd(clients, 20 << 10, &Machine { icount: true, ..machine(1, 4096) });
    assert_all_answered(&run, clients);
    for line in run.lines.iter().filter(|line| line.text.contains("crowd: ")) {
        println!("{}", line.text);
    }
}
