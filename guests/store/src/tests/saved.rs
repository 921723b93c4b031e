//! A server that is written down and another that goes on from there.

use std::format;
use std::vec::Vec;

use mote_protocols::xs_wire::kind;
use proptest::prelude::*;

use super::{ask, server};
use crate::{Limits, Server};

/// All there is of a server, as records.
fn all(server: &mut Server) -> Vec<Vec<u8>> {
    server.keep();
    server.snapshot()
}

fn restored(records: &[Vec<u8>]) -> Server {
    let mut server = Server::new(Limits::default());
    records.iter().for_each(|record| server.replay(record).unwrap());
    server
}

/// One of the requests that change something, or a domain's end and new beginning.
fn step(server: &mut Server, (what, client, place, value): (u8, u16, u8, u8)) {
    let path = format!("/local/domain/{client}/{}{}", place % 3, if place > 5 { "/below" } else { "" });
    let _ = match what {
        0..=3 => ask(server, client, kind::WRITE, &format!("{path}\0{value}")),
        4 => ask(server, client, kind::RM, &format!("{path}\0")),
        5 => ask(server, client, kind::SET_PERMS, &format!("{path}\0r{client}\0w{}\0", value % 5)),
        6 | 7 => ask(server, client, kind::WATCH, &format!("{path}\0{}\0", value % 4)),
        8 => ask(server, client, kind::UNWATCH, &format!("{path}\0{}\0", value % 4)),
        9 => {
            server.shut_down(client);
            return;
        }
        10 => {
            server.reset(client);
            return;
        }
        _ => {
            server.release(client);
            server.introduce(client);
            ask(server, 0, kind::MKDIR, &format!("/local/domain/{client}\0")).unwrap();
            ask(server, 0, kind::SET_PERMS, &format!("/local/domain/{client}\0n{client}\0"))
        }
    };
}

proptest! {
    #[test]
    fn another_server_goes_on_from_any_moment(
        steps in prop::collection::vec((0_u8..12, 1_u16..5, 0_u8..9, any::<u8>()), 1..60),
        begin in 0_usize..60,
    ) {
        let mut first = server();
        let begin = begin.min(steps.len());
        steps[..begin].iter().for_each(|&each| step(&mut first, each));
        let mut second = restored(&all(&mut first));
        for &each in &steps[begin..] {
            step(&mut first, each);
            if let Some(record) = first.changes() {
                second.replay(&record).unwrap();
            }
            prop_assert_eq!(first.changes(), None);
            for domain in 0..5 {
                let mut usage = first.usage(domain);
                // What waits for it is not kept, nor charged.
                usage.memory = second.usage(domain).memory;
                prop_assert_eq!(usage, second.usage(domain));
            }
        }
        prop_assert_eq!(all(&mut first), all(&mut second));
        prop_assert!(first.total() >= second.total());
    }

    #[test]
    fn no_record_ends_a_server(mut record in prop::collection::vec(any::<u8>(), 0..200), first in 0_u8..7) {
        let mut server = server();
        let _ = server.replay(&record);
        record.insert(0, first);
        let _ = server.replay(&record);
    }
}

#[test]
fn what_was_written_in_one_go_is_there_for_another_server() {
    let mut first = server();
    let records = all(&mut first);
    let mut second = restored(&records);
    let number = first.open();
    let guest = |id| crate::libxl::Guest { id, name: "web", memory: 1, vcpus: 20, store: (1, 2), driver: id == 2 };
    let kind = crate::libxl::Kind::Vbd { dev: "xvda", params: "web-xvda", read_only: false };
    let device = crate::libxl::Device { kind, domain: 1, number: 51712, backend: 2 };
    let mut local = first.local(number);
    local.describe(&guest(1)).unwrap();
    local.describe(&guest(2)).unwrap();
    local.plug(&device).unwrap();
    local.plug(&device).unwrap();
    second.replay(&first.changes().unwrap()).unwrap();
    assert_eq!((first.totals(), all(&mut first)), (second.totals(), all(&mut second)));
    first.local(number).undescribe(1).unwrap();
    second.replay(&first.changes().unwrap()).unwrap();
    assert_eq!((first.totals(), all(&mut first)), (second.totals(), all(&mut second)));
    assert!(second.replay(&[6, 1, 0, 0, 0, b'/', 1, 0, 0, 0, 9, 0]).is_err());
}
