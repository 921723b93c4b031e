//! Unmodified Debian kernels, as many vCPUs as one likes, beside each other and beside unikernels.

use mote_tests::{Guest, Run, Until, boot, boot_configuration, configuration, machine};
use mote_tools::cli::Hypervisor;
use mote_tools::console::Line;
use mote_tools::report::State;
use mote_tools::session::Wish;

const VERSIONS: [&str; 2] = ["6.1", "6.12"];
const VCPUS: [u32; 3] = [1, 2, 4];

fn name(version: &str, vcpus: u32) -> String {
    format!("linux-{version}-{vcpus}")
}

/// Every kernel with every number of vCPUs, all at once on `pcpus` pCPUs.
fn boot_every_kernel(pcpus: u32) {
    let mut guests = Vec::new();
    for version in VERSIONS {
        for vcpus in VCPUS {
            guests.push(Guest::linux(&name(version, vcpus), version).vcpus(vcpus));
        }
    }
    let run = boot(&guests, &machine(pcpus, 4096), Until::AllEnded);
    for version in VERSIONS {
        for vcpus in VCPUS {
            assert_linux(&run, &name(version, vcpus), version, vcpus);
        }
    }
}

fn assert_linux(run: &Run, guest: &str, version: &str, vcpus: u32) {
    run.assert_finished(guest, &format!("CPUs: {vcpus}"));
    assert!(run.said(guest, &format!("Linux linux {version}.")), "{guest}\n{run}");
    let report = run.report(guest);
    assert_eq!(report.vcpus, vcpus);
    assert!(report.first_instruction.is_some_and(|first| report.ready > Some(first)), "{guest}");
    assert!(report.touched_bytes > report.image_bytes && report.touched_bytes <= report.memory_bytes);
}

#[test]
fn every_kernel_boots_with_every_number_of_vcpus_on_one_pcpu() {
    boot_every_kernel(1);
}

#[test]
fn every_kernel_boots_with_every_number_of_vcpus_on_two_pcpus() {
    boot_every_kernel(2);
}

/// Linux finds Xen and uses its own Xen drivers: events, the console ring, on which one can log in, and the balloon. What is typed goes
/// from one guest to the next, also to one that has nothing but a UART.
#[test]
fn every_kernel_finds_xen() {
    let machine = machine(2, 2048);
    let enhanced = |version: &str| {
        Guest::linux(&name(version, 2), version)
            .vcpus(2)
            .properties("xen,enhanced;")
            .arguments("console=hvc0 quiet mote.xen mote.shell")
    };
    let mut guests = Vec::from(VERSIONS.map(enhanced));
    guests.push(Guest::linux("plain", VERSIONS[1]).arguments("console=ttyAMA0 quiet mote.shell"));
    let config = configuration(&guests, &machine);
    let mut shells = 0;
    let log_in = |line: &Line| {
        if line.text.starts_with("Enter 'help'") {
            shells += 1;
            if shells == guests.len() {
                return Wish::Type([FOCUS, QUESTIONS, "reboot -f\n"].concat().into());
            }
        }
        let has_keyboard =
            |name: &str| shells == guests.len() && line.text.contains(&format!("Serial input to {name} "));
        // The first is no more, and then the second.
        if has_keyboard("linux-6.12-2") {
            return Wish::Type([QUESTIONS, "exit\n"].concat().into());
        }
        if has_keyboard("plain") {
            return Wish::Type("echo $((40 + 2)) on $(tty)\nexit\n".into());
        }
        Wish::GoOn
    };
    let run = boot_configuration(&config, &machine, Hypervisor::Mote, Until::AllEnded, log_in);
    for version in VERSIONS {
        assert_speaks_xen(&run, version);
    }
    assert_eq!(run.report("linux-6.1-2").state, State::Reboot);
    assert_eq!(run.report("linux-6.12-2").state, State::Shutdown);
    assert!(run.lines.iter().any(|line| line.text == "42 on /dev/ttyAMA0"), "{run}");
    assert_eq!(run.report("plain").state, State::Shutdown);
}

/// Moves the focus of the keyboard.
const FOCUS: &str = "\x01\x01\x01";
/// Typed at a shell. The answers begin with the kernel's version, since whoever has the focus has no prefix.
const QUESTIONS: &str = "(tty; cat /proc/interrupts) | sed \"s/^/$(uname -r): /\"\n";

fn assert_speaks_xen(run: &Run, version: &str) {
    let guest = &name(version, 2);
    for text in [
        "hypervisor: xen 4.20",
        "kernel: Xen 4.20 support found",
        "kernel: xen:events: Using FIFO-based ABI",
        "kernel: Grant table initialized",
        "kernel: xen:grant_table: Grant tables using version 1 layout",
        "kernel: Xen: initializing cpu1",
        "stolen: ",
    ] {
        assert!(run.said(guest, text), "{guest} did not say `{text}`\n{run}");
    }
    let sizes = run.of(guest).filter(|line| line.starts_with("balloon: "));
    assert_eq!(sizes.count(), 2, "{run}");

    let prefix = format!("{version}.");
    let answers = || run.lines.iter().filter(|line| line.text.starts_with(&prefix));
    assert!(answers().any(|line| line.text.ends_with(": /dev/hvc0")), "{run}");
    // The kernel looks for events when it brings up a vCPU. Its console is no example: without a xenstore it gets the
    // kernel's interrupt 0, takes that for none, and polls.
    let events = answers().find(|line| line.text.contains("GICv3  31 Level     events"));
    let words = events.expect("its line").text.split_ascii_whitespace().skip(2);
    let counts: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    assert!(counts.len() == 2 && counts.iter().all(|&count| count > 0), "{counts:?}\n{run}");
}

#[test]
fn two_linux_guests_and_eight_unikernels_run_at_once() {
    const UNIKERNELS: usize = 8;
    let name = |number| format!("hello-{number}");
    let mut guests = vec![Guest::linux("old", VERSIONS[0]), Guest::linux("new", VERSIONS[1]).vcpus(2)];
    guests.extend((0..UNIKERNELS).map(|number| Guest::unikernel(&name(number), "hello")));
    let run = boot(&guests, &machine(2, 2048), Until::AllEnded);
    assert_linux(&run, "old", VERSIONS[0], 1);
    assert_linux(&run, "new", VERSIONS[1], 2);
    for number in 0..UNIKERNELS {
        run.assert_finished(&name(number), "hello: a unikernel with 1 vCPU and 1024 KiB");
    }
}
