use std::string::ToString;
use std::vec::Vec;

use mote_protocols::service::Terms;

use super::*;
use crate::addr::Pa;
use crate::testing::{self, Node, cells, machine_tree, place};

fn read(domains: &[Node]) -> Configuration {
    let bytes = machine_tree(domains);
    let ram = PaRange::new(Pa(0x4000_0000), 0x8000_0000).expect("a range");
    let own = PaRange::new(Pa(0x4020_0000), 0x20_0000).expect("a range");
    let is_free = |range| ram.contains(range) && !own.overlaps(range);
    Configuration::read(&Tree::check(&bytes).expect("a good tree"), is_free)
}

#[test]
fn a_domain_gets_what_its_node_says_and_the_defaults() {
    let all = Node::good("all")
        .set("vpl011", Vec::new())
        .set("mote,weight", cells(&[512]))
        .set("mote,ready", b"go\0".into())
        .set("mote,track-touched", Vec::new())
        .module("multiboot,ramdisk", place(1))
        .module("multiboot,device-tree", place(2));
    let configuration = read(&[all, Node::good("least").without("cpus")]);
    assert!(configuration.refused.is_empty(), "{:?}", configuration.refused);
    let [all, least] = &configuration.domains[..] else { panic!("two domains") };
    assert_eq!((all.vcpus, all.memory, all.weight), (2, 1 << 20, 512));
    assert!(all.vpl011 && all.track_touched && all.ramdisk.is_some() && all.device_tree.is_some());
    assert_eq!(all.ready, Some("go".into()));
    assert_eq!(all.bootargs.as_deref(), Some("console=ttyAMA0"));
    assert_eq!((least.vcpus, least.weight), (1, DEFAULT_WEIGHT));
    assert!(!least.vpl011 && !least.track_touched && least.ramdisk.is_none());
    assert_eq!(least.ready, None);
}

#[test]
fn a_domain_with_a_mistake_is_left_out_with_the_reason_and_the_others_are_not() {
    let no_kernel = Node { modules: Vec::new(), ..Node::good("no-kernel") };
    let elsewhere = |at: &[u32]| Node { modules: [("multiboot,kernel", cells(at))].into(), ..Node::good("elsewhere") };
    let driver = Node::good("a").set("mote,driver", Vec::new());
    let device = |kind, properties: &[(&'static str, &[u8])]| {
        Node::good("a").set("xen,enhanced", Vec::new()).device(kind, properties)
    };
    let bad = [
        (Node::good("a").set("cpus", cells(&[0])), "cpus"),
        (Node::good("a").set("cpus", cells(&[129])), "cpus"),
        (Node::good("a").set("cpus", cells(&[1, 1])), "cpus"),
        (Node::good("a").without("memory"), "memory"),
        (Node::good("a").set("memory", cells(&[0, 63])), "memory"),
        (Node::good("a").set("memory", cells(&[u32::MAX, u32::MAX])), "memory"),
        (Node::good("a").set("memory", cells(&[0, 0, 64])), "memory"),
        (Node::good("a").set("mote,weight", cells(&[0])), "mote,weight"),
        (Node::good("a").set("mote,weight", cells(&[65_536])), "mote,weight"),
        (Node::good("a").set("mote,ready", Vec::new()), "mote,ready"),
        (Node::good("a").set("xen,enhanced", b"legacy\0".into()), "xen,enhanced"),
        (Node::good("a").set("xen,enhanced", b"yes\0".into()), "xen,enhanced"),
        (Node::good("a").set("mote,peers", b"b\0c@1\0".into()), "mote,peers"),
        (Node::good("a").set("max_grant_frames", cells(&[65])), "max_grant_frames"),
        (Node::good("a").set("xen,static-mem", Vec::new()), "xen,static-mem"),
        (Node::good("a").set("direct-map", Vec::new()), "mote,driver"),
        (Node::good("a").set("xen,passthrough", Vec::new()), "mote,driver"),
        (driver.clone().set("direct-map", Vec::new()), "2048 KiB"),
        (device("mote,vif", &[("backend", b"a b\0")]), "backend"),
        (device("mote,vif", &[("local-mac-address", &[1, 2, 3, 4, 5, 6])]), "local-mac-address"),
        (device("mote,vif", &[("mote,ip", b"10.0.2\0")]), "mote,ip"),
        (device("mote,vif", &[("mote,service", &[0, 0, 0, 80])]), "mote,ip"),
        (service(&[("mote,service", 0)]), "mote,service"),
        (service(&[("mote,service", 65_536)]), "mote,service"),
        (service(&[("mote,service", 80), ("mote,machines", 0)]), "mote,machines"),
        (service(&[("mote,service", 80), ("mote,connections", 0)]), "mote,connections"),
        (service(&[("mote,service", 80), ("mote,keep", 86_400_001)]), "mote,keep"),
        (service(&[("mote,service", 80), ("mote,clone-memory", 63)]), "mote,clone-memory"),
        (service(&[("mote,service", 80)]).set("cpus", cells(&[2])), "several cpus"),
        (booting(b"fork\0", &[]), "mote,launch"),
        (with_interface(&[("mote,service", 80)], &[("mote,host", b"a b\0")]), "mote,host"),
        (with_interface(&[], &[("mote,host", b"a.b\0")]), "mote,service"),
        (booting(b"boot\0", &[("mote,clone-memory", 2048)]), "mote,clone-memory"),
        (service(&[("mote,service", 80)]).set("mote,driver", Vec::new()), "mote,driver"),
        (service(&[("mote,service", 80)]).device("mote,vif", &[]), "second mote,vif"),
        (service(&[("mote,service", 80)]).device("mote,vbd", &[("mote,vdev", b"xvda\0")]), "mote,vbd"),
        (driver.clone().set("mote,ephemeral", Vec::new()), "mote,ephemeral"),
        (device("mote,vbd", &[]), "mote,vdev"),
        (device("mote,vbd", &[("mote,vdev", b"sda\0")]), "mote,vdev"),
        (device("mote,vbd", &[("mote,vdev", b"xvda\0")]).device("mote,vbd", &[("mote,vdev", b"xvda\0")]), "two disks"),
        (Node::good("a").device("mote,vif", &[]), "xen,enhanced"),
        (Node::good("a@1"), "name"),
        (Node::good("good"), "same name"),
        (Node::good(CONTROL), "same name"),
        (Node::good("a").module("multiboot,kernel", place(1)), "two kernel"),
        (Node::good("a").module("multiboot,ramdisk", cells(&[0])), "ramdisk module has no reg"),
        (elsewhere(&[0, 0x1000, 0, 0x1000]), "kernel module does not lie"),
        (elsewhere(&[0, 0x4030_0000, 0, 0x1000]), "kernel module does not lie"),
        (elsewhere(&[0, 0x5000_0000, 0, 0]), "kernel module does not lie"),
        (elsewhere(&[u32::MAX, u32::MAX, u32::MAX, u32::MAX]), "kernel"),
        (no_kernel, "kernel module is missing"),
    ];
    for (node, word) in bad {
        let configuration = read(&[Node::good("good"), node.clone(), Node::good("last")]);
        let names: Vec<_> = configuration.domains.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(names, ["good", "last"], "{node:?}");
        let [(_, reason)] = &configuration.refused[..] else { panic!("{node:?} is not refused") };
        assert!(reason.to_string().contains(word), "{node:?}: {reason}");
    }
}

/// A guest with one vCPU and an interface that has an address, and of numbers these.
fn service(properties: &[(&'static str, u32)]) -> Node {
    with_interface(properties, &[])
}

/// A service with these properties whose machines come to be in this way.
fn booting(launch: &[u8], properties: &[(&'static str, u32)]) -> Node {
    with_interface(&[properties, &[("mote,service", 80)]].concat(), &[("mote,launch", launch)])
}

fn with_interface(properties: &[(&'static str, u32)], more: &[(&'static str, &[u8])]) -> Node {
    let numbers: Vec<(&'static str, Vec<u8>)> = properties.iter().map(|(name, it)| (*name, cells(&[*it]))).collect();
    let numbers = numbers.iter().map(|(name, cells)| (*name, cells.as_slice()));
    let all: Vec<(&'static str, &[u8])> =
        numbers.chain([("mote,ip", &b"10.0.2.20\0"[..])]).chain(more.iter().copied()).collect();
    Node::good("a").without("cpus").set("xen,enhanced", Vec::new()).device("mote,vif", &all)
}

#[test]
fn a_service_is_served_as_its_interface_says() {
    let all = [("mote,service", 80), ("mote,machines", 3), ("mote,connections", 2), ("mote,keep", 50)];
    let rest = [
        ("mote,waiting", 0),
        ("mote,patience", 7),
        ("mote,life", 0),
        ("mote,clone-memory", 2048),
        ("mote,per-client", 5),
    ];
    let said = Terms {
        port: 80,
        machines: 3,
        connections: 2,
        keep: 50,
        waiting: 0,
        patience: 7,
        life: 0,
        per_client: 5,
        boots: false,
        memory: 2048,
    };
    for (properties, terms) in [([&all[..], &rest].concat(), said), ([("mote,service", 8080)].into(), Terms::new(8080))]
    {
        let configuration = read(&[service(&properties)]);
        let [domain] = &configuration.domains[..] else { panic!("{:?}", configuration.refused) };
        assert!(domain.is_service());
        assert_eq!(domain.vifs[0].service, Some(terms));
    }
    assert!(!read(&[service(&[])]).domains[0].is_service(), "nobody asked for it");
    let booting = booting(b"boot\0", &[("mote,machines", 2)]).set("cpus", cells(&[2]));
    let [domain] = &read(&[booting]).domains[..] else { panic!("it is none to be cloned") };
    assert_eq!(domain.booted(), Some(&Terms { machines: 2, ..Terms::booting(80) }));
}

#[test]
fn names_are_short_and_plain() {
    assert!(is_name("a-b.c_d,e+9") && is_name(&"a".repeat(MAX_NAME)));
    for bad in ["", "a@1", "a b", "a/b", "\u{e9}", &"a".repeat(MAX_NAME + 1)] {
        assert!(!is_name(bad), "{bad}");
    }
}

#[test]
fn a_domain_is_told_of_the_hypervisor_if_it_asks_for_it() {
    let values = [
        (&b""[..], (true, true)),
        (b"enabled\0", (true, true)),
        (b"no-xenstore\0", (true, false)),
        (b"disabled\0", (false, false)),
    ];
    for (value, expected) in values {
        let configuration = read(&[Node::good("a").set("xen,enhanced", value.into())]);
        let domain = &configuration.domains[0];
        assert_eq!((domain.enhanced, domain.xenstore), expected, "{value:?}");
    }
    assert!(!read(&[Node::good("a")]).domains[0].enhanced);
}

#[test]
fn domains_are_joined_by_either_s_wish_and_with_a_driver() {
    let peers = |names: &[u8]| Node::good("a").set("mote,peers", names.into());
    let driver = Node::good("d").set("mote,driver", Vec::new());
    let domains = read(&[peers(b"c\0nobody\0a\0"), Node::good("b"), Node::good("c"), driver]).domains;
    let joined = |at: usize| -> Vec<&str> {
        let others = domains.iter().filter(|other| domains[at].is_joined_with(other));
        others.map(|other| other.name.as_str()).collect()
    };
    assert_eq!(joined(0), ["a", "c", "d"], "itself is no harm");
    assert_eq!(joined(1), ["d"]);
    assert_eq!(joined(2), ["a", "d"]);
    assert_eq!(joined(3), ["a", "b", "c", "d"]);
}

#[test]
fn channels_have_two_ends_that_name_each_other() {
    let end = |port, phandle, peer| StaticChannel { port, phandle, peer };
    let with = |channels: &[StaticChannel]| Definition { channels: channels.into(), ..testing::definition() };
    let domains = [
        with(&[end(10, 1, 2), end(11, 3, 9)]),
        with(&[end(20, 2, 1), end(21, 4, 3)]),
        with(&[end(30, 5, 6), end(31, 6, 5)]),
    ];
    let configuration = Configuration { domains: domains.into(), ..Configuration::default() };
    let connections: Vec<_> = configuration.connections().collect();
    assert_eq!(connections, [[(0, 10), (1, 20)], [(2, 30), (2, 31)]]);
}

#[test]
fn the_control_domain_s_own_node_is_no_guest() {
    let configuration = read(&[Node::good("control").set("mote,control", Vec::new()), Node::good("a")]);
    assert_eq!(configuration.domains.len(), 1);
    assert!(configuration.refused.is_empty());
}

#[test]
fn a_guest_has_the_devices_of_its_nodes() {
    let node = Node::good("web")
        .set("xen,enhanced", Vec::new())
        .device("mote,vif", &[])
        .device("mote,vif", &[("backend", b"net\0"), ("mote,ip", b"10.0.2.20\0"), ("local-mac-address", &[2; 6])])
        .device("mote,vbd", &[("mote,vdev", b"xvda\0")])
        .device("mote,vbd", &[("mote,vdev", b"xvdb15\0"), ("read-only", b""), ("mote,file", b"disk.img\0")]);
    let configuration = read(&[node]);
    let [web] = &configuration.domains[..] else { panic!("{:?}", configuration.refused) };
    let [first, second] = &web.vifs[..] else { panic!("two interfaces") };
    assert_eq!((first.backend.as_deref(), first.ip, &first.mac[..3]), (None, None, &[0, 0x16, 0x3e][..]));
    let said = (second.backend.as_deref(), second.ip, second.mac);
    assert_eq!(said, (Some("net"), Some([10, 0, 2, 20]), [2; 6]));
    let disks: Vec<_> = web.vbds.iter().map(|vbd| (vbd.number, vbd.serial.as_str(), vbd.read_only)).collect();
    assert_eq!(disks, [(51712, "web-xvda", false), (51743, "web-xvdb15", true)]);
}

#[test]
fn every_interface_has_its_own_address() {
    let domain =
        |name| Node::good(name).set("xen,enhanced", Vec::new()).device("mote,vif", &[]).device("mote,vif", &[]);
    let configuration = read(&[domain("a"), domain("b"), domain("c")]);
    let macs = configuration.domains.iter().flat_map(|domain| domain.vifs.iter().map(|vif| vif.mac));
    assert_eq!(macs.collect::<std::collections::BTreeSet<_>>().len(), 6);
}

#[test]
fn disks_are_numbered_as_xen_does() {
    let numbers = [("xvda", Some(51712)), ("xvda1", Some(51713)), ("xvdb", Some(51728)), ("xvdp15", Some(51967))];
    for (vdev, number) in numbers {
        assert_eq!(vdev_number(vdev), number, "{vdev}");
    }
    for vdev in ["", "xvd", "xvdA", "xvdq", "xvda0", "xvda16", "xvda01", "sda", "xvda1x"] {
        assert_eq!(vdev_number(vdev), None, "{vdev}");
    }
}
