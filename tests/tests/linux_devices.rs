//! Debian's kernels with their own Xen drivers for network and disk, behind the driver domain.

use std::fs;
use std::time::Duration;

use mote_tests::ext4::Ext4;
use mote_tests::{Guest, Run, Until, boot_beside, boot_configuration, configuration, get, machine, wait};
use mote_tools::cli::Hypervisor;
use mote_tools::console::Line;
use mote_tools::running::Client;
use mote_tools::session::{End, Wish};
use mote_tools::setup::{self, Linux, Need};

/// How long Linux may take for something.
const PATIENCE: Duration = Duration::from_secs(150);

fn driver() -> Guest {
    Guest::unikernel("driver", "driver").properties("xen,enhanced; mote,driver; direct-map;").memory(4096)
}

/// A network interface with this address, whose port 80 is to be reached from this machine.
fn interface(address: &str) -> String {
    format!("interface {{ compatible = \"mote,vif\"; mote,ip = \"{address}\"; mote,publish = \"0:80\"; }};")
}

/// A Linux with this address and disk, whose script it runs.
fn linux(version: &str, address: &str, disk: &Ext4) -> Guest {
    Guest::linux(&format!("linux-{version}"), version)
        .properties(&format!("xen,enhanced; {} {}", interface(address), disk.node()))
        .arguments(&format!("console=hvc0 quiet mote.net={address} mote.disk mote.run=/disk/run"))
}

/// Serves 100 MB until somebody says that he has them.
const SERVE: &str = r#"
busybox dd if=/dev/urandom of=/tmp/part bs=1M count=1 2>/dev/null
for number in $(busybox seq 100); do echo $number; busybox cat /tmp/part; done > /www/large
busybox httpd -p 80 -h /www
echo "sum: $(busybox md5sum < /www/large)"
busybox nc -l -p 7000
"#;

/// Finds the server and the unikernel, and takes the 100 MB.
const FETCH: &str = r#"
until busybox wget -q -O /dev/null http://10.0.2.21/; do busybox usleep 100000; done
for peer in 10.0.2.20 10.0.2.21; do
    busybox ping -c 5 -i 0.1 $peer | busybox grep received
done
busybox wget -q -O - http://10.0.2.20/api/info
until busybox wget -q -O /tmp/part http://10.0.2.21/large; do busybox usleep 100000; done
echo "sum: $(busybox md5sum < /tmp/part)"
until echo done | busybox nc 10.0.2.21 7000; do busybox usleep 100000; done
"#;

/// What both serve.
const INDEX: &str = include_str!("../../guests/http/files/index.html");

fn has_linux(client: &Client) -> bool {
    // Who asks may have to ask again.
    client.domains().map_or(true, |all| all.domains.iter().any(|domain| domain.name.starts_with("linux")))
}

fn assert_fetched(run: &Run, server: &str, client: &str) {
    for (guest, address) in [(server, "10.0.2.21"), (client, "10.0.2.22")] {
        assert!(run.said(guest, &format!("address: {address}")), "{guest} has no address\n{run}");
        assert!(run.said(guest, "disk: "), "{guest} has no disk\n{run}");
    }
    let sums = [server, client].map(|guest| run.of(guest).find(|line| line.starts_with("sum: ")));
    assert!(sums[0].is_some() && sums[0] == sums[1], "{sums:?}\n{run}");
    let received = run.of(client).filter(|line| line.starts_with("5 packets transmitted, 5 packets received"));
    assert_eq!(received.count(), 2, "{run}");
    assert!(run.said(client, "\"name\":\"web\""), "{run}");
}

#[test]
fn linux_guests_reach_each_other_and_take_a_hundred_megabytes_whole() {
    let disks = [SERVE, FETCH].map(Ext4::with_script);
    let guests = [
        driver(),
        Guest::unikernel("web", "http")
            .properties(&format!("xen,enhanced; {}", interface("10.0.2.20")))
            .arguments("ip=10.0.2.20/24 gateway=10.0.2.2"),
        linux("6.1", "10.0.2.21", &disks[0]).memory(384 << 10),
        linux("6.12", "10.0.2.22", &disks[1]).memory(384 << 10),
    ];
    let machine = machine(2, 2048);
    let run = boot_beside(&configuration(&guests, &machine), &machine, |state, client| {
        for guest in ["web", "linux-6.1"] {
            wait(PATIENCE, guest, || {
                get(state, guest).is_some_and(|page| page.contains(" 200 ") && page.ends_with(INDEX))
            });
        }
        wait(PATIENCE, "the end of both", || !has_linux(client));
    });
    assert_fetched(&run, "linux-6.1", "linux-6.12");
    disks.iter().for_each(|disk| disk.check().expect("no damage"));
}

/// Writes one file after the other, each of which is on the disk before the next begins.
const WRITE: &str = r#"
[ -e /data ] || busybox mkdir /data
number=$(busybox ls /data | busybox wc -l)
echo "files: $number"
while :; do
    number=$((number + 1))
    busybox seq $number $((number + 9999)) | busybox dd of=/data/new conv=fsync 2>/dev/null &&
        busybox mv /data/new /data/$number && busybox sync && echo "on disk: $number"
done
"#;

/// The file system that a guest runs from, with [`WRITE`] on it.
fn root() -> Ext4 {
    let paths = setup::ensure(&[Need::Initramfs(Linux::V6_12)]).expect("Debian's busybox");
    let content = tempfile::tempdir().expect("a directory");
    setup::lay_out(content.path(), &paths).expect("the files of a guest");
    fs::write(content.path().join("write"), WRITE).expect("written");
    Ext4::of(content.path(), 128)
}

/// Boots a guest from `disk` and takes the power away when it has written `files` more; the last one that was said to be on the disk.
fn write_until_killed(disk: &Ext4, version: &str, files: usize) -> u64 {
    let guest = Guest::linux("linux", version)
        .properties(&format!("xen,enhanced; {}", disk.node()))
        .arguments("console=hvc0 quiet mote.root mote.run=/write");
    let config = configuration(&[driver(), guest], &machine(2, 1024));
    let mut last = Vec::new();
    let watch = |line: &Line| {
        last.extend(line.text.strip_prefix("on disk: ").and_then(|number| number.parse::<u64>().ok()));
        if last.len() < files { Wish::GoOn } else { Wish::Finish }
    };
    let run = boot_configuration(&config, &machine(2, 1024), Hypervisor::Mote, Until::AllEnded, watch);
    assert_eq!(run.end, End::Finished, "{run}");
    assert!(run.said("linux", "root: /dev/xvda ext4"), "{run}");
    last.last().copied().unwrap_or_default()
}

/// What is in a file.
fn content(number: u64) -> String {
    (number..number + 10_000).map(|line| format!("{line}\n")).collect()
}

fn kill(times: usize) {
    let disk = root();
    let mut known = 0;
    for time in 0..times {
        let version = ["6.12", "6.1"][time % 2];
        // Not always at the same place.
        let last = write_until_killed(&disk, version, 5 + 3 * time % 17);
        assert!(last > known, "{last} after {known}");
        disk.check().unwrap_or_else(|damage| panic!("after kill {time}: {damage}"));
        for number in known.max(1)..=last {
            let read = disk.read(&format!("/data/{number}"));
            assert!(read == content(number).as_bytes(), "file {number} of {last} is not what was written");
        }
        known = last;
    }
}

#[test]
fn what_was_flushed_survives_two_kills() {
    kill(2);
}

/// The long version: `cargo test -p mote-tests --test linux_devices -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn what_was_flushed_survives_twenty_kills() {
    kill(20);
}
