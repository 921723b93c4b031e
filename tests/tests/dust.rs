//! A machine for every request: services, whose clones are launched when somebody connects and gone when they have answered.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use mote_api::model::Machines;
use mote_tests::{
    Guest, all, boot_beside_hearing, configuration, connect, definition, hear_where, machine, port, wait,
};
use mote_tools::boot::machine::Machine;
use mote_tools::build;
use mote_tools::console::Line;
use mote_tools::running::{Client, State};
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);
/// How long a clone of `wicked` may live.
const LIFE: Duration = Duration::from_secs(4);
/// The Ethernet address of `dust`.
const MAC: &str = "00:16:3e:00:00:22";

/// How much is asked of the machine.
struct Load {
    /// Requests one after the other, and of each of those who ask at once.
    requests: usize,
    /// Those who ask at once.
    clients: usize,
    /// Frames of the flood.
    frames: usize,
    /// Secrets.
    secrets: u16,
    /// Times that the driver domain is killed.
    kills: usize,
}

#[test]
fn a_machine_for_every_request() {
    summon(&Load { requests: 40, clients: 8, frames: 12_000, secrets: 12, kills: 2 });
}

/// `cargo test --test dust -- --ignored`.
#[test]
#[ignore = "100,000 requests take half an hour"]
fn a_machine_for_each_of_100_000_requests() {
    summon(&Load { requests: 5_900, clients: 8, frames: 1_000_000, secrets: 1_000, kills: 20 });
}

fn guests() -> [Guest; 7] {
    let service = |name: &str, package: &str, last: u8, more: &str| {
        let properties = format!(
            "xen,enhanced; vif {{ compatible = \"mote,vif\"; mote,ip = \"10.0.2.{last}\"; mote,publish = \"0:80\"; {more} }};"
        );
        let arguments = format!("ip=10.0.2.{last}/24 gateway=10.0.2.2");
        Guest::unikernel(name, package).arguments(&arguments).properties(&properties)
    };
    let mac: Vec<_> = MAC.split(':').collect();
    let dust = format!(
        "mote,service = <80>; local-mac-address = [{}]; mote,machines = <500>; mote,life = <5000>; mote,clone-memory = <512>;",
        mac.join(" ")
    );
    let few = "mote,service = <80>; mote,machines = <2>; mote,waiting = <1>; mote,patience = <20000>;";
    let kept = "mote,service = <80>; mote,keep = <2000>;";
    let life = LIFE.as_millis();
    let wicked = format!("mote,service = <80>; mote,life = <{life}>; mote,clone-memory = <2048>;");
    [
        Guest::unikernel("driver", "driver").memory(8192).properties("xen,enhanced; mote,driver;"),
        service("web", "http", 20, ""),
        service("dust", "http", 22, &dust),
        service("few", "http", 23, few),
        service("kept", "http", 24, kept),
        service("wicked", "secret", 25, &wicked),
        service("tight", "secret", 26, "mote,service = <80>; mote,clone-memory = <256>;"),
    ]
}

/// A part of the test and its name.
type Part<'a> = (&'static str, fn(&Scene<'a>));

fn parts<'a>() -> [Part<'a>; 10] {
    [
        ("each request meets another machine", Scene::each_request_meets_another_machine),
        ("clients of all kinds are served", Scene::clients_of_all_kinds_are_served),
        ("machines are few if they are to be", Scene::machines_are_few_if_they_are_to_be),
        ("machines are kept if they are to be", Scene::machines_are_kept_if_they_are_to_be),
        ("whoever fails fails alone", Scene::whoever_fails_fails_alone),
        ("a flood launches nothing", Scene::a_flood_launches_nothing),
        ("no secret is ever seen again", Scene::no_secret_is_ever_seen_again),
        ("services outlive the control domain", Scene::services_outlive_the_control_domain),
        ("services outlive the driver domain", Scene::services_outlive_the_driver_domain),
        ("a service goes and comes", Scene::a_service_goes_and_comes),
    ]
}

fn summon(load: &Load) {
    let directory = tempfile::tempdir().expect("a directory");
    let memory = directory.path().join("memory");
    let machine = Machine { memory_file: Some(memory.clone()), ..machine(2, 512) };
    let config = configuration(&guests(), &machine);
    let run = boot_beside_hearing(&config, &machine, |state, client, heard| {
        let scene = Scene { state, client, heard, memory: &memory, load };
        wait(SOON, "the API", || client.machine().is_ok());
        for service in ["dust", "few", "kept", "wicked", "tight"] {
            wait(SOON, service, || client.domain(service).is_ok_and(|domain| domain.template));
        }
        for (name, part) in parts() {
            let begun = Instant::now();
            part(&scene);
            println!("{name}: {:.1} s", begun.elapsed().as_secs_f32());
        }
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    run.assert_all_free();
}

/// What every part of the test needs.
struct Scene<'a> {
    state: &'a State,
    client: &'a Client,
    heard: &'a Receiver<Line>,
    memory: &'a Path,
    load: &'a Load,
}

impl Scene<'_> {
    fn connect(&self, guest: &str) -> Connection {
        Connection::to(port(self.state, guest))
    }

    /// What is answered to one request; nothing if there is no answer.
    fn ask(&self, guest: &str, path: &str) -> String {
        ask(port(self.state, guest), path)
    }

    /// The machine that answers.
    fn who(&self, guest: &str) -> u32 {
        who(port(self.state, guest), guest)
    }

    fn machines(&self, guest: &str) -> Machines {
        let machines = self.client.domain(guest).expect("it is there").machines.expect("a template");
        assert_eq!(machines.launched, machines.live + machines.vanished + machines.crashed, "{machines:?}");
        machines
    }

    /// The counts when no machine is left.
    fn settled(&self, guest: &str) -> Machines {
        wait(SOON, "the end of all machines", || self.machines(guest).live == 0);
        self.machines(guest)
    }

    /// What was launched, vanished and crashed since `before`, when no machine is left.
    fn since(&self, guest: &str, before: Machines) -> (u64, u64, u64) {
        let after = self.settled(guest);
        (after.launched - before.launched, after.vanished - before.vanished, after.crashed - before.crashed)
    }

    fn free(&self) -> u64 {
        self.client.machine().expect("an answer").free_kib
    }

    fn each_request_meets_another_machine(&self) {
        for path in ["/", "/style.css", "/mote.svg", "/nothing"] {
            assert_eq!(self.ask("dust", path), self.ask("web", path), "{path}");
        }
        let always = self.who("web");
        let before = self.settled("dust");
        let Load { requests, clients, .. } = *self.load;
        // The first ones have the driver domain take memory that it keeps.
        let mut all = self.at_once(requests);
        let (free, driver) = (self.free_when_settled("dust"), self.client.domain("driver").expect("it is there"));
        all.extend((0..requests).map(|_| self.who("dust")));
        all.extend(self.at_once(requests));
        assert_eq!(self.free_when_settled("dust"), free, "all their memory comes back");
        let asked = requests * (1 + 2 * clients);
        assert_eq!(self.since("dust", before), (asked as u64, asked as u64, 0));
        // Numbers come round again after a while.
        if asked < 10_000 {
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), asked, "a machine answered twice");
        }
        assert!(all.windows(2).all(|two| two[0] != two[1]) && !all.contains(&always));
        let after = self.client.domain("driver").expect("it is there");
        assert_eq!((after.memory_kib, after.hypervisor_bytes), (driver.memory_kib, driver.hypervisor_bytes));
        let machines = self.machines("dust");
        assert!(machines.memory_kib_max <= 512 && machines.life_us_min > 0, "{machines:?}");
    }

    /// Those who ask at once, each one time after the other.
    fn at_once(&self, requests: usize) -> Vec<u32> {
        let (clients, port) = (self.load.clients, port(self.state, "dust"));
        let ask = || (0..requests).map(|_| who(port, "dust")).collect::<Vec<_>>();
        thread::scope(|scope| {
            let all: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
            all.into_iter().flat_map(|one| one.join().expect("answers")).collect()
        })
    }

    fn free_when_settled(&self, guest: &str) -> u64 {
        self.settled(guest);
        self.free()
    }

    fn clients_of_all_kinds_are_served(&self) {
        let (before, free) = (self.settled("dust"), self.free());
        // Several requests by one connection.
        let mut connection = self.connect("dust");
        let met: Vec<u32> = (0..3).map(|_| domain_in(&connection.ask("/api/info"))).collect();
        assert!(met.iter().all(|domain| *domain == met[0]), "{met:?}");
        assert!(connection.ask("/style.css").contains("text/css"));
        assert_eq!(self.machines("dust").live, 1, "it waits");
        drop(connection);
        assert_eq!(self.since("dust", before), (1, 1, 0));
        // In pieces, of which the first is not even a line.
        let mut connection = self.connect("dust");
        for piece in b"GET /api/info HTTP/1.1\r\nConnection: close\r\nHost: dust\r\n\r\n".chunks(7) {
            connection.send(piece);
            sleep(Duration::from_millis(20));
        }
        assert!(connection.all().contains(" 200 "));
        // Those who close without a word, and those who do not wait for the answer.
        for _ in 0..6 {
            drop(self.connect("dust"));
            let mut connection = self.connect("dust");
            connection.send(b"GET / HTTP/1.1\r\nHost: dust\r\n\r\n");
        }
        assert!(self.ask("dust", "/").contains(" 200 "));
        let (_, _, crashed) = self.since("dust", before);
        assert_eq!(crashed, 0);
        // One who says nothing, for longer than a machine lives.
        let silent = self.connect("dust");
        wait(SOON, "a machine for nothing", || self.machines("dust").live == 1);
        assert_eq!(self.since("dust", before).2, 1, "its life is over");
        assert_eq!(silent.all(), "");
        // An answer that does not fit any buffer.
        let large = self.ask("wicked", "/large/300");
        let (_, body) = large.split_once("\r\n\r\n").expect("a head");
        let right = |(at, byte): (usize, u8)| byte == b'a' + ((at / 1024 + at) % 256) as u8 % 26;
        assert!(body.len() == 300 * 1024 && body.bytes().enumerate().all(right), "{} bytes", body.len());
        self.settled("wicked");
        assert_eq!(self.free_when_settled("dust"), free);
    }

    fn machines_are_few_if_they_are_to_be(&self) {
        let before = self.settled("few");
        let mut held: Vec<_> = (0..2).map(|_| self.connect("few")).collect();
        held.iter_mut().for_each(|connection| assert!(connection.ask("/api/info").contains(" 200 ")));
        let mut third = self.connect("few");
        third.send(b"GET /api/info HTTP/1.1\r\nHost: few\r\nConnection: close\r\n\r\n");
        // It waits; there is no room for another who does.
        sleep(Duration::from_millis(300));
        assert_eq!(self.ask("few", "/"), "", "it should be refused");
        assert_eq!(self.machines("few").launched, before.launched + 2);
        drop(held.pop());
        assert!(third.all().contains(" 200 "));
        drop(held);
        assert_eq!(self.since("few", before), (3, 3, 0));
    }

    fn machines_are_kept_if_they_are_to_be(&self) {
        let before = self.settled("kept");
        let met = self.who("kept");
        // It may still be about the leaving of the one before when the next calls.
        let mut others = 0;
        wait(SOON, "the same machine again", || {
            sleep(Duration::from_millis(200));
            let again = self.who("kept") == met;
            others += u64::from(!again);
            again
        });
        let launched = 1 + others;
        assert_eq!(self.machines("kept").live, launched);
        assert_eq!(self.since("kept", before), (launched, launched, 0));
        assert_ne!(self.who("kept"), met, "it is gone");
        self.settled("kept");
    }

    fn whoever_fails_fails_alone(&self) {
        let free = self.free_when_settled("wicked");
        for (path, crashes) in [
            ("/crash", true),
            ("/leave", false),
            ("/spoil/ffffffff", false),
            ("/spoil/80000000", false),
            ("/spin", true),
            ("/sleep", true),
        ] {
            let before = self.machines("wicked");
            let mut failing = self.connect("wicked");
            failing.send(format!("GET {path} HTTP/1.1\r\nHost: wicked\r\n\r\n").as_bytes());
            // Others go on, whatever this one does.
            assert!(self.ask("wicked", "/large/1").contains(" 200 "), "{path}");
            assert_eq!(failing.all(), "", "{path}");
            let crashed = u64::from(crashes);
            assert_eq!(self.since("wicked", before), (2, 2 - crashed, crashed), "{path}");
        }
        let before = self.settled("tight");
        assert_eq!(self.ask("tight", "/take/400"), "", "it takes more than it may");
        assert!(self.ask("tight", "/take/60").contains("60 KiB"));
        assert_eq!(self.since("tight", before), (2, 1, 1));
        let most = self.machines("tight").memory_kib_max;
        assert!(most <= 256 + 4, "{most} KiB");
        assert_eq!(self.free(), free);
    }

    fn a_flood_launches_nothing(&self) {
        self.put_image("badring");
        let frames = self.load.frames;
        let arguments = format!("do=flood near=10.0.2.22 to={MAC} frames={frames}");
        let (before, received) = (self.settled("dust"), self.received("dust"));
        let tree = definition("flood", "badring", &arguments, 1024, |node| with_vif(node, &[]));
        self.client.create(&tree).expect("room");
        self.client.unpause("flood").expect("it runs");
        self.hear("flood", "the flood begins");
        let mut asked = 0;
        while !self.has_said("flood", "calls that nobody takes") {
            self.who("dust");
            asked += 1;
        }
        assert!(asked > 0);
        assert_eq!(self.since("dust", before), (asked, asked, 0), "the flood launched machines");
        let came = self.received("dust") - received;
        assert!(came > frames as u64, "{came} frames came");
        wait(SOON, "the end of the flood", || self.client.domain("flood").is_err());
    }

    fn received(&self, guest: &str) -> u64 {
        self.client.domain(guest).expect("it is there").networks.iter().map(|network| network.received_frames).sum()
    }

    fn no_secret_is_ever_seen_again(&self) {
        let tag = RandomState::new().build_hasher().finish() << 16;
        self.settled("wicked");
        // One has a secret all the time, and is relieved of it before its life is over.
        let holder = || {
            let mut held = self.connect("wicked");
            assert!(held.ask(&format!("/secret/{:016x}", tag | 0xffff)).contains("\"others\":0,"));
            held
        };
        let mut held = holder();
        for number in 0..self.load.secrets {
            if number % 12 == 11 {
                held = holder();
            }
            let answer = self.ask("wicked", &format!("/secret/{:016x}", tag | u64::from(number)));
            assert!(answer.contains("\"others\":0,"), "a machine sees what another had: {answer}");
            // Most of its memory.
            assert!(value(&answer, "own").is_some_and(|own| own > 60_000), "{answer}");
        }
        wait(SOON, "the end of all others", || self.machines("wicked").live == 1);
        assert!(secrets(self.memory, tag).words > 60_000, "what is there is found");
        drop(held);
        self.settled("wicked");
        let found = secrets(self.memory, tag);
        assert_eq!(found.words, 0, "secrets in memory after all who had them are gone");
        assert!(found.strays <= 64, "{found:?}");
        // The requests and answers, as they passed through the driver domain's pages for packets.
        assert!(found.pages_with_text <= 320, "{found:?}");
        self.client.restart("driver").expect("it ends and begins");
        wait(SOON, "the service", || self.ask("wicked", "/large/1").contains(" 200 "));
        self.settled("wicked");
        assert_eq!(secrets(self.memory, tag).pages_with_text, 0, "what passed the driver domain outlives it");
    }

    fn services_outlive_the_control_domain(&self) {
        let mut connection = self.connect("wicked");
        assert!(connection.ask("/large/1").contains(" 200 "));
        assert!(self.client.restart("control").is_ok());
        for _ in 0..20 {
            self.who("dust");
        }
        assert!(connection.ask("/large/2").contains(" 200 "), "its machine stays");
        drop(connection);
        self.hear("control", "took over");
        wait(SOON, "the API", || self.client.machine().is_ok());
        let before = self.settled("dust");
        self.who("dust");
        assert_eq!(self.since("dust", before), (1, 1, 0));
        self.settled("wicked");
    }

    fn services_outlive_the_driver_domain(&self) {
        let mut free = None;
        for kill in 0..self.load.kills {
            // Machines that wait for their clients are of no use without it.
            let held = [self.connect("dust"), self.connect("wicked")];
            wait(SOON, "machines", || self.machines("dust").live + self.machines("wicked").live == 2);
            if kill % 2 == 0 {
                self.client.destroy("driver").expect("it ends and begins");
            } else {
                self.client.restart("driver").expect("it ends and begins");
            }
            drop(held);
            for service in ["dust", "few", "kept", "wicked"] {
                wait(SOON, service, || self.ask(service, "/large/1").starts_with("HTTP/1.1 "));
                self.settled(service);
            }
            assert_eq!(self.client.domain("driver").expect("it is back").id, 1);
            self.at_once(5);
            assert_eq!(self.free_when_settled("dust"), *free.get_or_insert(self.free()), "memory is lost");
        }
    }

    fn a_service_goes_and_comes(&self) {
        self.put_image("http");
        let interface = [
            ("mote,ip", b"10.0.2.23\0".to_vec()),
            ("mote,service", 80_u32.to_be_bytes().to_vec()),
            ("mote,machines", 3_u32.to_be_bytes().to_vec()),
        ];
        let cpus = |node: &mut DeviceTreeNode| set(node, "cpus", 2_u32.to_be_bytes().to_vec());
        let tree = |change: &dyn Fn(&mut DeviceTreeNode)| {
            definition("few", "http", "ip=10.0.2.23/24 gateway=10.0.2.2", 1024, |node| {
                with_vif(node, &interface);
                change(node);
            })
        };
        let mut free = None;
        for _ in 0..3 {
            let mut held = self.connect("few");
            assert!(held.ask("/api/info").contains(" 200 "));
            self.client.destroy("few").expect("its machines end first");
            assert!(self.client.domain("few").is_err());
            let begun = Instant::now();
            assert_eq!(held.all(), "");
            assert!(begun.elapsed() < SOON, "it is told that its machine is gone");
            self.connect("few").has_nobody();
            let refused = self.client.create(&tree(&cpus)).expect_err("it could never become a template");
            assert!(refused.to_string().contains("several cpus"), "{refused}");
            // The control domain takes a table where it looks at memory of others for the first time, and keeps it.
            let tables = self.client.domain("control").expect("it is there").hypervisor_bytes.tables;
            let left = self.free() + tables / 1024;
            assert_eq!(left, *free.get_or_insert(left), "memory is lost");
            self.client.create(&tree(&|_| {})).expect("room");
            self.client.unpause("few").expect("it runs");
            wait(SOON, "the service", || self.client.domain("few").is_ok_and(|domain| domain.template));
            wait(SOON, "the service", || self.ask("few", "/api/info").contains(" 200 "));
            let met: BTreeSet<u32> = (0..8).map(|_| self.who("few")).collect();
            assert_eq!(met.len(), 8);
        }
    }

    fn put_image(&self, package: &str) {
        let image = std::fs::read(build::guest(package).expect("it compiles").image).expect("readable");
        self.client.put_image(package, &image, |_| ()).expect("room");
    }

    /// Waits until `who` says `text`.
    fn hear(&self, who: &str, text: &str) {
        hear_where(self.heard, SOON, &format!("{who} says `{text}`"), |line| says(line, who, text));
    }

    /// Whether `who` has said `text` by now.
    fn has_said(&self, who: &str, text: &str) -> bool {
        self.heard.try_iter().any(|line| says(&line, who, text))
    }
}

fn ask(port: u16, path: &str) -> String {
    let mut connection = Connection::to(port);
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: dust\r\nConnection: close\r\n\r\n").as_bytes());
    connection.all()
}

fn who(port: u16, guest: &str) -> u32 {
    let answer = ask(port, "/api/info");
    assert!(answer.contains("HTTP/1.1 200 ") && answer.contains(&format!("\"name\":\"{guest}\"")), "{answer}");
    domain_in(&answer)
}

/// A client's connection.
struct Connection(TcpStream);

impl Connection {
    fn to(port: u16) -> Self {
        Self(connect(port, SOON))
    }

    /// There is no answer, for as long as a service would take by far.
    fn has_nobody(mut self) {
        self.0.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
        self.send(b"GET / HTTP/1.1\r\nHost: dust\r\n\r\n");
        assert_eq!(self.all(), "", "nobody should answer");
    }

    fn send(&mut self, bytes: &[u8]) {
        // Whoever is refused is so before the request is written, or after.
        let _ = self.0.write_all(bytes);
    }

    /// All that comes.
    fn all(self) -> String {
        all(self.0)
    }

    /// The answer to a request, after which there may be another.
    fn ask(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: dust\r\n\r\n").as_bytes());
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while !is_whole(&answer) {
            let count = self.0.read(&mut part).unwrap_or(0);
            assert_ne!(count, 0, "half of an answer: {}", String::from_utf8_lossy(&answer));
            answer.extend(&part[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let answer = String::from_utf8_lossy(answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// A number in an answer in JSON.
fn value(answer: &str, name: &str) -> Option<u32> {
    let (_, rest) = answer.split_once(&format!("\"{name}\":"))?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn domain_in(answer: &str) -> u32 {
    value(answer, "domain").unwrap_or_else(|| panic!("no domain in {answer:?}"))
}

/// Whether it is `who` that says `text`. Those are not known to the console who are not in the configuration.
fn says(line: &Line, who: &str, text: &str) -> bool {
    let is_its = line.speaker.as_deref().map_or_else(|| line.text.starts_with(who), |speaker| speaker == who);
    is_its && line.text.contains(text)
}

/// What was found of secrets.
#[derive(Debug, Default)]
struct Found {
    /// As the machines wrote them.
    words: usize,
    /// In pages with a few of them: registers of machines on the hypervisor's own stacks, which are never anybody's. Where functions save them
    /// they stay until the stacks are that deep again. A page of a machine's that has secrets has more.
    strays: usize,
    /// In as many pages, as they were sent.
    pages_with_text: usize,
}

/// Looks for secrets that begin as `tag` in all of the machine's memory.
fn secrets(memory: &Path, tag: u64) -> Found {
    const PART: usize = 1 << 20;
    const PAGE: usize = 4096;
    const FEW: usize = 8;
    let text = format!("{:012x}", tag >> 16);
    let (text, first) = (text.as_bytes(), text.as_bytes()[0]);
    let has_text = |page: &[u8]| {
        let starts = page.iter().enumerate().filter(|(_, byte)| **byte == first);
        { starts }.any(|(at, _)| page[at..].starts_with(text))
    };
    let (mut found, mut part, zeroes) = (Found::default(), vec![0; PART], vec![0; PAGE]);
    let mut file = File::open(memory).expect("QEMU's memory");
    while file.read_exact(&mut part).is_ok() {
        for page in part.chunks(PAGE).filter(|page| *page != zeroes) {
            let words = page.as_chunks::<8>().0.iter().filter(|word| u64::from_le_bytes(**word) >> 16 == tag >> 16);
            let words = words.count();
            *(if words < FEW { &mut found.strays } else { &mut found.words }) += words;
            found.pages_with_text += usize::from(has_text(page));
        }
    }
    found
}

fn set(node: &mut DeviceTreeNode, name: &str, value: Vec<u8>) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// Gives a domain that is asked for a network interface with these properties.
fn with_vif(node: &mut DeviceTreeNode, properties: &[(&str, Vec<u8>)]) {
    let mut vif = DeviceTreeNode::new_unchecked("vif");
    set(&mut vif, "compatible", b"mote,vif\0".to_vec());
    for (name, value) in properties {
        set(&mut vif, name, value.clone());
    }
    node.add_child(vif);
}
