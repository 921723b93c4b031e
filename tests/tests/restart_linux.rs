//! The driver domain is killed while Linux takes a file from the host and writes it to its disk, and while it reads it from there and
//! sends it back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mote_api::model::Action;
use mote_tests::ext4::Ext4;
use mote_tests::{Guest, boot_beside_hearing, configuration, hear, machine, wait};
use mote_tools::running::Client;
use mote_tools::session::End;

/// How long the machine may take to start, and to get on with a part of the file.
const PATIENCE: Duration = Duration::from_secs(100);
/// What passes between two kills. Much of what the host has sent may still be on its way.
const PART: usize = 4 << 20;
/// What is read and written at once.
const PIECE: usize = 64 << 10;

/// Where QEMU's user network has the host's loopback.
const HOST: &str = "10.0.2.2";

/// A file, and how much of it has gone from the host to the guest and come back.
struct File {
    bytes: Vec<u8>,
    there: AtomicUsize,
    back: AtomicUsize,
}

impl File {
    /// So many bytes, no page of which is like another.
    fn new(length: usize) -> Self {
        let words = (1..=length as u64 / 8).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bytes = words.flat_map(u64::to_le_bytes).collect();
        Self { bytes, there: AtomicUsize::new(0), back: AtomicUsize::new(0) }
    }

    /// Answers who asks for it by HTTP.
    fn serve(&self, listener: &TcpListener) {
        let mut stream = listener.accept().expect("a guest that asks").0;
        let mut head = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        while head.next().is_some_and(|line| !line.expect("a request").is_empty()) {}
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", self.bytes.len()).expect("sent");
        for piece in self.bytes.chunks(PIECE) {
            stream.write_all(piece).expect("sent");
            self.there.fetch_add(piece.len(), Ordering::Relaxed);
        }
    }

    /// Takes it back from who sends it, and looks at every byte.
    fn take(&self, listener: &TcpListener) {
        let mut stream = listener.accept().expect("a guest that sends").0;
        let mut piece = vec![0; PIECE];
        let mut taken = 0;
        loop {
            let length = stream.read(&mut piece).expect("bytes");
            if length == 0 {
                break;
            }
            assert!(self.bytes.get(taken..taken + length) == piece.get(..length), "wrong from byte {taken} on");
            taken += length;
            self.back.store(taken, Ordering::Relaxed);
        }
        assert_eq!(taken, self.bytes.len(), "some of it is missing");
    }
}

/// Kills the driver domain `times` times, each time after so much more has passed.
fn kill(client: &Client, passed: &AtomicUsize, times: usize) {
    for time in 0..times {
        let enough = passed.load(Ordering::Relaxed).max(1) + PART;
        wait(PATIENCE, &format!("more bytes after kill {time}"), || passed.load(Ordering::Relaxed) >= enough);
        // It makes no difference how it ends.
        match time % 3 {
            0 => client.destroy("driver").expect("it ends and begins"),
            1 => drop(client.shut_down("driver", Action::Poweroff).expect("it is asked")),
            _ => drop(client.restart("driver").expect("it fails")),
        }
    }
}

/// What the guest does. What it sends it reads from the disk.
fn script(from: u16, to: u16) -> String {
    format!(
        "busybox wget -q -O /disk/file http://{HOST}:{from}/file && busybox sync && echo 'file: there'
         echo 3 > /proc/sys/vm/drop_caches
         busybox nc {HOST} {to} < /disk/file && echo 'file: sent'
         busybox mount -o remount,ro /disk"
    )
}

fn a_file_arrives_whole(times: usize) {
    let file = File::new((times + 3) * PART);
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let [from, to] = listeners.each_ref().map(|listener| listener.local_addr().expect("its number").port());
    let content = tempfile::tempdir().expect("a directory");
    std::fs::write(content.path().join("run"), script(from, to)).expect("written");
    let disk = Ext4::of(content.path(), 128);
    let linux = Guest::linux("linux", "6.12")
        .properties(&format!("xen,enhanced; vif {{ compatible = \"mote,vif\"; }}; {}", disk.node()))
        .arguments("console=hvc0 quiet mote.net mote.disk mote.run=/disk/run");
    let driver = Guest::unikernel("driver", "driver").properties("xen,enhanced; mote,driver;").memory(4096);
    let machine = machine(2, 1024);
    let config = configuration(&[driver, linux], &machine);
    let run = thread::scope(|scope| {
        scope.spawn(|| file.serve(&listeners[0]));
        scope.spawn(|| file.take(&listeners[1]));
        boot_beside_hearing(&config, &machine, |_, client, lines| {
            kill(client, &file.there, times);
            hear(lines, PATIENCE, "linux", "file: there");
            kill(client, &file.back, times);
            hear(lines, PATIENCE, "linux", "file: sent");
            hear(lines, PATIENCE, "linux", "Power down");
        })
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    assert!(run.heard.domains().filter(|domain| domain.name == "driver").count() > 2 * times, "{run}");
    disk.check().expect("no damage");
    assert!(disk.read("/file") == file.bytes, "what is on the disk is not what was sent\n{run}");
}

#[test]
fn linux_takes_and_sends_a_file_while_the_driver_domain_is_killed_three_times() {
    a_file_arrives_whole(3);
}

/// The long version: `cargo test -p mote-tests --test restart_linux -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn linux_takes_and_sends_a_file_while_the_driver_domain_is_killed_ten_times() {
    a_file_arrives_whole(10);
}
