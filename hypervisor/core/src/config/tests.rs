use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::addr::Pa;
use crate::testing::{Node, cells, machine_tree, place};

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
    assert!(all.vpl011 && all.by_pages && all.ramdisk.is_some() && all.device_tree.is_some());
    assert_eq!(all.ready, Ready::Text("go".into()));
    assert_eq!(all.bootargs.as_deref(), Some("console=ttyAMA0"));
    assert_eq!((least.vcpus, least.weight), (1, DEFAULT_WEIGHT));
    assert!(!least.vpl011 && !least.by_pages && least.ramdisk.is_none());
    assert_eq!(least.ready, Ready::FirstLine);
}

#[test]
fn a_domain_with_a_mistake_is_left_out_with_the_reason_and_the_others_are_not() {
    let no_kernel = Node { modules: Vec::new(), ..Node::good("no-kernel") };
    let elsewhere = |at: &[u32]| Node { modules: [("multiboot,kernel", cells(at))].into(), ..Node::good("elsewhere") };
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
        (Node::good("a").set("direct-map", Vec::new()), "direct-map"),
        (Node::good("a@1"), "name"),
        (Node::good("good"), "same name"),
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

#[test]
fn names_are_short_and_plain() {
    assert!(is_name("a-b.c_d,e+9") && is_name(&"a".repeat(MAX_NAME)));
    for bad in ["", "a@1", "a b", "a/b", "\u{e9}", &"a".repeat(MAX_NAME + 1)] {
        assert!(!is_name(bad), "{bad}");
    }
}

#[test]
fn a_domain_is_told_of_the_hypervisor_if_it_asks_for_it() {
    for (value, enhanced) in [(&b""[..], true), (b"enabled\0", true), (b"no-xenstore\0", true), (b"disabled\0", false)]
    {
        let configuration = read(&[Node::good("a").set("xen,enhanced", value.into())]);
        assert_eq!(configuration.domains[0].enhanced, enhanced, "{value:?}");
    }
    assert!(!read(&[Node::good("a")]).domains[0].enhanced);
}

#[test]
fn domains_are_joined_by_either_s_wish() {
    let peers = |names: &[u8]| Node::good("a").set("mote,peers", names.into());
    let configuration = read(&[peers(b"c\0nobody\0a\0"), Node::good("b"), Node::good("c")]);
    let joined = |at: usize| -> Vec<u16> {
        configuration.peers_of(&configuration.domains[at]).iter().map(|peer| peer.get()).collect()
    };
    assert_eq!(joined(0), [1, 3], "itself is no harm");
    assert_eq!(joined(1), []);
    assert_eq!(joined(2), [1]);
}

#[test]
fn channels_have_two_ends_that_name_each_other() {
    let end = |port, phandle, peer| StaticChannel { port, phandle, peer };
    let id = |number| DomainId::new(number).expect("a domain's number");
    let with = |number, channels: &[StaticChannel]| DomainConfig {
        id: id(number),
        channels: channels.into(),
        ..read(&[Node::good("a")]).domains[0].clone()
    };
    let domains = [
        with(1, &[end(10, 1, 2), end(11, 3, 9)]),
        with(2, &[end(20, 2, 1), end(21, 4, 3)]),
        with(3, &[end(30, 5, 6), end(31, 6, 5)]),
    ];
    let configuration = Configuration { domains: domains.into(), ..Configuration::default() };
    let connections: Vec<_> = configuration.connections().collect();
    assert_eq!(connections, [[(id(1), 10), (id(2), 20)], [(id(3), 30), (id(3), 31)]]);
}
