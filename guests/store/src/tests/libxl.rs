//! The toolstack's nodes, as guests see them.

use super::*;
use crate::libxl::{Device, Guest, Kind};

const MAC: [u8; 6] = [0, 0x16, 0x3e, 1, 2, 3];
const VIF: Kind<'_> = Kind::Vif { mac: MAC, ip: Some([10, 0, 2, 20]), service: None, machine: None };
const VBD: Kind<'_> = Kind::Vbd { dev: "xvda", params: "web-xvda", read_only: true };

fn guest(id: u16, name: &str) -> Guest<'_> {
    Guest { id, name, memory: 65_536, vcpus: 2, store: (0x39001, 2), driver: id == 2 }
}

/// Domain 1 is a guest, domain 2 serves its devices.
fn plugged() -> (Server, u32) {
    let mut server = server();
    let number = server.open();
    let mut local = server.local(number);
    local.describe_host().unwrap();
    local.describe(&guest(1, "web")).unwrap();
    local.describe(&guest(2, "driver")).unwrap();
    local.plug(&Device { kind: VIF, domain: 1, number: 0, backend: 2 }).unwrap();
    local.plug(&Device { kind: VBD, domain: 1, number: 51712, backend: 2 }).unwrap();
    (server, number)
}

#[test]
fn a_guest_finds_itself() {
    let (mut server, _) = plugged();
    for (path, value) in [("name", "web"), ("domid", "1"), ("memory/target", "65536"), ("cpu/1/availability", "online")]
    {
        assert_eq!(read(&mut server, 1, path), Ok(value.into()), "{path}");
        assert_eq!(write(&mut server, 1, path, "x"), error("EACCES"), "{path}");
    }
    assert_eq!(write(&mut server, 1, "control/shutdown", ""), Ok("OK".into()));
    assert_eq!(write(&mut server, 1, "data/anything", "x"), Ok("OK".into()));
    assert_eq!(read(&mut server, 2, "/local/domain/1/name"), error("EACCES"));
    let vm = read(&mut server, 1, "vm").unwrap();
    assert_eq!(read(&mut server, 1, &format!("{vm}/name")), Ok("web".into()));
    assert_eq!(read(&mut server, 1, "/libxl/1/type"), error("EACCES"));
}

#[test]
fn both_ends_of_a_device_find_each_other() {
    let (mut server, number) = plugged();
    let back = read(&mut server, 1, "device/vif/0/backend").unwrap();
    assert_eq!(back, "/local/domain/2/backend/vif/1/0");
    assert_eq!(read(&mut server, 1, "device/vif/0/mac"), Ok("00:16:3e:01:02:03".into()));
    assert_eq!(read(&mut server, 1, &format!("{back}/state")), Ok("1".into()));
    assert_eq!(ask(&mut server, 2, kind::DIRECTORY, "backend/vif\0"), Ok("1".into()));
    assert_eq!(read(&mut server, 2, "backend/vif/1/0/ip"), Ok("10.0.2.20".into()));
    let front = read(&mut server, 2, "backend/vbd/1/51712/frontend").unwrap();
    assert_eq!(front, "/local/domain/1/device/vbd/51712");
    assert_eq!(read(&mut server, 2, "backend/vbd/1/51712/params"), Ok("web-xvda".into()));
    assert_eq!(read(&mut server, 2, "backend/vbd/1/51712/mode"), Ok("r".into()));
    assert_eq!(read(&mut server, 2, &format!("{front}/virtual-device")), Ok("51712".into()));
    assert_eq!(write(&mut server, 1, "device/vif/0/state", "4"), Ok("OK".into()));
    assert_eq!(write(&mut server, 1, "device/vif/0/ring-ref", "8"), Ok("OK".into()));
    assert_eq!(read(&mut server, 2, "/local/domain/1/device/vif/0/ring-ref"), Ok("8".into()));
    assert_eq!(write(&mut server, 2, "backend/vif/1/0/state", "4"), Ok("OK".into()));
    assert_eq!(write(&mut server, 1, &format!("{back}/state"), "6"), error("EACCES"));
    assert_eq!(write(&mut server, 2, "/local/domain/1/device/vif/0/state", "6"), error("EACCES"));
    assert_eq!(read(&mut server, 3, &format!("{back}/state")), error("EACCES"));
    assert_eq!(server.local(number).backend(1, VIF, 0), Some(2));
    assert_eq!(server.local(number).backend(1, VIF, 1), None);
}

#[test]
fn a_back_end_hears_of_new_devices() {
    let (mut server, number) = plugged();
    ask(&mut server, 2, kind::WATCH, "backend\0b\0").unwrap();
    events(&mut server, 2);
    server.local(number).describe(&guest(3, "other")).unwrap();
    server.local(number).plug(&Device { kind: VIF, domain: 3, number: 0, backend: 2 }).unwrap();
    assert!(events(&mut server, 2).contains(&"backend/vif/3/0/state b".into()));
    server.local(number).undescribe(3).unwrap();
    assert!(events(&mut server, 2).contains(&"backend/vif/3/0 b".into()));
    assert_eq!(ask(&mut server, 2, kind::DIRECTORY, "backend/vif\0"), Ok("1".into()));
}

#[test]
fn what_is_written_in_one_go_is_told_from_above_once() {
    let (mut server, number) = plugged();
    server.local(number).describe(&guest(3, "other")).unwrap();
    ask(&mut server, 2, kind::WATCH, "backend\0b\0").unwrap();
    ask(&mut server, 2, kind::WATCH, "backend/vif/3/0/mac\0m\0").unwrap();
    events(&mut server, 2);
    let device = Device { kind: VIF, domain: 3, number: 0, backend: 2 };
    server.local(number).plug(&device).unwrap();
    assert!(
        events(&mut server, 2).contains(&"backend/vif/3/0/mac m".into()),
        "who watches what is below is told of all"
    );
    ask(&mut server, 2, kind::UNWATCH, "backend/vif/3/0/mac\0m\0").unwrap();
    server.local(number).undescribe(3).unwrap();
    events(&mut server, 2);
    server.local(number).describe(&guest(3, "other")).unwrap();
    server.local(number).plug(&device).unwrap();
    let told = events(&mut server, 2);
    assert!(
        told.iter().all(|told| ["backend/vif/3 b", "backend/vif/3/0 b", "backend/vif/3/0/state b"].contains(&&**told))
    );
    assert!(told.contains(&"backend/vif/3/0/state b".into()), "{told:?}");
}

#[test]
fn a_domain_leaves_no_nodes() {
    let (mut server, number) = plugged();
    let (mut local, expected) = (server.local(number), ["local", "tool"]);
    local.undescribe(1).unwrap();
    local.undescribe(2).unwrap();
    assert_eq!(local.directory("/local/domain"), Ok(["0", "3", "4"].map(String::from).to_vec()));
    assert_eq!((local.directory("/vm"), local.directory("/libxl")), (Ok(Vec::new()), Ok(Vec::new())));
    assert!(expected.iter().all(|name| local.directory("/").unwrap().iter().any(|there| there == name)));
    server.release(1);
    server.release(2);
    assert_eq!(server.usage(1), crate::Usage::default());
}

#[test]
fn another_domain_can_serve_a_device_when_its_back_end_is_gone() {
    let (mut server, number) = plugged();
    write(&mut server, 1, "device/vif/0/state", "4").unwrap();
    server.local(number).undescribe(2).unwrap();
    server.release(2);
    assert_eq!(server.local(number).backend(1, VIF, 0), None);
    assert_eq!(read(&mut server, 1, "device/vif/0/state"), Ok("4".into()), "the guest's end stays");
    ask(&mut server, 1, kind::WATCH, "device/vif/0\0t\0").unwrap();
    events(&mut server, 1);
    let mut local = server.local(number);
    local.describe(&guest(3, "driver")).unwrap();
    local.plug(&Device { kind: VIF, domain: 1, number: 0, backend: 3 }).unwrap();
    assert!(events(&mut server, 1).contains(&"device/vif/0/backend t".into()));
    assert_eq!(read(&mut server, 1, "device/vif/0/backend-id"), Ok("3".into()));
    assert_eq!(read(&mut server, 3, "backend/vif/1/0/frontend-id"), Ok("1".into()));
}
