//! Commands for a machine that runs, against a control domain that is not one: the real API, with a toolstack that only keeps books.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use embedded_io_async::{ErrorKind, ErrorType};
use mote_api::fake::Fake;
use mote_api::{Api, MAX_BODY, Toolstack};
use mote_tools::running::{Announced, State, Token};
use mote_tools::setup::{self, Need};
use mote_webserver::{Clock, Handler, Limits, Request, Response, serve};
use serde_json::Value;
use tempfile::TempDir;

/// A control domain on a port of this machine, and the directory with its state file.
struct Machine {
    directory: TempDir,
    toolstack: Arc<Mutex<Fake>>,
    // As long as it is there, the machine is found.
    _announced: Option<Announced>,
}

impl Machine {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut State)) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let token = Token::fresh().expect("random numbers");
        let mut state =
            State { pid: std::process::id(), config: "demo".into(), port: Some(port), token, services: vec![] };
        let toolstack = Arc::new(Mutex::new(Fake::ticking(500_000_000)));
        let server = Server { api: Api::new(mote_api::Token::new(state.token.text())), toolstack: toolstack.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.talk(stream));
            }
        });
        change(&mut state);
        let directory = tempfile::tempdir().expect("a directory");
        let announced = state.announce_in(&directory.path().join("mote")).expect("written");
        Self { directory, toolstack, _announced: Some(announced) }
    }

    fn none() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, toolstack: Arc::default(), _announced: None }
    }

    fn books(&self) -> Fake {
        self.toolstack.lock().expect("no panic").clone()
    }

    fn mote(&self, arguments: &[&str]) -> Output {
        let mut mote = Command::new(env!("CARGO_BIN_EXE_mote"));
        mote.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        // A proxy would not find it.
        mote.env("XDG_RUNTIME_DIR", self.directory.path()).env("http_proxy", "http://127.0.0.1:9");
        mote.output().expect("it starts")
    }

    /// What a command says that works.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.mote(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn says_json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.says(&arguments)).expect("JSON")
    }

    /// A command that fails says one thing, what to do about it, and changes nothing.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], status: i32, words: &str) {
        let before = self.books();
        let output = self.mote(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && said.contains(words), "{arguments:?}: {said}");
        assert_eq!(said.matches("  x ").count(), 1, "{said}");
        assert_eq!(said.matches("help: ").count(), 1, "{said}");
        let after = self.books();
        assert_eq!((after.numbers(), after.images()), (before.numbers(), before.images()), "{arguments:?}");
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), text).expect("written");
    }
}

#[derive(Clone)]
struct Server {
    api: Api,
    toolstack: Arc<Mutex<Fake>>,
}

impl Server {
    fn talk(&self, stream: TcpStream) {
        let time = Duration::from_secs(60);
        let limits = Limits { head: 4096, body: MAX_BODY, idle: time, request: time, piece: time, requests: u32::MAX };
        // Whatever it waits for it waits for where it stands, so one look is enough.
        let talk = pin!(async { serve(&mut Blocking(stream), self, &NoClock, &limits).await });
        assert!(matches!(talk.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_)));
    }
}

impl Handler for Server {
    async fn handle(&self, request: Request<'_>) -> Response {
        self.api.handle(&request, &mut *self.toolstack.lock().expect("no panic"))
    }
}

struct NoClock;

impl Clock for NoClock {
    fn sleep(&self, _: Duration) -> impl Future<Output = ()> {
        std::future::pending()
    }
}

struct Blocking(TcpStream);

impl ErrorType for Blocking {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Blocking {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(buffer).map_err(|error| error.kind().into())
    }
}

impl embedded_io_async::Write for Blocking {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.write(bytes).map_err(|error| error.kind().into())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A domain's node; its kernel is the file `kernel`.
fn domain(name: &str, more: &str) -> String {
    format!(
        "{name} {{ compatible = \"xen,domain\"; memory = <0x0 0x400>; {more}
             module@0 {{ compatible = \"multiboot,kernel\", \"multiboot,module\"; mote,file = \"kernel\"; }}; }};\n"
    )
}

fn configuration(domains: &str) -> String {
    format!("/dts-v1/;\n/ {{ chosen {{ {domains} }}; }};\n")
}

/// An arm64 Image of 100,000 bytes: more than one request carries.
fn kernel() -> Vec<u8> {
    const SIZE: u32 = 100_000;
    let mut image: Vec<u8> = (0..SIZE).map(|byte| byte as u8).collect();
    image[..64].fill(0);
    image[16..20].copy_from_slice(&SIZE.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

#[test]
fn domains_are_listed_in_xls_columns() {
    let machine = Machine::start();
    let all = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)
control                                      0     2     1     r-----       1.5
linux                                        1   256     2     -b----       5.2
hello                                        2     8     1     --p---       1.5
";
    assert_eq!(machine.says(&["list"]), all);
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(machine.says(&["list", "2", "linux"]), format!("{}\n{}\n{}\n", lines[0], lines[3], lines[2]));
    let json = machine.says_json(&["ls"]);
    assert_eq!(
        (&json[1]["name"], &json[1]["state"], &json[1]["vcpus"]),
        (&"linux".into(), &"-b----".into(), &2.into())
    );
}

#[test]
fn the_machine_a_domain_and_the_log_are_shown() {
    let machine = Machine::start();
    let info = "\
hypervisor             : Mote
version                : 0.1.0
nr_cpus                : 2
cpu_mhz                : 62.500
total_memory           : 2048
free_memory            : 1757
nr_domains             : 3
lost_clones            : 0
uptime                 : 90.5
";
    assert_eq!(machine.says(&["info"]), info);
    assert_eq!(machine.says_json(&["info"])["free_kib"], 1_800_000);
    let linux = "\
name                   : linux
id                     : 1
state                  : -b----
vcpus                  : 2
weight                 : 256
memory_kib             : 262144
max_memory_kib         : 262144
touched_kib            : 131072
hypervisor_bytes       : 16384
cpu_seconds            : 5.250
events                 : 77
exits                  : 1540
  hypercall            : 1200
  wfi                  : 340
network 0              : 120000 bytes received, 45000 sent, 0 frames dropped, 3 refused
disk xvda              : 9000000 bytes read, 4096 written, 2 errors
";
    assert_eq!(machine.says(&["info", "linux"]), linux);
    assert_eq!(machine.says_json(&["info", "1"])["exits"]["wfi"], 340);
    assert_eq!(machine.says(&["dmesg"]), "(mote) Mote 0.1.0, 2 pCPUs\n(mote) domain 0 runs\n");
    assert_eq!(machine.says_json(&["dmesg"])[1], "(mote) domain 0 runs");
}

#[test]
fn domains_are_paused_ended_and_let_run() {
    let machine = Machine::start();
    assert_eq!(machine.says(&["unpause", "hello"]), "");
    assert_eq!(machine.says_json(&["pause", "linux", "2"])[1]["state"], "--p---");
    machine.refuses(&["pause", "linux"], 2, "linux is paused");
    machine.refuses(&["shutdown", "linux"], 2, "linux is paused and hears nothing");
    assert_eq!(machine.says(&["unpause", "linux"]), "");
    machine.refuses(&["unpause", "linux"], 2, "linux is not paused");
    assert_eq!(machine.says_json(&["shutdown", "--reboot", "linux"])[0]["id"], 1);
    assert_eq!(machine.says(&["shutdown", "--wait", "linux"]), "");
    assert_eq!(machine.says(&["restart", "control"]), "");
    machine.refuses(&["restart", "hello"], 2, "what hello was built from is not kept");
    assert_eq!(machine.says(&["destroy", "hello"]), "");
    assert_eq!(machine.books().numbers(), [0]);
    for command in ["destroy", "pause", "unpause", "shutdown"] {
        machine.refuses(&[command, "hello"], 2, "there is no domain `hello`");
        machine.refuses(&[command, "0"], 2, "the control domain cannot do this to itself");
    }
}

#[test]
fn a_domain_is_created_from_what_its_configuration_names() {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let machine = Machine::start();
    machine.write("kernel", kernel());
    machine.write("two.dts", configuration(&(domain("web", "mote,peers = \"linux\";") + &domain("db", "cpus = <2>;"))));
    assert_eq!(machine.says(&["create", "two.dts"]), "web is domain 3\ndb is domain 4\n");
    let books = machine.books();
    let [image] = &books.images()[..] else { panic!("one image") };
    assert_eq!((image.size, image.present), (100_000, 100_000), "the same bytes are sent once");
    assert_eq!(books.modules("db").map(|modules| &modules.kernel), Some(&image.name));
    machine.write("one.dts", configuration(&domain("last", "")));
    assert_eq!(machine.says(&["create", "--paused", "one.dts"]), "last is domain 5, paused\n");
    assert_eq!(machine.says(&["destroy", "last"]), "");
    assert_eq!(machine.says_json(&["create", "one.dts"])[0]["state"], "r-----");
}

#[test]
fn a_domain_that_cannot_be_created_leaves_nothing() {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let machine = Machine::start();
    machine.write("kernel", kernel());
    for (text, words) in [
        (domain("linux", ""), "the machine has a domain `linux`"),
        (domain("web", "mote,peers = \"nobody\";"), "there is no other guest `nobody`"),
        (domain("web", "cpus = <0>;"), "a guest without a CPU"),
        (String::new(), "there is no guest"),
    ] {
        machine.write("bad.dts", configuration(&text));
        machine.refuses(&["create", "bad.dts"], 2, words);
    }
    machine.refuses(&["create", "none.dts"], 2, "there is no such file");
    // The second of two: the first goes again. The image stays for another try.
    let more = domain("big", "").replace("0x400>", "0x1c0000>");
    machine.write("big.dts", configuration(&(domain("web", "") + &more)));
    let output = machine.mote(&["create", "big.dts"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("big is to have 1835008 KiB of memory, 1798976 KiB are free"), "{said}");
    assert_eq!(machine.books().numbers(), [0, 1, 2]);
    // Larger than there is room for.
    let mut large = kernel();
    large.resize(2 << 20, 0);
    machine.write("kernel", large);
    let more = domain("web", "").replace("0x400>", "0x2000>");
    machine.write("large.dts", configuration(&more));
    let output = machine.mote(&["create", "large.dts"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no room for an image of 2097152 bytes") && said.contains("help: "), "{said}");
    assert_eq!(machine.books().numbers(), [0, 1, 2]);
}

#[test]
fn a_console_is_shown_and_typed_at() {
    let machine = Machine::start();
    assert_eq!(machine.says(&["console", "linux"]), "linux: here I am\r\n");
    assert_eq!(machine.says_json(&["console", "1"]), serde_json::json!({"from": 0, "text": "linux: here I am\r\n"}));
    assert_eq!(machine.says(&["console", "--send", "ls", "linux"]), "linux: here I am\r\nls\n");
    let long = "x".repeat(300);
    let said = machine.says(&["console", "--send", &long, "hello"]);
    assert_eq!(said.matches('x').count(), 300, "nothing is lost though there is little room");
    machine.refuses(&["console", "0"], 2, "the control domain has no console here");
    machine.refuses(&["console", "web"], 2, "there is no domain `web`");
}

#[test]
fn following_a_console_ends_with_its_domain() {
    let machine = Machine::start();
    let end = thread::scope(|scope| {
        let follow = scope.spawn(|| machine.mote(&["console", "--follow", "linux"]));
        thread::sleep(Duration::from_millis(600));
        assert_eq!(machine.says(&["shutdown", "linux"]), "");
        follow.join().expect("no panic")
    });
    assert_eq!((end.status.code(), &*end.stdout), (Some(0), &b"linux: here I am\r\n"[..]));
}

#[test]
fn top_looks_as_often_as_it_is_told() {
    let machine = Machine::start();
    let looks = machine.says(&["top", "-d", "0.1", "-n", "2"]);
    let first = "\
mote top   up 91 s   3 domains   2 pCPUs   2048 MiB
NAME             STATE   CPU(sec) CPU(%)    MEM(k) MEM(%) VCPUS  EXITS/s EVENTS/s  NETRX/s  NETTX/s DISKRD/s DISKWR/s
control          r-----       1.5    0.0      2048    0.1     1        0        0        0        0        0        0
linux            -b----       5.2    0.0    262144   12.5     2        0        0        0        0        0        0
hello            --p---       1.5    0.0      8192    0.4     1        0        0        0        0        0        0

";
    assert_eq!(looks, format!("{first}{}", first.replace("91 s", "92 s")));
    let look = machine.says_json(&["top", "-d", "0.1", "-n", "1"]);
    assert_eq!((&look["domains"][1]["name"], &look["domains"][1]["exits_per_second"]), (&"linux".into(), &0.0.into()));
    for (option, value) in [("-d", "0"), ("-d", "x"), ("-d", "inf"), ("-n", "0")] {
        assert_eq!(machine.mote(&["top", option, value]).status.code(), Some(2));
    }
}

#[test]
fn without_a_machine_every_command_says_how_to_start_one() {
    let machine = Machine::none();
    for arguments in [
        &["list"][..],
        &["create", "web.dts"],
        &["destroy", "a"],
        &["pause", "a"],
        &["unpause", "a"],
        &["shutdown", "a"],
        &["restart", "control"],
        &["console", "a"],
        &["info"],
        &["dmesg"],
        &["top"],
        &["list", "--machine", "demo"],
    ] {
        machine.refuses(arguments, 3, "no machine runs");
    }
    let said = machine.mote(&["list"]).stderr;
    assert_eq!(
        String::from_utf8_lossy(&said),
        "  x no machine runs\n  help: start one with `cargo run` or `cargo run -- run CONFIG.dts`, in another terminal\n\n"
    );
}

#[test]
fn a_machine_is_named_by_its_process_or_its_configuration() {
    let machine = Machine::start();
    for name in ["demo", &std::process::id().to_string()] {
        assert!(machine.says(&["list", "--machine", name]).contains("linux"));
    }
    machine.refuses(&["list", "--machine", "other"], 2, "no machine `other` runs");
}

#[test]
fn who_cannot_be_reached_or_trusted_is_told_of() {
    Machine::with(|state| state.port = None).refuses(&["list"], 3, "has no network");
    Machine::with(|state| state.token = Token::fresh().expect("random numbers")).refuses(
        &["list"],
        3,
        "has no token, or not this machine's",
    );
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("its number").port();
    Machine::with(|state| state.port = Some(free)).refuses(&["info"], 3, "does not answer");
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        thread::spawn(move || -> Infallible {
            loop {
                let (mut stream, _) = listener.accept().expect("a client");
                // A client's request is short enough to come at once.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Machine::with(|state| state.port = Some(port)).refuses(&["info"], 3, "this tool does not understand");
    }
}

#[test]
fn names_that_no_domain_can_have_are_not_sent() {
    let machine = Machine::start();
    for name in ["", "a/b", "../images", "linux?from=1", "li\nnux", "ä"] {
        machine.refuses(&["info", name], 2, "there is no domain");
        machine.refuses(&["destroy", name], 2, "there is no domain");
    }
}

#[test]
fn shells_and_man_have_what_they_need() {
    let machine = Machine::none();
    for shell in ["bash", "zsh", "fish"] {
        let text = machine.says(&["completions", shell]);
        assert!(text.contains("unpause") && text.contains("iterations"), "{shell}");
    }
    assert_eq!(machine.mote(&["completions", "sh"]).status.code(), Some(2));
    let pages = machine.directory.path().join("man");
    assert_eq!(machine.says(&["man", "man"]), "");
    let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap_or_default();
    assert!(page("mote.1").contains("mote\\-list(1)") && page("mote-top.1").contains("iterations"));
    machine.write("file", "");
    machine.refuses(&["man", "file"], 3, "cannot write man pages");
    assert!(Path::new(&pages).is_dir());
}
