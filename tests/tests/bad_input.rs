//! A guest that misuses its devices in every way there is, beside others that use theirs: it loses its connections, they lose nothing.

use std::fs::File;
use std::path::Path;

use mote_tests::{Guest, Until, boot, machine};

/// Bytes that the neighbours send each other meanwhile, and KiB that one has on its disk.
const BYTES: u64 = 256 << 20;
const KIB: u64 = 16 << 10;

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
fn a_guest_that_misuses_its_devices_loses_them_and_nobody_else_anything() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = ["bad", "disk"].map(|name| directory.path().join(name));
    for (file, kib) in files.iter().zip([1024, KIB]) {
        File::create(file).and_then(|file| file.set_len(kib << 10)).expect("a file");
    }
    let [bad_disk, disk] = &files;
    let guests = [
        Guest::unikernel("driver", "driver").memory(4096).properties("xen,enhanced; mote,driver; direct-map;"),
        guest("near", "netload", &vif("10.0.2.31"), "ip=10.0.2.31/24"),
        guest("far", "netload", &vif("10.0.2.32"), &format!("ip=10.0.2.32/24 server=10.0.2.31 bytes={BYTES}")),
        guest("disk", "diskload", &vbd(disk), &format!("disk=xvda kilobytes={KIB}")),
        guest(
            "bad",
            "badring",
            &(vif("10.0.2.40") + &vbd(bad_disk)),
            "do=disk,net disk=xvda sectors=2048 ip=10.0.2.40 near=10.0.2.31",
        )
        .vcpus(2),
    ];
    let run = boot(&guests, &machine(2, 512), Until::AllEnded);
    run.assert_finished("bad", "badring: net ok");
    run.assert_finished("bad", "badring: disk ok");
    run.assert_finished("far", &format!("netload: {BYTES} bytes, 0 wrong"));
    run.assert_finished("disk", "diskload: 0 sectors are wrong");
    run.assert_finished("disk", "diskload: ok");
    let free = run.heard.machine().expect("the machine's report");
    assert_eq!(free.free_bytes, free.pool_bytes, "{run}");
}
