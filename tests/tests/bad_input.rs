//! A guest that misuses its devices and its xenstore in every way there is, beside others that use theirs: it loses its connections, they
//! lose nothing, and the control domain has as much memory as before.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mote_api::model::{Disk, Network};
use mote_tests::{
    Guest, boot_beside_hearing, configuration, definition, hear_where, machine, request, wait, with_interface,
};
use mote_tools::build;
use mote_tools::console::Line;
use mote_tools::report;
use mote_tools::running::{Client, State};

/// Bytes that the neighbours send each other meanwhile, and KiB that one has on its disk.
const BYTES: u64 = 256 << 20;
const KIB: u64 = 16 << 10;
/// Nothing takes so long.
const SOON: Duration = Duration::from_secs(120);

fn vif(ip: &str) -> String {
    format!("vif {{ compatible = \"mote,vif\"; mote,ip = \"{ip}\"; }};")
}

fn vbd(file: &Path) -> String {
    format!("disk {{ compatible = \"mote,vbd\"; mote,vdev = \"xvda\"; mote,file = \"{}\"; }};", file.display())
}

/// A guest that is joined with the driver domain.
fn guest(name: &str, package: &str, devices: &str, arguments: &str) -> Guest {
    Guest::unikernel(name, package).memory(2048).properties(&format!("xen,enhanced; {devices}")).arguments(arguments)
}

#[test]
fn a_guest_that_misuses_what_it_has_loses_it_and_nobody_else_anything() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = ["bad", "disk"].map(|name| directory.path().join(name));
    for (file, kib) in files.iter().zip([1024, KIB]) {
        File::create(file).and_then(|file| file.set_len(kib << 10)).expect("a file");
    }
    let [bad_disk, disk] = &files;
    let bad = "do=disk,net then=stay disk=xvda sectors=2048 ip=10.0.2.40 near=10.0.2.31";
    let guests = [
        Guest::unikernel("driver", "driver").memory(4096).properties("xen,enhanced; mote,driver; direct-map;"),
        guest("near", "netload", &vif("10.0.2.31"), "ip=10.0.2.31/24"),
        guest("far", "netload", &vif("10.0.2.32"), &format!("ip=10.0.2.32/24 server=10.0.2.31 bytes={BYTES}")),
        guest("disk", "diskload", &vbd(disk), &format!("disk=xvda kilobytes={KIB}")),
        guest("bad", "badring", &(vif("10.0.2.40") + &vbd(bad_disk)), bad).vcpus(2),
    ];
    let machine = machine(2, 512);
    let run = boot_beside_hearing(&configuration(&guests, &machine), &machine, |state, client, lines| {
        wait(SOON, "the API", || client.machine().is_ok());
        hear(lines, "bad", "badring: net ok");
        what_it_did_was_counted(client);
        wait(SOON, "the end of the transfer", || !client.is_up("far").expect("an answer"));
        wait(SOON, "the end of the disk's check", || !client.is_up("disk").expect("an answer"));
        xenstore_is_as_before(state, client);
    });
    for part in ["badring: disk ok", "badring: net ok"] {
        assert!(run.said("bad", part), "{run}");
    }
    run.assert_finished("far", &format!("netload: {BYTES} bytes, 0 wrong"));
    run.assert_finished("disk", "diskload: 0 sectors are wrong");
    run.assert_finished("disk", "diskload: ok");
    assert!(run.lines.iter().any(|line| line.text.contains("a flood for the driver: Ok(())")), "{run}");
    let stores = run.heard.domains().filter(|domain| domain.name == "store");
    assert_eq!(stores.filter(|store| store.state == report::State::Shutdown).count(), 3, "{run}");
    run.assert_all_free();
}

fn what_it_did_was_counted(client: &Client) {
    let bad = client.domain("bad").expect("it stays");
    let control = client.domain("control").expect("an answer");
    let [Network { received_bytes, sent_frames, .. }] = &control.networks[..] else { panic!("{control:?}") };
    // No guest reaches it.
    assert!((100..20_000).contains(received_bytes) && *sent_frames > 0, "{control:?}");
    let [Network { refused, broken, sent_frames, .. }] = &bad.networks[..] else { panic!("{bad:?}") };
    assert!(*refused >= 2 && *broken >= 15 && *sent_frames > 5, "{bad:?}");
    let [Disk { errors, broken, read_bytes, written_bytes, .. }] = &bad.disks[..] else { panic!("{bad:?}") };
    assert!(*errors >= 40 && *broken >= 3 && *read_bytes > 100_000 && *written_bytes >= 4096, "{bad:?}");
}

/// A guest takes all that it can get of xenstore, several times.
fn xenstore_is_as_before(state: &State, client: &Client) {
    let image = std::fs::read(build::guest("badring").expect("it compiles").image).expect("readable");
    client.put_image("badring", &image, |_| {}).expect("room");
    let tree = definition("store", "badring", "do=store", 2048, with_interface);
    let mut before = None;
    for _ in 0..3 {
        client.create(&tree).expect("it is built");
        client.unpause("store").expect("it runs");
        wait(SOON, "the end of the greedy", || !client.is_up("store").expect("an answer"));
        let now =
            ["mote_xenstore_nodes ", "mote_xenstore_bytes ", "mote_xenstore_watches "].map(|name| metric(state, name));
        let before = before.get_or_insert((now, metric(state, HEAP)));
        assert_eq!(before.0, now);
        wait(SOON, "the control domain's memory", || metric(state, HEAP) <= before.1);
    }
}

const HEAP: &str = "mote_control_heap_used_bytes ";

fn metric(state: &State, name: &str) -> u64 {
    let (_, text) = request(state, "GET", "/metrics", "", b"");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is no number in {text}"))
}

/// Waits until `speaker` says `text`.
fn hear(lines: &Receiver<Line>, speaker: &str, text: &str) {
    hear_where(lines, SOON, &format!("{speaker} says `{text}`"), |line| {
        let is_its = line.speaker.as_deref() == Some(speaker);
        assert!(!is_its || !line.text.contains("panic"), "{}", line.text);
        is_its && line.text.contains(text)
    });
}
