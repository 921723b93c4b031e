//! Services by their names: one port of the control domain's leads to all of them.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mote_api::model::Machines;
use mote_tests::{Guest, all, boot_beside, configuration_with, connect, machine, port, wait};
use mote_tools::running::Client;
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);

fn service(name: &str, package: &str, last: u8) -> Guest {
    Guest::unikernel(name, package).arguments(&format!("ip=10.0.2.{last}/24 gateway=10.0.2.2")).properties(&format!(
        "xen,enhanced; vif {{ compatible = \"mote,vif\"; mote,ip = \"10.0.2.{last}\"; mote,service = <80>;
         mote,host = \"{name}.example\"; }};"
    ))
}

#[test]
fn a_request_is_answered_by_the_service_that_it_names() {
    let guests = [
        Guest::unikernel("driver", "driver").memory(8192).properties("xen,enhanced; mote,driver;"),
        service("dust", "http", 22),
        service("chart", "chart", 23),
    ];
    let machine = machine(2, 512);
    let control =
        "control { compatible = \"xen,domain\"; memory = <0 0x1000>; mote,control; mote,publish = \"0:8000\"; };";
    let config = configuration_with(control, &guests, &machine);
    let run = boot_beside(&config, &machine, |state, client| {
        let port = port(state, "control");
        for service in ["dust", "chart"] {
            wait(SOON, service, || client.domain(service).is_ok_and(|domain| domain.template));
        }
        wait(SOON, "the port", || ask(port, "Host: dust.example\r\n", "/").contains(" 200 "));
        let before = settled(client);
        let info = |host: &str| ask(port, &format!("Host: {host}\r\n"), "/api/info");
        let met: Vec<String> = ["dust.example", "DUST.example:8000", "dust.example"].map(info).into();
        assert!(met.iter().all(|answer| answer.contains("\"name\":\"dust\"")), "{met:?}");
        assert!(met[0] != met[1] && met[1] != met[2], "each is answered by a machine of its own: {met:?}");
        let picture = ask(port, "Host: chart.example\r\n", "/chart.svg?values=3,5,8.25&title=Rain");
        assert!(picture.contains(" 200 ") && picture.contains("<svg") && picture.contains("Rain"), "{picture}");
        let after = settled(client);
        assert_eq!(launched(after, before), [3, 1]);

        for (headers, status) in [
            ("Host: other.example\r\n", " 404 "),
            ("Host: 10.0.2.22\r\n", " 404 "),
            ("Host: example\r\n", " 404 "),
            ("", " 400 "),
            ("Host: dust.example\r\nHost: chart.example\r\n", " 400 "),
            ("Host: dust.example/\r\n", " 400 "),
            ("Host: \u{1}\r\n", " 400 "),
            (&format!("Host: dust.example\r\nLong: {}\r\n", "x".repeat(4000)), " 431 "),
        ] {
            let answer = ask(port, headers, "/");
            assert!(answer.starts_with("HTTP/1.1") && answer.contains(status), "{headers:.60}: {answer}");
        }
        // Those who say nothing, or half of it, are cut off; others are served meanwhile.
        let begun = Instant::now();
        let mut slow: Vec<_> = (0..8).map(|_| connect(port, SOON)).collect();
        for stream in slow.iter_mut().skip(1) {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: dust.exam").expect("it is taken");
        }
        assert!(info("dust.example").contains(" 200 "));
        assert!(slow.into_iter().map(all).all(|answer| answer.starts_with("HTTP/1.1 408 ")));
        assert!(begun.elapsed() < SOON);
        assert_eq!(launched(settled(client), after), [1, 0], "who is refused launches nothing");

        // Many more at once than are passed on at a time.
        let asked: Vec<_> = (0..40).map(|_| send(port, "Host: dust.example\r\n", "/style.css")).collect();
        let answered = asked.into_iter().map(all).filter(|answer| answer.contains(" 200 ")).count();
        assert!(answered >= 8, "{answered}");

        client.destroy("chart").expect("it is there");
        assert!(ask(port, "Host: chart.example\r\n", "/").contains(" 404 "), "it has no name any more");
        client.restart("driver").expect("it ends and begins");
        wait(SOON, "the service", || info("dust.example").contains(" 200 "));
        client.restart("control").expect("it ends and begins");
        wait(SOON, "the port again", || info("dust.example").contains(" 200 "));
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
}

/// The counts of both services when no machine is left.
fn settled(client: &Client) -> [Machines; 2] {
    ["dust", "chart"].map(|service| {
        let machines = || client.domain(service).expect("it is there").machines.expect("a template");
        wait(SOON, "the end of all machines", || machines().live == 0);
        machines()
    })
}

fn launched(after: [Machines; 2], before: [Machines; 2]) -> [u64; 2] {
    [0, 1].map(|index| after[index].launched - before[index].launched)
}

fn send(port: u16, headers: &str, path: &str) -> TcpStream {
    let mut stream = connect(port, SOON);
    // Whoever is refused is so before the request is written, or after.
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes());
    stream
}

fn ask(port: u16, headers: &str, path: &str) -> String {
    all(send(port, headers, path))
}
