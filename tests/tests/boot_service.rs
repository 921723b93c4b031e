//! A service whose machines boot: a Linux that is not there until somebody calls, and is gone when it has answered.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use mote_api::model::{Domain, Machines};
use mote_tests::{
    Guest, all, boot_beside_hearing, configuration, connect, definition, hear, machine, port, wait, with_interface,
};
use mote_tools::build;
use mote_tools::running::{Client, State};
use mote_tools::session::End;

/// How long the machine may take for something that it does at once, and how long a Linux may take to boot and to answer.
const SOON: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(150);

/// The Ethernet address of `linux`.
const MAC: &str = "00:16:3e:00:00:21";

/// Debian's Linux with this last byte of its address, which serves web pages when it has booted; and more properties of its interface.
fn linux(name: &str, last: u8, more: &str) -> Guest {
    Guest::linux(name, "6.12").arguments(&format!("console=hvc0 quiet mote.net=10.0.2.{last}/24 mote.http")).properties(
        &format!(
            "xen,enhanced; interface {{ compatible = \"mote,vif\"; mote,ip = \"10.0.2.{last}\"; mote,publish = \"0:80\";
             mote,service = <80>; mote,launch = \"boot\"; {more} }};"
        ),
    )
}

fn guests() -> [Guest; 3] {
    [
        Guest::unikernel("driver", "driver").memory(8192).properties("xen,enhanced; mote,driver;"),
        linux("linux", 21, "mote,machines = <2>; mote,waiting = <1>; local-mac-address = [00 16 3e 00 00 21];"),
        Guest::unikernel("dust", "http").arguments("ip=10.0.2.22/24 gateway=10.0.2.2").properties(
            "xen,enhanced; vif { compatible = \"mote,vif\"; mote,ip = \"10.0.2.22\"; mote,service = <80>;
             mote,publish = \"0:80\"; };",
        ),
    ]
}

#[test]
fn a_linux_is_booted_for_who_calls_and_vanishes() {
    let machine = machine(2, 1024);
    let config = configuration(&guests(), &machine);
    let run = boot_beside_hearing(&config, &machine, |state, client, heard| {
        let scene = Scene { state, client };
        wait(SOON, "the template", || client.domain("dust").is_ok_and(|dust| dust.template));
        assert_eq!(scene.listed(), ["control", "driver", "linux", "dust"], "nothing boots for nobody");
        let free = scene.free();
        scene.each_call_meets_another_linux();
        assert_eq!(scene.free(), free, "all its memory comes back");
        scene.a_flood_boots_nothing();
        scene.calls_wait_and_are_refused_as_they_are_to_be();
        assert_eq!(scene.free(), free);

        // The next control domain knows machines and how to build more.
        let asked = scene.call("linux");
        wait(SOON, "a machine", || scene.machines("linux").live == 1);
        client.restart("control").expect("it ends and begins");
        hear(heard, SOON, "control", "took over");
        assert!(boot(&all(asked)).is_some(), "its Linux goes on");
        scene.settle("linux");
        assert!(boot(&scene.ask("linux", "/api/info")).is_some(), "another one is booted");

        // Without the driver domain nobody reaches them.
        let broken = scene.call("linux");
        wait(SOON, "a machine", || scene.machines("linux").live == 1);
        client.restart("driver").expect("it ends and begins");
        wait(SOON, "its end", || scene.machines("linux").live == 0);
        drop(broken);
        wait(SOON, "the service", || scene.ask("dust", "/").contains(" 200 "));
        assert!(boot(&scene.ask("linux", "/api/info")).is_some(), "the next driver domain orders its own");
        scene.settle("linux");
        client.destroy("linux").expect("it is a domain like others");
        assert_eq!(scene.listed(), ["control", "driver", "dust"]);
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    run.assert_all_free();
}

struct Scene<'a> {
    state: &'a State,
    client: &'a Client,
}

impl Scene<'_> {
    fn each_call_meets_another_linux(&self) {
        let mut met = Vec::new();
        for number in 1..=2 {
            let asked = self.call("linux");
            wait(SOON, "a machine", || self.listed().contains(&format!("linux.{number}")));
            assert_eq!(self.machines("linux").live, 1);
            wait(SOON, "its caller to be counted", || self.machines("linux").waiting == 1);
            met.push(boot(&all(asked)).expect("an answer"));
            self.settle("linux");
            let counted = self.machines("linux");
            assert_eq!((counted.launched, counted.vanished, counted.crashed), (number, number, 0), "{counted:?}");
            assert_eq!((counted.answered, counted.waiting, counted.refused), (number, 0, 0), "{counted:?}");
            // It had to boot before it could say anything, and its end came after that.
            assert!(counted.answer_us_mean > 100_000 && counted.answer_us_max >= counted.answer_us_mean, "{counted:?}");
            assert!(counted.life_us_max > 100_000 && counted.memory_kib_max > 100 << 10, "{counted:?}");
            println!("answered after {} us, lived {} us", counted.answer_us_mean, counted.life_us_mean);
        }
        assert_ne!(met[0], met[1], "a machine answered twice");
        self.ask("dust", "/");
        wait(SOON, "a figure", || self.machines("dust").answered > 0);
        let [clone, linux] = ["dust", "linux"].map(|guest| self.machines(guest).answer_us_mean);
        assert!(clone < linux / 2, "a clone took {clone} us, a Linux {linux} us");
    }

    fn a_flood_boots_nothing(&self) {
        let image = std::fs::read(build::guest("badring").expect("it compiles").image).expect("readable");
        self.client.put_image("badring", &image, |_| ()).expect("room");
        let before = self.machines("linux");
        let arguments = format!("do=flood near=10.0.2.21 to={MAC} frames=3000");
        let tree = definition("flood", "badring", &arguments, 1024, with_interface);
        self.client.create(&tree).expect("room");
        self.client.unpause("flood").expect("it runs");
        wait(SOON, "the end of the flood", || self.client.domain("flood").is_err());
        let received = |domain: Domain| domain.networks.iter().map(|network| network.received_frames).sum::<u64>();
        assert!(received(self.client.domain("linux").expect("an answer")) > 3000, "it came there");
        assert_eq!(self.machines("linux").launched, before.launched, "the flood booted machines");
    }

    fn calls_wait_and_are_refused_as_they_are_to_be(&self) {
        let before = self.machines("linux");
        // A call beyond those that may wait is refused at once.
        let held: Vec<_> = (0..3).map(|_| self.call("linux")).collect();
        wait(SOON, "two machines", || self.machines("linux").live == 2);
        wait(SOON, "all three", || self.machines("linux").waiting == 3);
        assert_eq!(self.ask("linux", "/"), "", "it is refused");
        drop(held);
        self.settle("linux");
        let after = self.machines("linux");
        // Who has ended his side may still listen, so that these three had their machines.
        assert_eq!((after.refused - before.refused, after.crashed), (1, 0), "{after:?}");
        assert_eq!(after.launched - before.launched, 3, "{after:?}");
    }

    fn listed(&self) -> Vec<String> {
        self.client.domains().expect("an answer").domains.into_iter().map(|domain| domain.name).collect()
    }

    fn free(&self) -> u64 {
        self.client.machine().expect("an answer").free_kib
    }

    fn machines(&self, guest: &str) -> Machines {
        // Just after a control domain has begun, it does not answer.
        let mut found = None;
        wait(SOON, "an answer", || {
            found = self.client.domain(guest).ok().and_then(|domain| domain.machines);
            found.is_some()
        });
        found.expect("a service")
    }

    /// Waits until no machine is left, and that is counted.
    fn settle(&self, guest: &str) {
        wait(SOON, "the end of all machines", || {
            let machines = self.machines(guest);
            (machines.live, machines.waiting) == (0, 0)
        });
    }

    /// Connects and asks, without waiting for an answer.
    fn call(&self, guest: &str) -> TcpStream {
        self.send(guest, "/api/info")
    }

    fn send(&self, guest: &str, path: &str) -> TcpStream {
        let mut stream = connect(port(self.state, guest), PATIENCE);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {guest}\r\nConnection: close\r\n\r\n");
        // Whoever is refused is so before the request is written, or after.
        let _ = stream.write_all(request.as_bytes());
        stream
    }

    fn ask(&self, guest: &str, path: &str) -> String {
        all(self.send(guest, path))
    }
}

/// Which Linux says that.
fn boot(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once("\"boot\":\"")?;
    Some(rest.split('"').next()?.into())
}
