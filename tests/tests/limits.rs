//! What a guest that means harm can take, and that it gives back all of it.

use mote_tests::{Guest, Run, Until, boot, machine};
use mote_tools::report::State;

/// Joined with the victim by the configuration, of 5 domains that are numbered in their order.
fn guest(name: &str, package: &str, properties: &str, arguments: &str) -> Guest {
    let properties = format!("xen,enhanced = \"no-xenstore\"; {properties}");
    Guest::unikernel(name, package).memory(8 << 10).properties(&properties).arguments(arguments)
}

/// Two attackers, their victim, and two that have nothing to do with it, at once.
fn attack() -> Run {
    let peers = "mote,peers = \"victim\";";
    let guests = [
        guest("victim", "hostile", "", "do=victim peers=2,3"),
        guest("hostile", "hostile", peers, "do=all me=2 peers=1 stranger=3").memory(32 << 10).vcpus(2),
        guest("crasher", "hostile", peers, "do=crash me=3 peers=1 stranger=2").vcpus(2),
        guest("ping", "ping", "mote,peers = \"pong\";", "peer=5 rounds=200"),
        guest("pong", "pong", "", "peer=4"),
    ];
    boot(&guests, &machine(2, 1024), Until::AllEnded)
}

/// What the attacker is told where its limits are: Xen's answers.
const LIMITS: [&str; 13] = [
    "hostile: ports for a peer: 1022, then Errno(28)",
    "hostile: ports to itself: 511, then Errno(28)",
    "hostile: IPIs: 1023, then Errno(28)",
    "hostile: virtual interrupts: 28",
    "hostile: ports to a stranger: Err(Errno(1))",
    "hostile: ports to nobody: Err(Errno(3))",
    "hostile: a physical interrupt: Err(Errno(95))",
    "hostile: grant frames: 64, then status -1",
    "hostile: grant frames seen: 64, then Errno(22)",
    "hostile: mappings of one page: 2048, then status -7",
    "hostile: mappings ended: 2048",
    "hostile: 20000 events sent",
    "hostile: fragmented 2048 pages",
];

#[test]
fn a_guest_that_takes_all_it_can_get_harms_nobody_and_leaves_nothing_behind() {
    let run = attack();
    for limit in LIMITS {
        assert!(run.said("hostile", limit), "`{limit}` was not said\n{run}");
    }
    run.assert_finished("hostile", "hostile: ok");
    assert_eq!(run.report("crasher").state, State::Crashed, "{run}");
    assert!(run.said("crasher", "panic: in the middle of it"), "{run}");
    run.assert_finished("victim", "victim: ok");
    run.assert_finished("ping", "ping: ok");
    run.assert_finished("pong", "pong: ok");
    run.assert_all_free();
}

/// The account of a block whose pages come and go one by one takes heap, of which there is enough for all of RAM.
#[test]
fn a_guest_that_breaks_all_its_memory_into_pages_uses_up_nothing() {
    const MIB: u64 = 1200;
    let hostile = guest("hostile", "hostile", "", "do=shatter").memory(MIB << 10);
    let run = boot(&[hostile, Guest::unikernel("hello", "hello")], &machine(1, 2048), Until::AllEnded);
    run.assert_finished("hostile", "hostile: shattered ");
    let count = run.of("hostile").find_map(|line| line.strip_prefix("hostile: shattered ")?.strip_suffix(" blocks"));
    let count: u64 = count.and_then(|count| count.parse().ok()).expect("a number");
    // All but where its image and its tree lie.
    assert!(count * 2 > MIB - MIB / 8, "{run}");
    run.assert_finished("hello", "hello: a unikernel");
    run.assert_all_free();
}
