//! Xenstore, as guests use it: the control domain serves it, and describes guests and their devices there.

use mote_tests::{Guest, Until, boot, machine};

fn end(name: &str, properties: &str) -> Guest {
    Guest::unikernel(name, "storetest").arguments(&format!("end={name}")).properties(properties)
}

#[test]
fn the_two_ends_of_a_device_find_each_other() {
    let front = end("front", "xen,enhanced; interface { compatible = \"mote,vif\"; };");
    // In whole blocks, as devices need it.
    let back = end("back", "xen,enhanced; mote,driver;").memory(4096);
    let run = boot(&[front, back], &machine(2, 512), Until::AllEnded);
    run.assert_finished("front", "storetest: front ok");
    // The machine is over with the front end, which may be before the back end has said that it is done.
    assert!(run.said("back", "storetest: the front end is closing"), "{run}");
    for line in ["the front end says 4711", "the other end's state is refused", "another name is refused"] {
        assert!(run.lines.iter().any(|heard| heard.text.contains(line)), "{line}\n{run}");
    }
}
