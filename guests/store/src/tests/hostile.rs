//! Bytes that make no sense.

use std::vec;

use proptest::prelude::*;

use mote_protocols::xs_wire::page;

use super::*;
use crate::Connection;

/// Payloads that are nearly right.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"/local/domain/1".to_vec()),
        Just(b"/".to_vec()),
        Just(b"a".to_vec()),
        Just(b"@releaseDomain".to_vec()),
        Just(b"r2".to_vec()),
        Just(b"n1".to_vec()),
        Just(b"T".to_vec()),
        Just(b"4294967295".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"\0".to_vec()),
        Just(vec![b'/'; 3000]),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_request_brings_the_server_down(
        requests in prop::collection::vec((0_u16..3, 0_u32..26, 0_u32..4, payload()), 0..100)
    ) {
        let mut server = server();
        for (domain, kind, transaction, payload) in requests {
            if kind == kind::TRANSACTION_START {
                let _ = ask(&mut server, domain, kind, "\0");
            }
            let header = Header { kind, request: 1, transaction, length: payload.len() as u32 };
            server.handle(domain, header, &payload);
            let answered = core::iter::from_fn(|| server.take_message(domain)).all(|message| message.len() <= 4096 + 16);
            prop_assert!(answered);
        }
        for domain in 1..3 {
            server.release(domain);
            prop_assert_eq!(server.usage(domain), crate::Usage::default());
        }
    }

    #[test]
    fn no_page_brings_a_connection_down(
        turns in prop::collection::vec(prop::collection::vec((0_usize..1024, any::<u32>(), any::<bool>()), 0..30), 0..30)
    ) {
        let (mut server, memory) = (server(), Page::new());
        let mut connection = Connection::new(1, &mut server, &memory);
        for words in turns {
            for (word, value, index) in words {
                // Now and then an index that is nearly right, so that what is in the ring is looked at.
                let near = memory.load(page::REQUEST_CONSUMER).wrapping_add(value % 1025);
                let (word, value) = if index { (page::REQUEST_PRODUCER / 4, near) } else { (word, value % 64) };
                memory.store(word * 4, value);
            }
            let mut turns = 0;
            while connection.turn(&mut server, &memory).again {
                turns += 1;
                prop_assert!(turns < 100);
            }
            prop_assert!(server.usage(1).memory < 1 << 20);
        }
    }
}
