//! Services: guests that become templates, clones of which answer; and domains that vanish.

use std::time::Duration;

use mote_api::model::Machines;
use mote_tests::{Guest, boot_beside_hearing, configuration, get, hear, machine, request, wait};
use mote_tools::running::Client;
use mote_tools::session::End;

/// How long the machine may take for something that it does at once.
const SOON: Duration = Duration::from_secs(60);

fn machines(client: &Client) -> Machines {
    client.domain("dust").expect("an answer").machines.expect("a template")
}

#[test]
fn a_service_is_a_template_whose_clones_answer_and_vanish() {
    let guests = [
        Guest::unikernel("driver", "driver").memory(8192).properties("xen,enhanced; mote,driver;"),
        Guest::unikernel("dust", "http").arguments("ip=10.0.2.20/24 gateway=10.0.2.2").properties(
            "xen,enhanced; vif { compatible = \"mote,vif\"; mote,ip = \"10.0.2.20\"; mote,service = <80>; \
             mote,publish = \"0:80\"; };",
        ),
        Guest::unikernel("brief", "hello").properties("vpl011; mote,ephemeral;"),
        Guest::unikernel("there", "spinner"),
    ];
    let machine = machine(2, 1024);
    let config = configuration(&guests, &machine);
    let run = boot_beside_hearing(&config, &machine, |state, client, heard| {
        wait(SOON, "a template", || client.domain("dust").is_ok_and(|dust| dust.template));
        wait(SOON, "the end of a domain that vanishes", || client.domain("brief").is_err());
        assert_eq!(machines(client), Machines::default());
        assert!(!client.domain("there").expect("an answer").template);
        const ASKED: u64 = 5;
        for _ in 0..ASKED {
            wait(SOON, "a page", || get(state, "dust").is_some_and(|page| page.contains(" 200 ")));
        }
        wait(SOON, "the end of all clones", || machines(client).live == 0);
        let counted = machines(client);
        assert!(counted.launched >= ASKED && counted.launched == counted.vanished, "{counted:?}");
        assert!(counted.life_us_mean > 0 && (4..=512).contains(&counted.memory_kib_max), "{counted:?}");
        let (_, metrics) = request(state, "GET", "/metrics", "", b"");
        let line = format!("domain=\"dust\"}} {}", counted.launched);
        assert!(metrics.lines().any(|it| it.starts_with("mote_domain_clones_launched_total") && it.ends_with(&line)));
        let names: Vec<_> = client.domains().expect("an answer").domains.into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["control", "driver", "dust", "there"], "clones are not listed");

        assert!(client.restart("control").is_ok());
        // Until then the one before answers.
        hear(heard, SOON, "control", "took over 3 domains");
        wait(SOON, "its API", || client.domain("dust").is_ok_and(|dust| dust.template));
        wait(SOON, "a page", || get(state, "dust").is_some_and(|page| page.contains(" 200 ")));
        wait(SOON, "a clone that is counted", || machines(client).vanished > 0);
        client.destroy("dust").expect("it can be destroyed");
        assert!(client.domain("dust").is_err());
        assert!(get(state, "dust").is_none_or(|page| page.is_empty()), "nobody is left to answer");
    });
    assert_eq!(run.end, End::PoweredOff, "{run}");
    let ended: Vec<_> = run.heard.domains().map(|domain| domain.name.as_str()).collect();
    assert_eq!(ended, ["dust", "there", "driver"], "{run}");
}
