//! A running machine's API, asked word by word.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use mote_tools::running::State;

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(60);

/// Where on this machine the first port that `domain` publishes is.
///
/// # Panics
///
/// If it publishes none.
#[must_use]
pub fn port(state: &State, domain: &str) -> u16 {
    state.services.iter().find(|service| service.domain == domain).expect("a published port").host
}

/// A connection to a port of this machine, on which nothing is waited for longer than `patience`.
///
/// # Panics
///
/// If nobody listens.
#[must_use]
pub fn connect(port: u16, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("QEMU listens");
    stream.set_read_timeout(Some(patience)).expect("a time-out");
    stream
}

/// All that comes until the connection ends, or nothing comes for too long.
#[must_use]
pub fn all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is answered to a request as it stands here: the status and all that is said.
///
/// # Panics
///
/// If nothing is.
#[must_use]
pub fn ask(state: &State, request: &[u8]) -> (u16, String) {
    let mut stream = connect(state.port.expect("a network"), SOON);
    // Whoever is refused early may not read all of it.
    let _ = stream.write_all(request);
    let answer = all(stream);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
}

/// The same of a request by whoever has the token.
///
/// # Panics
///
/// As [`ask`].
#[must_use]
pub fn request(state: &State, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let (token, length) = (state.token.text(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\nHost: mote\r\nConnection: close\r\nContent-Length: {length}\r\n");
    let head = format!("{head}Authorization: Bearer {token}\r\n{headers}\r\n");
    ask(state, &[head.as_bytes(), body].concat())
}

/// The tree that asks for a domain with so many KiB.
#[must_use]
pub fn definition(
    name: &str,
    image: &str,
    arguments: &str,
    kib: u32,
    change: impl FnOnce(&mut DeviceTreeNode),
) -> Vec<u8> {
    let set = |node: &mut DeviceTreeNode, name: &str, value: &[u8]| {
        node.add_property(DeviceTreeProperty::new_unchecked(name, value.to_vec()));
    };
    let mut module = DeviceTreeNode::new_unchecked("module");
    set(&mut module, "compatible", b"multiboot,kernel\0multiboot,module\0");
    set(&mut module, "mote,image", format!("{image}\0").as_bytes());
    set(&mut module, "bootargs", format!("{arguments}\0").as_bytes());
    let mut domain = DeviceTreeNode::new_unchecked(name);
    set(&mut domain, "compatible", b"xen,domain\0");
    set(&mut domain, "memory", &u64::from(kib).to_be_bytes());
    set(&mut domain, "xen,enhanced", b"");
    domain.add_child(module);
    change(&mut domain);
    let mut chosen = DeviceTreeNode::new_unchecked("chosen");
    chosen.add_child(domain);
    let mut tree = DeviceTree::new();
    tree.root.add_child(chosen);
    tree.to_dtb()
}

/// Gives a domain that is asked for a network interface.
pub fn with_interface(node: &mut DeviceTreeNode) {
    let mut vif = DeviceTreeNode::new_unchecked("vif");
    vif.add_property(DeviceTreeProperty::new_unchecked("compatible", b"mote,vif\0".to_vec()));
    node.add_child(vif);
}

/// What a guest answers who is asked for its first page from this machine.
#[must_use]
pub fn get(state: &State, guest: &str) -> Option<String> {
    let service = state.services.iter().find(|service| service.domain == guest)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, service.host)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}
