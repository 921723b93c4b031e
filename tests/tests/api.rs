//! The control domain's API, on one machine: every command, whatever is refused, and domains that come and go without a trace.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use mote_api::model::{Action, Domain};
use mote_tests::{Guest, ask, boot_beside, configuration, definition, machine, request, wait, with_interface};
use mote_tools::build;
use mote_tools::report;
use mote_tools::running::{Client, State};
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_machine_is_dealt_with_by_its_api() {
    let guests = [
        Guest::unikernel("driver", "driver").memory(4096).properties("xen,enhanced; mote,driver;"),
        Guest::unikernel("web", "http").arguments("ip=10.0.2.20/24 gateway=10.0.2.2").properties(
            "xen,enhanced; vif { compatible = \"mote,vif\"; mote,ip = \"10.0.2.20\"; mote,publish = \"0:80\"; };",
        ),
    ];
    let machine = machine(2, 1024);
    let config = configuration(&guests, &machine);
    let run = boot_beside(&config, &machine, |state, client| {
        wait(SOON, "the API", || client.machine().is_ok());
        who_is_there(client);
        the_machine_is_described(client);
        whoever_has_no_token_is_refused(state);
        whatever_makes_no_sense_is_refused(state);
        send_images(client);
        a_domain_comes_and_goes(client);
        a_domain_that_ends_is_gone(client);
        a_domain_is_shut_down(client);
        what_cannot_be_built_is_refused(client);
        domains_leave_nothing_behind(client);
        the_silent_block_nobody_for_long(state, client);
        the_first_guests_are_served_as_before(state);
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    assert!(run.said("web", "ready: http://10.0.2.20:80/"), "{run}");
    assert_eq!(run.report("crash").state, report::State::Crashed, "{run}");
    assert!(run.heard.domains().filter(|domain| domain.name == "cycle").count() >= 100, "{run}");
}

fn who_is_there(client: &Client) {
    let all = client.domains().expect("an answer");
    let names: Vec<_> = all.domains.iter().map(|domain| (domain.id, domain.name.as_str())).collect();
    assert_eq!((all.cpus, names), (2, vec![(0, "control"), (1, "driver"), (2, "web")]));
    let [control, driver, web] = &all.domains[..] else { panic!("three domains") };
    assert!(control.state.running && control.memory_kib >= 4000 && control.cpu_ns > 0, "{control:?}");
    assert!(driver.touched_bytes > 0 && driver.hypervisor_bytes.tables > 0, "{driver:?}");
    assert_eq!((web.vcpus, web.weight, web.memory_kib / 1024, web.networks.len()), (1, 256, 1, 1));
    wait(SOON, "exits", || client.domain("driver").expect("it is there").exits.total() > 0);
    assert_eq!(client.domain("web").expect("it is there").id, client.domain("2").expect("it is there").id);
}

fn the_machine_is_described(client: &Client) {
    let machine = client.machine().expect("an answer");
    assert_eq!((&*machine.hypervisor, machine.cpus, machine.domains), ("Mote", 2, 3));
    assert!(machine.free_kib > 900_000 && machine.free_kib < machine.memory_kib, "{machine:?}");
    let log = client.log().expect("an answer");
    assert!(log.starts_with(b"Mote "), "{}", String::from_utf8_lossy(&log));
}

fn whoever_has_no_token_is_refused(state: &State) {
    let get = |path: &str, headers: &str| {
        ask(state, format!("GET {path} HTTP/1.1\r\nHost: mote\r\nConnection: close\r\n{headers}\r\n").as_bytes()).0
    };
    let almost = &state.token.text()[1..];
    for headers in [
        String::new(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer 0\r\n".into(),
        format!("Authorization: Bearer {almost}\r\n"),
        format!("Authorization: Bearer {almost}0\r\n"),
        format!("Authorization: Basic {}\r\n", state.token.text()),
    ] {
        assert_eq!(get("/domains", &headers), 401, "{headers}");
        assert_eq!(get("/no/such/path", &headers), 401, "{headers}");
    }
    assert_eq!(get("/openapi.yaml", ""), 200);
    let (status, text) = request(state, "GET", "/metrics", "", b"");
    assert_eq!(status, 200);
    assert!(text.contains("mote_domain_memory_bytes{id=\"2\",domain=\"web\"} 1048576"), "{text}");
}

fn whatever_makes_no_sense_is_refused(state: &State) {
    for (method, path, headers, body, status) in [
        ("GET", "/nothing", "", &b""[..], 404),
        ("PATCH", "/domains", "", b"", 405),
        ("GET", "/domains/nobody", "", b"", 404),
        ("GET", "/domains/65535", "", b"", 404),
        ("DELETE", "/domains/0", "", b"", 409),
        ("POST", "/domains/control/pause", "", b"", 409),
        ("POST", "/domains/web/shutdown", "", b"{\"action\":\"dance\"}", 400),
        ("GET", "/domains/web/console?from=x", "", b"", 400),
        ("GET", "/domains/0/console", "", b"", 409),
        ("POST", "/domains/web/console", "", &[b'x'; 5000], 413),
        ("POST", "/domains", "", b"", 400),
        ("POST", "/domains", "", b"\xd0\x0d\xfe\xed\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 400),
        ("POST", "/domains", "", &[0xff; 40_000], 400),
        ("PUT", "/images/a%20b", "", b"x", 400),
        ("PUT", "/images/a", "Content-Range: bytes 0-0/99999999999\r\n", b"x", 413),
        ("PUT", "/images/a", "Content-Range: bytes 5-5/10\r\n", b"x", 409),
        ("DELETE", "/images/a", "", b"", 404),
    ] {
        let (answered, text) = request(state, method, path, headers, body);
        assert_eq!(answered, status, "{method} {path}: {text}");
        assert!(text.contains("\"error\":\"") && text.contains("\"hint\":\""), "{method} {path}: {text}");
    }
    let token = state.token.text();
    let head = format!("PUT /images/a HTTP/1.1\r\nHost: mote\r\nAuthorization: Bearer {token}\r\n");
    let put = |length: &str| format!("{head}Content-Length: {length}\r\n\r\n");
    for (text, status) in [
        ("\r\n\0\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: mote\r\n\r\n", "a".repeat(5000)), 431),
        (put("999999"), 413),
        (put("-1"), 400),
        ("\u{1}\u{2}\u{3}\u{4}\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/9.9\r\nHost: mote\r\n\r\n".to_owned(), 505),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(300)), 431),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), 413),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"), 400),
        (format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 400),
        (put("99999999999999999999999"), 413),
    ] {
        assert_eq!(ask(state, text.as_bytes()).0, status, "{text}");
    }
}

fn send_images(client: &Client) {
    for name in ["spinner", "rogue", "http"] {
        let image = build::guest(name).expect("it compiles").image;
        let bytes = std::fs::read(image).expect("readable");
        client.put_image(name, &bytes, |_| {}).expect("room");
    }
    let spinner = std::fs::read(build::guest("spinner").expect("it compiles").image).expect("readable");
    let noise: Vec<u8> = (0..5000_u32).map(|number| (number.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    for (name, bytes) in [("zeroes", &[0; 5000][..]), ("noise", &noise), ("cut", &spinner[..60])] {
        client.put_image(name, bytes, |_| {}).expect("room");
    }
    let images = client.images().expect("an answer");
    assert_eq!(images.iter().filter(|image| image.present == image.size).count(), 6, "{images:?}");
}

/// The tree that asks for a domain of 1 MiB.
fn tree(name: &str, image: &str, arguments: &str, change: impl FnOnce(&mut DeviceTreeNode)) -> Vec<u8> {
    definition(name, image, arguments, 1024, change)
}

fn simple(name: &str, image: &str, arguments: &str) -> Vec<u8> {
    tree(name, image, arguments, |_| {})
}

fn create(client: &Client, tree: &[u8]) -> Domain {
    client.create(tree).unwrap_or_else(|failure| panic!("{failure}"))
}

fn a_domain_comes_and_goes(client: &Client) {
    let free = client.machine().expect("an answer").free_kib;
    let events = || client.domain("driver").expect("it is there").events;
    let told = events();
    assert!(told > 0 && events() > told, "by every frame of this conversation");
    let one = create(client, &simple("one", "spinner", ""));
    assert!(one.state.paused && one.cpu_ns == 0, "{one:?}");
    assert_eq!((one.vcpus, one.max_memory_kib / 1024), (1, 1));
    assert!(client.pause("one").is_err(), "it is paused");
    assert!(!client.unpause("one").expect("it runs").state.paused);
    assert!(client.unpause("one").is_err(), "it is not paused");
    wait(SOON, "it to run", || client.domain("one").expect("it is there").cpu_ns > 1_000_000);
    assert!(client.pause("one").expect("it stops").state.paused);
    let before = client.domain("one").expect("it is there").cpu_ns;
    sleep(Duration::from_millis(200));
    assert_eq!(client.domain("one").expect("it is there").cpu_ns, before, "it runs though it is paused");
    // It reads nothing: its ring holds so much.
    assert_eq!(client.type_at("one", &[b'x'; 4096]).expect("a console"), 1024);
    assert_eq!(client.type_at("one", b"x").expect("a console"), 0);
    assert_eq!(client.console("one", 7).expect("a console").next, 0);
    assert!(client.create(&simple("one", "spinner", "")).is_err(), "there is one of this name");
    client.destroy("one").expect("it goes");
    assert!(client.domain("one").is_err());
    assert!(client.destroy("one").is_err(), "it is gone");
    assert_eq!(client.machine().expect("an answer").free_kib, free);
}

fn a_domain_that_ends_is_gone(client: &Client) {
    let id = create(client, &simple("crash", "rogue", "do=panic")).id;
    client.unpause("crash").expect("it runs");
    wait(SOON, "its end", || !client.is_up(&id.to_string()).expect("an answer") && client.domain("crash").is_err());
}

fn a_domain_is_shut_down(client: &Client) {
    for (name, action) in [("down", Action::Poweroff), ("again", Action::Reboot)] {
        create(client, &simple(name, "spinner", ""));
        client.unpause(name).expect("it runs");
        client.shut_down(name, action).expect("it is asked");
        wait(SOON, "its end", || !client.is_up(name).expect("an answer"));
    }
}

fn what_cannot_be_built_is_refused(client: &Client) {
    let free = client.machine().expect("an answer").free_kib;
    let property = |name: &'static str, value: Vec<u8>| {
        move |node: &mut DeviceTreeNode| node.add_property(DeviceTreeProperty::new_unchecked(name, value))
    };
    for (tree, words) in [
        (simple("x", "nothing", ""), "there is no image"),
        (tree("x", "spinner", "", property("memory", vec![0, 0, 0, 0, 0, 0x10, 0, 0])), "the whole machine has"),
        (tree("x", "spinner", "", property("memory", vec![0, 0, 0, 0, 0, 0, 0, 63])), "memory is less than"),
        (tree("x", "spinner", "", property("memory", vec![0; 8])), "memory is less than"),
        (tree("x", "spinner", "", property("memory", vec![0xff; 8])), "memory"),
        (tree("x", "spinner", "", property("memory", vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])), "memory"),
        (tree("x", "spinner", "", property("memory", vec![4])), "memory"),
        (tree("x", "spinner", "", property("cpus", vec![0; 4])), "cpus is not 1 to 128"),
        (tree("x", "spinner", "", property("cpus", 1_000_000_000_u32.to_be_bytes().to_vec())), "cpus is not 1 to 128"),
        (tree("x", "spinner", "", property("mote,weight", vec![0xff; 4])), "mote,weight"),
        (simple(&"x".repeat(100), "spinner", ""), ""),
        (simple("a b\n\"", "spinner", ""), ""),
        (simple("x", "zeroes", ""), ""),
        (simple("x", "noise", ""), ""),
        (simple("x", "cut", ""), ""),
        (tree("x", "spinner", "", property("cpus", vec![0, 0, 0, 200])), "cpus is not 1 to 128"),
        (tree("x", "spinner", "", property("direct-map", vec![])), "mote,driver"),
        (simple("control", "spinner", ""), "there is a domain `control`"),
    ] {
        let failure = client.create(&tree).expect_err("it cannot be built");
        assert!(failure.to_string().contains(words), "{failure}");
    }
    assert_eq!(client.machine().expect("an answer").free_kib, free);
}

/// Each with what a domain can have: rings, xenstore nodes, a network interface that the driver domain serves.
fn domains_leave_nothing_behind(client: &Client) {
    let tree = tree("cycle", "http", "ip=10.0.2.30/24", with_interface);
    let mut after = Vec::new();
    for turn in 0..102 {
        create(client, &tree);
        if turn % 3 > 0 {
            client.unpause("cycle").expect("it runs");
        }
        if turn % 3 > 1 {
            sleep(Duration::from_millis(20));
        }
        client.destroy("cycle").expect("it goes");
        let own = client.domain("control").expect("an answer");
        after.push((client.machine().expect("an answer").free_kib, own.memory_kib, own.max_memory_kib));
    }
    // What the first ones need the driver domain keeps.
    assert_eq!(after[2], after[101], "{after:?}");
}

/// Many who connect and say nothing, or a byte at a time.
fn the_silent_block_nobody_for_long(state: &State, client: &Client) {
    let port = state.port.expect("a network");
    let mut silent: Vec<_> = (0..24).filter_map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()).collect();
    for byte in b"GET /dom" {
        silent.iter_mut().step_by(2).for_each(|stream| drop(stream.write_all(&[*byte])));
        sleep(Duration::from_millis(100));
    }
    wait(SOON, "the API", || client.machine().is_ok());
    drop(silent);
    wait(SOON, "the API", || client.machine().is_ok());
}

/// After all that has come and gone.
fn the_first_guests_are_served_as_before(state: &State) {
    wait(SOON, "the web server", || get(state.services[0].host).is_some_and(|page| page.contains("\"name\":\"web\"")));
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    stream.write_all(b"GET /api/info HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}
