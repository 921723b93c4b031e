//! A server that ends at any moment of a turn, and another that goes on with its rings from what was written down.

use mote_protocols::xs_wire::kind;
use proptest::prelude::*;

use super::*;
use crate::{Client, Connection, Error};

const DOMAIN: u16 = 1;

/// A server with the ring of one domain, and all that it has written down.
struct Mortal {
    server: Server,
    connection: Connection,
    records: Vec<Vec<u8>>,
    saved: Vec<u8>,
}

impl Mortal {
    fn new(page: &Page) -> Self {
        let mut server = server_with(Limits::default());
        let connection = Connection::new(DOMAIN, &mut server, page);
        server.keep();
        let records = server.snapshot();
        let mut saved = Vec::new();
        connection.save(&server, &mut saved);
        Self { server, connection, records, saved }
    }

    /// A turn, of which nothing, what was written down, or all comes to be.
    fn turn(&mut self, page: &Page, steps: u8) -> bool {
        let turn = self.connection.prepare(&mut self.server, page);
        if steps > 0 && self.connection.has_unseen() {
            self.records.extend(self.server.changes());
            self.saved.clear();
            self.connection.save(&self.server, &mut self.saved);
        }
        if steps > 1 {
            self.connection.show(page);
        }
        turn.again | turn.notify
    }

    /// Another in its place.
    fn again(self, page: &Page) -> Self {
        let Self { records, saved, .. } = self;
        let mut server = server_with(Limits::default());
        server.keep();
        records.iter().for_each(|record| server.replay(record).unwrap());
        let mut connection = Connection::resume(DOMAIN, &saved, &mut server).unwrap();
        connection.show(page);
        Self { server, connection, records, saved }
    }
}

proptest! {
    #[test]
    fn a_client_notices_nothing_of_servers_that_end(
        deaths in prop::collection::vec((0_usize..6, 0_u8..3), 1..40),
        lengths in prop::collection::vec(0_usize..2000, 1..20),
    ) {
        let page = Page::new();
        let mut mortal = Mortal::new(&page);
        let mut client = Client::new(&page);
        let mut deaths = deaths.into_iter();
        let mut until_death = deaths.next();
        let mut ask = |kind: u32, transaction: u32, parts: &[&[u8]]| {
            let number = client.send(kind, transaction, parts).unwrap();
            for _ in 0..1000 {
                client.turn(&page).unwrap();
                if let Some(answer) = client.answer(number) {
                    return answer;
                }
                let Some((turns, steps)) = &mut until_death else {
                    mortal.turn(&page, 2);
                    continue;
                };
                if *turns > 0 {
                    *turns -= 1;
                    mortal.turn(&page, 2);
                    continue;
                }
                mortal.turn(&page, *steps);
                until_death = deaths.next();
                let last = core::mem::replace(&mut mortal, Mortal::new(&Page::new()));
                mortal = last.again(&page);
            }
            panic!("no answer");
        };
        for (number, length) in lengths.into_iter().enumerate() {
            let value = std::vec![number as u8; length];
            prop_assert_eq!(ask(kind::WRITE, 0, &[b"a\0", &value]), Ok(b"OK\0".to_vec()));
            prop_assert_eq!(ask(kind::READ, 0, &[b"a\0"]), Ok(value));
            // A second time would be an error.
            let token = std::format!("{number}\0");
            prop_assert_eq!(ask(kind::WATCH, 0, &[b"a\0", token.as_bytes()]), Ok(b"OK\0".to_vec()));
            prop_assert_eq!(ask(kind::UNWATCH, 0, &[b"a\0", token.as_bytes()]), Ok(b"OK\0".to_vec()));
            let start = ask(kind::TRANSACTION_START, 0, &[b"\0"]).unwrap();
            let transaction: u32 = core::str::from_utf8(&start).unwrap().trim_end_matches('\0').parse().unwrap();
            prop_assert_eq!(ask(kind::WRITE, transaction, &[b"b\0", b"x"]), Ok(b"OK\0".to_vec()));
            let end = ask(kind::TRANSACTION_END, transaction, &[b"T\0"]);
            prop_assert!(matches!(end, Ok(_) | Err(Error::Again)), "{end:?}");
        }
    }
}
