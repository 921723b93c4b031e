//! Every route, every refusal, and the description of both.

extern crate std;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use std::collections::BTreeSet;

use httparse::Header;
use mote_webserver::{Request, Response};
use serde_json::{Value, json};
use vm_fdt::FdtWriter;

use crate::fake::Fake;
use crate::model::{Domain, Domains, Image, Machine, Machines, Problem, Shutdown, State, Taken};
use crate::{Api, MAX_INPUT, MAX_TREE, PIECE, ROUTES, Token};

const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn api() -> Api {
    Api::new(Token::new(TOKEN))
}

fn ask_with(toolstack: &mut Fake, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let headers: Vec<_> = headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    api().handle(&Request::new(method, target, &headers, body), toolstack)
}

fn ask(toolstack: &mut Fake, method: &str, target: &str, body: &[u8]) -> Response {
    ask_with(toolstack, method, target, &[("authorization", &format!("Bearer {TOKEN}"))], body)
}

fn value(response: &Response) -> Value {
    serde_json::from_slice(response.bytes().expect("no stream")).expect("JSON")
}

fn read<T: serde::de::DeserializeOwned>(response: &Response) -> T {
    serde_json::from_value(value(response)).expect("what it must be")
}

/// Asks, and expects a refusal after which everything is as it was.
#[track_caller]
fn refused(toolstack: &mut Fake, method: &str, target: &str, body: &[u8], status: u16, words: &str) {
    let before = toolstack.clone();
    let response = ask(toolstack, method, target, body);
    assert_eq!(response.status(), status, "{method} {target}: {:?}", value(&response));
    let problem: Problem = read(&response);
    assert!(problem.error.contains(words), "{method} {target}: {}", problem.error);
    assert!(!problem.hint.is_empty(), "{method} {target}: no remedy");
    assert_eq!(*toolstack, before, "{method} {target} changed something");
}

/// A tree with a domain `name` of `kib` with a kernel `image`, and what `more` adds to the domain.
fn tree(name: &str, kib: u64, image: Option<&str>, more: impl Fn(&mut FdtWriter)) -> Vec<u8> {
    let mut fdt = FdtWriter::new().expect("a writer");
    let root = fdt.begin_node("").expect("a root");
    let chosen = fdt.begin_node("chosen").expect("a node");
    let domain = fdt.begin_node(name).expect("a node");
    fdt.property_string("compatible", "xen,domain").expect("a property");
    fdt.property("memory", &kib.to_be_bytes()).expect("a property");
    more(&mut fdt);
    let module = fdt.begin_node("module@0").expect("a node");
    let kinds = ["multiboot,kernel", "multiboot,module"].map(String::from);
    fdt.property_string_list("compatible", kinds.into()).expect("a property");
    if let Some(image) = image {
        fdt.property_string("mote,image", image).expect("a property");
    }
    for node in [module, domain, chosen, root] {
        fdt.end_node(node).expect("its end");
    }
    fdt.finish().expect("a tree")
}

fn plain(name: &str, kib: u64, image: &str) -> Vec<u8> {
    tree(name, kib, Some(image), |_| {})
}

fn with_image() -> Fake {
    let mut toolstack = Fake::default();
    assert_eq!(ask(&mut toolstack, "PUT", "/images/web", &[7; 1000]).status(), 201);
    toolstack
}

#[test]
fn without_the_token_nobody_learns_or_changes_anything() {
    let mut toolstack = Fake::default();
    let before = toolstack.clone();
    let longer = format!("{TOKEN}0");
    let credentials: [&[(&str, &str)]; 6] = [
        &[],
        &[("Authorization", "Bearer ")],
        &[("Authorization", TOKEN)],
        &[("Authorization", &format!("Bearer {}", &TOKEN[1..]))],
        &[("Authorization", &format!("Bearer {longer}"))],
        &[("Authorization", &format!("Basic {TOKEN}"))],
    ];
    for headers in credentials {
        for route in ROUTES.iter().filter(|route| !route.is_open) {
            let target = route.path.replace("{domain}", "linux").replace("{image}", "web");
            let response = ask_with(&mut toolstack, route.method, &target, headers, b"x");
            assert_eq!(response.status(), 401, "{} {target}", route.method);
            assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"));
            assert!(!read::<Problem>(&response).hint.is_empty());
        }
        assert_eq!(ask_with(&mut toolstack, "GET", "/nothing", headers, b"").status(), 401);
    }
    assert_eq!(toolstack, before);
    assert_eq!(ask_with(&mut toolstack, "GET", "/openapi.yaml", &[], b"").status(), 200);
}

#[test]
fn a_machine_without_a_token_is_closed() {
    for token in ["", "short"] {
        let headers = [Header { name: "Authorization", value: b"Bearer " }];
        let request = Request::new("GET", "/domains", &headers, b"");
        assert_eq!(Api::new(Token::new(token)).handle(&request, &mut Fake::default()).status(), 401);
    }
    assert_eq!(format!("{:?}", api()), "Api { token: Token(…) }");
}

#[test]
fn what_is_not_there_and_what_is_not_done_there_is_said() {
    let mut toolstack = Fake::default();
    for path in ["/", "", "/domain", "/domains/", "/domains//pause", "/domains/linux/pause/now", "/images/a/b"] {
        refused(&mut toolstack, "GET", path, b"", 404, "no such path");
    }
    for (method, path, allow) in [
        ("PUT", "/domains", "GET, HEAD, POST"),
        ("POST", "/domains/linux", "GET, HEAD, DELETE"),
        ("GET", "/domains/linux/pause", "POST"),
        ("PATCH", "/images/web", "PUT, DELETE"),
        ("get", "/machine", "GET, HEAD"),
    ] {
        refused(&mut toolstack, method, path, b"", 405, "no such method");
        assert_eq!(ask(&mut toolstack, method, path, b"").header("Allow"), Some(allow));
    }
}

#[test]
fn domains_are_listed_and_found_by_name_and_number() {
    let mut toolstack = Fake::default();
    let list: Domains = read(&ask(&mut toolstack, "GET", "/domains", b""));
    assert_eq!((list.cpus, list.memory_kib, list.time_ns), (2, 2_097_152, 90_000_000_000));
    let names: Vec<_> = list.domains.iter().map(|domain| (domain.id, &*domain.name)).collect();
    assert_eq!(names, [(0, "control"), (1, "linux"), (2, "hello")]);
    for target in ["/domains/linux", "/domains/1"] {
        assert_eq!(read::<Domain>(&ask(&mut toolstack, "GET", target, b"")), list.domains[1]);
        assert_eq!(ask(&mut toolstack, "HEAD", target, b"").status(), 200);
    }
    assert_eq!(list.domains[1].state.to_string(), "-b----");
    assert_eq!(list.domains[1].exits.total(), 1540);
    for unknown in ["web", "7", "-1", "65536", "%00", "li`nux"] {
        refused(&mut toolstack, "GET", &format!("/domains/{unknown}"), b"", 404, "there is no domain");
    }
}

#[test]
fn a_domain_lives_and_dies() {
    let mut toolstack = with_image();
    let created = ask(&mut toolstack, "POST", "/domains?paused=true", &plain("web", 1024, "web"));
    assert_eq!((created.status(), created.header("Location")), (201, Some("/domains/3")));
    assert!(read::<Domain>(&created).state.paused);
    assert_eq!(toolstack.modules("web").map(|modules| &*modules.kernel), Some("web"));
    refused(&mut toolstack, "POST", "/domains/web/pause", b"", 409, "web is paused");
    let unpaused = ask(&mut toolstack, "POST", "/domains/web/unpause", b"");
    assert_eq!((unpaused.status(), read::<Domain>(&unpaused).state.paused), (200, false));
    refused(&mut toolstack, "POST", "/domains/web/unpause", b"", 409, "web is not paused");
    assert_eq!(ask(&mut toolstack, "POST", "/domains/3/pause", b"").status(), 200);
    assert_eq!(ask(&mut toolstack, "DELETE", "/domains/web", b"").status(), 204);
    refused(&mut toolstack, "DELETE", "/domains/web", b"", 404, "there is no domain `web`");
    assert_eq!(ask(&mut toolstack, "DELETE", "/images/web", b"").status(), 204);
    assert_eq!(toolstack, Fake::default(), "something is left of it");
}

#[test]
fn a_domain_runs_at_once_unless_it_is_to_stay_paused() {
    let mut toolstack = with_image();
    let created = ask(&mut toolstack, "POST", "/domains", &plain("web", 1024, "web"));
    assert_eq!((created.status(), read::<Domain>(&created).state.paused), (201, false));
    refused(&mut toolstack, "POST", "/domains?paused=yes", &plain("b", 1024, "web"), 400, "paused");
}

#[test]
fn what_cannot_be_built_is_refused_with_its_reason() {
    let mut toolstack = with_image();
    let create = |body: &[u8], status, words| refused(&mut toolstack.clone(), "POST", "/domains", body, status, words);
    create(b"", 400, "no device tree");
    create(b"{\"name\":\"web\"}", 400, "no device tree");
    let good = plain("web", 1024, "web");
    create(&good[..good.len() / 2], 400, "no device tree");
    create(&vec![0; MAX_TREE + 1], 413, "larger than a definition");
    create(&plain("linux", 1024, "web"), 409, "there is a domain `linux`");
    create(&plain("control", 1024, "web"), 409, "there is a domain `control`");
    create(&plain("web", 1024, "nothing"), 422, "there is no image `nothing`");
    create(&tree("web", 1024, None, |_| {}), 422, "no mote,image");
    create(&plain("web", 0, "web"), 422, "memory is less than");
    create(&plain("web", 63, "web"), 422, "memory is less than");
    create(&plain("web", u64::MAX, "web"), 422, "more than a domain can have");
    create(&plain("web", 4 << 20, "web"), 422, "the whole machine has 2097152 KiB");
    create(&plain("web", 2_000_000, "web"), 409, "1800000 KiB are free");
    create(&plain("w@b", 1024, "web"), 422, "its name is not");
    let number = |name: &'static str, value| {
        tree("web", 1024, Some("web"), move |fdt| fdt.property_u32(name, value).expect("a property"))
    };
    create(&number("cpus", 0), 422, "cpus is not 1 to 128");
    create(&number("cpus", 129), 422, "cpus is not 1 to 128");
    create(&number("mote,weight", 70_000), 422, "mote,weight is not 1 to 65535");
    create(&tree("web", 1024, Some("web"), channel), 422, "no channels from the start");
    assert_eq!(ask(&mut toolstack, "POST", "/domains", &good).status(), 201);
}

fn channel(fdt: &mut FdtWriter) {
    let node = fdt.begin_node("channel").expect("a node");
    fdt.property_string("compatible", "xen,evtchn-v1").expect("a property");
    fdt.property_u32("phandle", 1).expect("a property");
    fdt.property_array_u32("xen,evtchn", &[1, 2]).expect("a property");
    fdt.end_node(node).expect("its end");
}

#[test]
fn a_tree_says_exactly_one_domain() {
    let mut toolstack = with_image();
    for (domains, words) in [(0, "no domain"), (2, "several domains")] {
        let mut fdt = FdtWriter::new().expect("a writer");
        let root = fdt.begin_node("").expect("a root");
        let chosen = fdt.begin_node("chosen").expect("a node");
        for number in 0..domains {
            let domain = fdt.begin_node(&format!("d{number}")).expect("a node");
            fdt.property_string("compatible", "xen,domain").expect("a property");
            fdt.end_node(domain).expect("its end");
        }
        fdt.end_node(chosen).expect("its end");
        fdt.end_node(root).expect("its end");
        refused(&mut toolstack, "POST", "/domains", &fdt.finish().expect("a tree"), 422, words);
    }
}

#[test]
fn a_domain_is_asked_to_shut_down() {
    let mut toolstack = Fake::default();
    refused(&mut toolstack, "POST", "/domains/hello/shutdown", b"", 409, "hears nothing");
    for body in
        ["{", "[]", "\"poweroff\"", "{\"action\":\"halt\"}", "{\"action\":1}", "{\"acton\":\"reboot\"}", "{} {}"]
    {
        refused(&mut toolstack, "POST", "/domains/linux/shutdown", body.as_bytes(), 400, "JSON");
    }
    let before = toolstack.clone();
    let reboot = ask(&mut toolstack, "POST", "/domains/linux/shutdown", b" {\"action\": \"reboot\"}\n");
    assert_eq!((reboot.status(), &toolstack), (202, &before));
    assert_eq!(ask(&mut toolstack, "POST", "/domains/linux/shutdown", b"").status(), 202);
    refused(&mut toolstack, "POST", "/domains/linux/shutdown", b"{}", 404, "there is no domain");
}

#[test]
fn the_control_domain_does_nothing_to_itself() {
    let mut toolstack = Fake::default();
    for what in ["pause", "unpause", "shutdown"] {
        refused(&mut toolstack, "POST", &format!("/domains/0/{what}"), b"", 409, "the control domain");
    }
    refused(&mut toolstack, "DELETE", "/domains/control", b"", 409, "the control domain");
}

#[test]
fn the_control_domain_is_built_again_and_a_guest_is_not() {
    let mut toolstack = Fake::default();
    let restarted = ask(&mut toolstack, "POST", "/domains/control/restart", b"");
    assert_eq!((restarted.status(), read::<Domain>(&restarted).id), (202, 0));
    refused(&mut toolstack, "POST", "/domains/linux/restart", b"", 409, "is not kept");
    refused(&mut toolstack, "POST", "/domains/nobody/restart", b"", 404, "there is no domain");
}

#[test]
fn a_console_is_read_from_where_one_was_and_typed_at() {
    let mut toolstack = Fake::default();
    let said = ask(&mut toolstack, "GET", "/domains/linux/console", b"");
    assert_eq!(said.bytes(), Some(&b"linux: here I am\r\n"[..]));
    assert_eq!((said.header("Mote-From"), said.header("Mote-Next")), (Some("0"), Some("18")));
    let typed = ask(&mut toolstack, "POST", "/domains/linux/console", b"ls\n");
    assert_eq!(read::<Taken>(&typed), Taken { taken: 3 });
    let said = ask(&mut toolstack, "GET", "/domains/linux/console?from=18", b"");
    assert_eq!((said.bytes(), said.header("Mote-Next")), (Some(&b"ls\n"[..]), Some("21")));
    let typed = ask(&mut toolstack, "POST", "/domains/linux/console", &[b'x'; 100]);
    assert_eq!(read::<Taken>(&typed), Taken { taken: 64 });
    let said = ask(&mut toolstack, "GET", "/domains/linux/console?from=21", b"");
    assert_eq!((said.header("Mote-From"), said.header("Mote-Next")), (Some("21"), Some("85")));
    let said = ask(&mut toolstack, "GET", "/domains/linux/console?from=3", b"");
    assert_eq!(said.header("Mote-From"), Some("21"), "older ones are lost");
    for from in ["x", "-1", "", "99999999999999999999"] {
        refused(&mut toolstack, "GET", &format!("/domains/linux/console?from={from}"), b"", 400, "number of bytes");
    }
    refused(&mut toolstack, "POST", "/domains/linux/console", &vec![0; MAX_INPUT + 1], 413, "typed at once");
    refused(&mut toolstack, "GET", "/domains/0/console", b"", 409, "no console");
}

#[test]
fn an_image_comes_whole_or_piece_by_piece() {
    let mut toolstack = Fake::default();
    let authorization = format!("Bearer {TOKEN}");
    let mut put = |range: &str, length| {
        let headers = [("Authorization", &*authorization), ("Content-Range", range)];
        ask_with(&mut toolstack, "PUT", "/images/big", &headers, &vec![1; length])
    };
    assert_eq!(put("bytes 0-65535/100000", PIECE).status(), 202);
    for (range, length, status) in [
        ("bytes 0-65535/100000", 10, 400),
        ("bytes 10-5/100000", 10, 400),
        ("bytes 0-9/9", 10, 400),
        ("bytes 0-18446744073709551615/18446744073709551615", 10, 400),
        ("0-9/10", 10, 400),
        ("bytes */10", 10, 400),
        ("bytes 50000-50009/100000", 10, 409),
        ("bytes 65536-65545/100001", 10, 409),
        ("bytes 0-9/2000000", 10, 413),
        ("bytes 0-9/18446744073709551615", 10, 413),
    ] {
        let response = put(range, length);
        assert_eq!(response.status(), status, "{range}: {:?}", value(&response));
    }
    let last = put("bytes 65536-99999/100000", 34_464);
    assert_eq!(last.status(), 201);
    assert_eq!(read::<Image>(&last), Image { name: "big".into(), size: 100_000, present: 100_000 });
    refused(&mut toolstack, "PUT", "/images/big", &vec![0; PIECE + 1], 413, "one request");
    refused(&mut toolstack, "PUT", "/images/big", b"", 422, "without a byte");
    refused(&mut toolstack, "PUT", "/images/b%20g", b"x", 400, "no image can be called");
    refused(&mut toolstack, "PUT", &format!("/images/{}", "n".repeat(65)), b"x", 400, "no image can be called");
    refused(&mut toolstack, "DELETE", "/images/other", b"", 404, "there is no image `other`");
}

#[test]
fn an_image_that_is_not_whole_builds_nothing() {
    let mut toolstack = Fake::default();
    let headers = [("Authorization", &*format!("Bearer {TOKEN}")), ("Content-Range", "bytes 0-9/20")];
    assert_eq!(ask_with(&mut toolstack, "PUT", "/images/web", &headers, &[1; 10]).status(), 202);
    refused(&mut toolstack, "POST", "/domains", &plain("web", 1024, "web"), 409, "only 10 of 20 bytes");
}

#[test]
fn states_are_six_letters_in_their_places() {
    for text in ["r-----", "-b----", "--p---", "---sc-", "-----d", "------"] {
        assert_eq!(text.parse().map(|state: State| state.to_string()), Ok(text.into()));
    }
    for text in ["", "r", "b-----", "rbpscd-", "R-----"] {
        assert_eq!(text.parse::<State>(), Err(()), "{text}");
    }
}

#[test]
fn metrics_are_in_prometheus_format() {
    let mut toolstack = Fake::default();
    toolstack.make_template(2, Machines { launched: 7, live: 2, memory_kib_mean: 60, ..Machines::default() });
    let response = ask(&mut toolstack, "GET", "/metrics", b"");
    let text = core::str::from_utf8(response.bytes().expect("bytes")).expect("text");
    for line in [
        "mote_machine_free_bytes 1843200000",
        "mote_machine_uptime_seconds 90.000000000",
        "mote_domain_cpu_seconds_total{id=\"1\",domain=\"linux\"} 5.250000000",
        "mote_domain_exits_total{id=\"2\",domain=\"hello\",reason=\"wfi\"} 340",
        "mote_domain_network_receive_bytes_total{id=\"1\",domain=\"linux\",interface=\"0\"} 120000",
        "mote_domain_disk_written_bytes_total{id=\"1\",domain=\"linux\",disk=\"xvda\"} 4096",
        "mote_domain_network_transmit_refused_total{id=\"1\",domain=\"linux\",interface=\"0\"} 3",
        "mote_domain_disk_errors_total{id=\"1\",domain=\"linux\",disk=\"xvda\"} 2",
        "mote_control_heap_used_bytes 3145728",
        "mote_xenstore_nodes 120",
        "mote_domain_clones{id=\"2\",domain=\"hello\"} 2",
        "mote_domain_clones_launched_total{id=\"2\",domain=\"hello\"} 7",
        "mote_domain_clones_mean_memory_bytes{id=\"2\",domain=\"hello\"} 61440",
        "mote_control_ready_seconds 0.012000000",
        "mote_operations_total{operation=\"create\"} 2",
        "mote_operation_seconds_total{operation=\"create\"} 0.000500000",
        "mote_domain_hypervisor_bytes{id=\"0\",domain=\"control\",kind=\"tables\"} 12288",
    ] {
        assert!(text.lines().any(|other| other == line), "`{line}` is missing:\n{text}");
    }
    let mut metric = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            metric = help.split(' ').next().expect("a name");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!((name, kind == "counter"), (metric, metric.ends_with("_total")), "{line}");
        } else {
            let (name, number) = line.rsplit_once(' ').expect("a number");
            assert_eq!(name.split('{').next(), Some(metric), "{line}");
            number.parse::<f64>().expect("a number");
        }
    }
}

fn described() -> Value {
    serde_saphyr::from_str(include_str!("../openapi.yaml")).expect("YAML")
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let described = described();
    let paths = described["paths"].as_object().expect("paths");
    let operations: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().into_iter().flatten().map(move |(method, _)| (path, method)))
        .filter(|(_, method)| *method != "parameters")
        .map(|(path, method)| (path.clone(), method.to_uppercase()))
        .collect();
    let routes: BTreeSet<_> = ROUTES.iter().map(|route| (route.path.into(), route.method.into())).collect();
    assert_eq!(operations, routes);
    for route in &ROUTES {
        let operation = &described["paths"][route.path][route.method.to_lowercase()];
        assert_eq!(operation["security"] == json!([]), route.is_open, "{}", route.path);
        assert_eq!(operation["responses"]["401"].is_object(), !route.is_open, "{}", route.path);
    }
    for (limit, path, method) in [
        (MAX_TREE, "/domains", "post"),
        (PIECE, "/images/{image}", "put"),
        (MAX_INPUT, "/domains/{domain}/console", "post"),
    ] {
        let content = &described["paths"][path][method]["requestBody"]["content"]["application/octet-stream"];
        assert_eq!(content["schema"]["maxLength"], json!(limit));
    }
}

#[test]
fn what_is_answered_is_as_described() {
    let described = described();
    let mut toolstack = with_image();
    toolstack.make_template(2, Machines::default());
    let body = plain("web", 1024, "web");
    for (method, target, path, body) in [
        ("GET", "/machine", "/machine", &b""[..]),
        ("GET", "/domains", "/domains", b""),
        ("GET", "/domains/linux", "/domains/{domain}", b""),
        ("POST", "/domains?paused=true", "/domains", &body),
        ("POST", "/domains", "/domains", &body),
        ("POST", "/domains", "/domains", b"x"),
        ("GET", "/domains/none", "/domains/{domain}", b""),
        ("POST", "/domains/web/unpause", "/domains/{domain}/unpause", b""),
        ("POST", "/domains/web/pause", "/domains/{domain}/pause", b""),
        ("POST", "/domains/linux/shutdown", "/domains/{domain}/shutdown", b"{}"),
        ("POST", "/domains/control/restart", "/domains/{domain}/restart", b""),
        ("POST", "/domains/web/restart", "/domains/{domain}/restart", b""),
        ("POST", "/domains/web/console", "/domains/{domain}/console", b"x"),
        ("GET", "/images", "/images", b""),
        ("PUT", "/images/other", "/images/{image}", b"x"),
    ] {
        let response = ask(&mut toolstack, method, target, body);
        let operation = &described["paths"][path][method.to_lowercase()];
        let answer = resolve(&described, &operation["responses"][response.status().to_string()]);
        assert!(answer.is_object(), "{method} {target}: {} is not described", response.status());
        conforms(&described, &answer["content"]["application/json"]["schema"], &value(&response), target);
    }
    let shutdown = serde_json::to_value(Shutdown::default()).expect("JSON");
    conforms(&described, &json!({"$ref": "#/components/schemas/Shutdown"}), &shutdown, "Shutdown");
    read::<Machine>(&ask(&mut toolstack, "GET", "/machine", b""));
}

fn resolve<'a>(described: &'a Value, found: &'a Value) -> &'a Value {
    match found["$ref"].as_str() {
        Some(path) => described.pointer(path.trim_start_matches('#')).expect("what is named"),
        None => found,
    }
}

/// Checks a value against what of JSON Schema the description uses: every property is described, and what is required is there.
fn conforms(described: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolve(described, schema);
    match schema["type"].as_str() {
        Some("string") => assert!(value.is_string(), "{place}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{place}: {value}"),
        Some("integer") => assert!(value.is_u64(), "{place}: {value}"),
        Some("array") => {
            let values = value.as_array().unwrap_or_else(|| panic!("{place}: {value}"));
            values.iter().for_each(|value| conforms(described, &schema["items"], value, place));
        }
        Some("object") => {
            let properties = value.as_object().unwrap_or_else(|| panic!("{place}: {value}"));
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(properties.contains_key(name), "{place}: {name} is missing");
            }
            for (name, value) in properties {
                let known = [&schema["properties"][name], &schema["additionalProperties"]];
                let schema = known.into_iter().find(|schema| schema.is_object());
                let schema = schema.unwrap_or_else(|| panic!("{place}: {name} is not described"));
                conforms(described, schema, value, &format!("{place}.{name}"));
            }
            let required = schema["required"].as_array().map_or(0, Vec::len);
            let is_optional = |name: &&String| {
                let found = resolve(described, &schema["properties"][name.as_str()]);
                found["description"].as_str().is_some_and(|text| text.starts_with("Only of"))
            };
            let optional = properties.keys().filter(is_optional).count();
            assert!(
                required + optional == properties.len() || required == 0,
                "{place}: not all that is said is required"
            );
        }
        _ => panic!("{place}: no type in {schema}"),
    }
}
