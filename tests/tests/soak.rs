//! Domains that come and go for long: what they had is free again, to the last page, and the control domain has its memory back.
//!
//! They take minutes, so they run by name alone: `cargo test --package mote-tests --test soak -- --ignored --nocapture`. The short
//! version of them is in `api.rs`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use mote_tests::{Guest, boot_beside, configuration_with, definition, machine, request, wait, with_interface};
use mote_tools::build;
use mote_tools::running::{Client, State};
use mote_tools::setup::{self, Linux, Need};
use mote_tools::workspace::artefacts;

const UNIKERNELS: usize = 1000;
const LINUXES: usize = 50;
/// Cycles after which whoever keeps something for the next ones has it.
const WARM: usize = 5;
const SOON: Duration = Duration::from_secs(60);

/// A machine with a control domain of so many KiB, the driver domain, and somebody for whom it stays on.
fn with_machine(control: u32, mib: u32, work: impl FnOnce(&State, &Client) + Send) {
    let control = format!("control {{ compatible = \"xen,domain\"; mote,control; memory = <0 {control}>; }};");
    let guests = [
        Guest::unikernel("driver", "driver").memory(4096).properties("xen,enhanced; mote,driver; direct-map;"),
        Guest::unikernel("stays", "rogue").arguments("do=idle"),
    ];
    let machine = machine(2, mib);
    let run = boot_beside(&configuration_with(&control, &guests, &machine), &machine, |state, client| {
        wait(SOON, "the API", || client.machine().is_ok());
        work(state, client);
    });
    run.assert_all_free();
}

/// What is free of the machine, and what the control domain uses.
fn used(state: &State, client: &Client) -> (u64, Vec<u64>) {
    let (_, text) = request(state, "GET", "/metrics", "", b"");
    let metric = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        value.trim().parse().expect("a number")
    };
    let own = ["mote_xenstore_nodes", "mote_xenstore_bytes", "mote_xenstore_watches", "mote_xenstore_transactions"];
    (client.machine().expect("an answer").free_kib, own.map(metric).into())
}

fn heap(state: &State) -> u64 {
    let (_, text) = request(state, "GET", "/metrics", "", b"");
    let value = text.lines().find_map(|line| line.strip_prefix("mote_control_heap_used_bytes "));
    value.and_then(|value| value.parse().ok()).expect("a number")
}

fn cycles(state: &State, client: &Client, count: usize, tree: &[u8], run: impl Fn(usize)) {
    let mut before = None;
    let began = Instant::now();
    for number in 0..count {
        client.create(tree).unwrap_or_else(|failure| panic!("cycle {number}: {failure}"));
        run(number);
        // It may have ended by itself.
        if client.destroy("cycle").is_err() {
            wait(SOON, "its end", || !client.is_up("cycle").expect("an answer"));
        }
        if number < WARM {
            before = None;
            wait(SOON, "the driver domain", || settled(state));
        }
        let now = used(state, client);
        let (before, heap_before) = before.get_or_insert_with(|| (now.clone(), heap(state)));
        if *before != now {
            // The driver domain ends its watches when it is told.
            wait(SOON, "the end of what a domain had", || used(state, client) == *before);
        }
        if number + 1 == count {
            println!("{count} cycles in {:?}; heap {heap_before} before, {} after", began.elapsed(), heap(state));
            wait(SOON, "the control domain's heap", || heap(state) <= *heap_before);
        }
    }
}

/// Whether the driver domain has nothing left to do: xenstore's watches do not change.
fn settled(state: &State) -> bool {
    let watches = || {
        let (_, text) = request(state, "GET", "/metrics", "", b"");
        text.lines().find_map(|line| line.strip_prefix("mote_xenstore_watches ").map(str::to_owned))
    };
    let before = watches();
    sleep(Duration::from_millis(100));
    before == watches()
}

#[test]
#[ignore = "takes minutes"]
fn a_thousand_unikernels_leave_nothing_behind() {
    with_machine(8 << 10, 512, |state, client| {
        let image = std::fs::read(build::guest("http").expect("it compiles").image).expect("readable");
        client.put_image("http", &image, |_| {}).expect("room");
        let tree = definition("cycle", "http", "ip=10.0.2.30/24", 1024, with_interface);
        cycles(state, client, UNIKERNELS, &tree, |number| {
            if number % 4 > 0 {
                client.unpause("cycle").expect("it runs");
            }
            // As it starts, as it connects, as it serves.
            sleep(Duration::from_millis((number % 4) as u64 * 15));
        });
    });
}

#[test]
#[ignore = "takes minutes"]
fn fifty_linux_guests_leave_nothing_behind() {
    const VERSION: Linux = Linux::V6_1;
    setup::ensure(&[Need::Kernel(VERSION), Need::Initramfs(VERSION)]).expect("Debian's Linux");
    with_machine(96 << 10, 1024, |state, client| {
        for name in ["kernel", "initramfs"] {
            let file = artefacts().join("debian").join(VERSION.version()).join(name);
            client.put_image(name, &std::fs::read(file).expect("readable"), |_| {}).expect("room");
        }
        let tree = definition("cycle", "kernel", "console=hvc0 quiet", 128 << 10, |node| {
            with_interface(node);
            let mut ramdisk = DeviceTreeNode::new_unchecked("ramdisk");
            for (name, value) in
                [("compatible", &b"multiboot,ramdisk\0multiboot,module\0"[..]), ("mote,image", b"initramfs\0")]
            {
                ramdisk.add_property(DeviceTreeProperty::new_unchecked(name, value.to_vec()));
            }
            node.add_child(ramdisk);
        });
        cycles(state, client, LINUXES, &tree, |number| {
            client.unpause("cycle").expect("it runs");
            // At its first instructions, in the kernel, with its drivers, in a shell.
            sleep(Duration::from_millis((number % 5) as u64 * 800));
        });
    });
}
