//! A control domain that fails: another is built in its place, and guests notice nothing of that.

use std::time::Duration;

use mote_tests::{Guest, boot_beside_hearing, configuration, definition, get, hear, machine, wait};
use mote_tools::build;
use mote_tools::report::State;
use mote_tools::running::Client;
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);
const KILLS: usize = 3;

/// What was sent to the control domain before is forgotten, what it could do is not.
fn create_and_destroy(client: &Client, kill: usize) {
    let image = std::fs::read(build::guest("spinner").expect("it compiles").image).expect("readable");
    client.put_image("spinner", &image, |_| ()).expect("room");
    let name = format!("made-{kill}");
    client.create(&definition(&name, "spinner", "", 1024, |_| {})).expect("room");
    client.unpause(&name).expect("it runs");
    assert!(client.domain(&name).is_ok());
    // The last is to outlive a control domain that did not read of it in a configuration.
    if kill > 0 {
        client.destroy(&format!("made-{}", kill - 1)).expect("it is there");
    }
}

fn interface(address: &str) -> String {
    format!("xen,enhanced; vif {{ compatible = \"mote,vif\"; mote,ip = \"{address}\"; mote,publish = \"0:80\"; }};")
}

#[test]
fn guests_outlive_the_control_domain() {
    let guests = [
        Guest::unikernel("driver", "driver").memory(4096).properties("xen,enhanced; mote,driver; direct-map;"),
        Guest::unikernel("web", "http")
            .arguments("ip=10.0.2.20/24 gateway=10.0.2.2")
            .properties(&interface("10.0.2.20")),
        Guest::unikernel("store", "storetest").arguments("end=steady").properties("xen,enhanced;"),
        Guest::linux("linux", "6.12")
            .arguments("console=hvc0 quiet mote.net=10.0.2.21 mote.http mote.shell")
            .properties(&interface("10.0.2.21")),
        Guest::unikernel("bare", "timer"),
    ];
    let machine = machine(2, 1024);
    let config = configuration(&guests, &machine);
    let run = boot_beside_hearing(&config, &machine, |state, client, heard| {
        let answers = |guest: &str| wait(SOON, guest, || get(state, guest).is_some_and(|page| page.contains(" 200 ")));
        let hear = |who: &str, text: &str| hear(heard, SOON, who, text);
        wait(SOON, "the API", || client.machine().is_ok());
        answers("web");
        answers("linux");
        hear("store", "rounds");
        for kill in 0..KILLS {
            assert!(client.restart("control").is_ok());
            hear("control", "took over");
            wait(SOON, "the API", || client.machine().is_ok());
            let names: Vec<_> = client.domains().expect("an answer").domains.into_iter().map(|it| it.name).collect();
            for name in ["control", "driver", "web", "store", "linux"] {
                assert!(names.iter().any(|there| there == name), "{name} of {names:?}");
            }
            answers("web");
            answers("linux");
            hear("store", "rounds");
            hear("store", "rounds");
            let typed = format!("echo alive-{kill}-$((40 + 2))\n");
            assert_eq!(client.type_at("linux", typed.as_bytes()).expect("a console"), typed.len());
            hear("linux", &format!("alive-{kill}-42"));
            assert!(String::from_utf8_lossy(&client.console("linux", 0).expect("a console").bytes).contains("-42"));
            create_and_destroy(client, kill);
        }
        client.shut_down("store", mote_api::model::Action::Poweroff).expect("it listens");
        hear("store", "steady ok");
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    assert!(
        !run.lines.iter().any(|line| line.text.contains("is not what") || line.text.contains("another value")),
        "{run}"
    );
    let mut names: Vec<_> = run.heard.domains().map(|domain| domain.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bare", "driver", "linux", "made-0", "made-1", "made-2", "store", "web"], "{run}");
    assert_eq!(run.report("store").state, State::Shutdown, "{run}");
    run.assert_all_free();
}
