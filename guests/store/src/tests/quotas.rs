//! What an unprivileged domain may use, and what it gets beyond.

use super::*;

#[test]
fn nodes_are_counted() {
    let mut server = server();
    for number in 0..999 {
        write(&mut server, 1, &format!("d{}/{number}", number / 100), "").unwrap_or_else(|error| {
            assert_eq!((error.as_str(), server.usage(1).nodes), ("ENOSPC", 1000));
            String::new()
        });
    }
    assert_eq!(server.usage(1).nodes, 1000);
    assert_eq!(write(&mut server, 1, "more", ""), error("ENOSPC"));
    assert_eq!(write(&mut server, 1, "d0/0", "changed"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::RM, "d0\0"), Ok("OK".into()));
    assert_eq!(write(&mut server, 1, "more", ""), Ok("OK".into()));
    assert_eq!(write(&mut server, 2, "more", ""), Ok("OK".into()));
}

#[test]
fn a_node_has_a_size() {
    let mut server = server();
    assert_eq!(write(&mut server, 1, "a", &"x".repeat(2048 - 24)), Ok("OK".into()));
    assert_eq!(write(&mut server, 1, "a", &"x".repeat(2048 - 23)), error("ENOSPC"));
    assert_eq!(write(&mut server, 1, "b", &"x".repeat(2048 - 23)), error("ENOSPC"));
    assert_eq!(read(&mut server, 1, "b"), error("ENOENT"));
    assert_eq!(write(&mut server, 0, "/big", &"x".repeat(4000)), Ok("OK".into()));
    let name = |number| format!("dir/{number:0100}");
    let made = (0..100).take_while(|number| write(&mut server, 1, &name(*number), "").is_ok()).count();
    assert_eq!(made, 2024 / 101);
}

#[test]
fn permissions_are_counted() {
    let mut server = server();
    write(&mut server, 1, "a", "").unwrap();
    assert_eq!(ask(&mut server, 1, kind::SET_PERMS, "a\0n1\0r2\0r3\0r4\0r0\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::SET_PERMS, "a\0n1\0r2\0r3\0r4\0r0\0r2\0"), error("ENOSPC"));
}

#[test]
fn watches_are_counted() {
    let mut server = server();
    for number in 0..128 {
        ask(&mut server, 1, kind::WATCH, &format!("a\0{number}\0")).unwrap();
    }
    assert_eq!(ask(&mut server, 1, kind::WATCH, "a\0more\0"), error("E2BIG"));
    assert_eq!(ask(&mut server, 1, kind::UNWATCH, "a\x005\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::WATCH, "a\0more\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::RESET_WATCHES, "\0"), Ok("OK".into()));
    assert_eq!(server.usage(1).watches, 0);
}

#[test]
fn transactions_are_counted() {
    let mut server = server();
    for _ in 0..10 {
        ask(&mut server, 1, kind::TRANSACTION_START, "\0").unwrap();
    }
    assert_eq!(ask(&mut server, 1, kind::TRANSACTION_START, "\0"), error("ENOSPC"));
    ask_in(&mut server, 1, 3, kind::TRANSACTION_END, "F\0").unwrap();
    assert_eq!(ask(&mut server, 1, kind::TRANSACTION_START, "\0"), Ok("11".into()));
}

#[test]
fn a_transaction_looks_at_so_many_nodes() {
    let limits = Limits { transaction_nodes: 20, ..Limits::default() };
    let mut server = server_with(limits);
    ask(&mut server, 1, kind::TRANSACTION_START, "\0").unwrap();
    let read = |number| format!("a{number}\0");
    let results: Vec<_> = (0..20).map(|number| ask_in(&mut server, 1, 1, kind::READ, &read(number))).collect();
    assert_eq!((results[0].clone(), results[19].clone()), (error("ENOENT"), error("ENOSPC")));
    assert_eq!(ask_in(&mut server, 1, 1, kind::TRANSACTION_END, "T\0"), error("ENOMEM"));
}

#[test]
fn a_transaction_is_no_way_around_the_number_of_nodes() {
    let mut server = server_with(Limits { nodes: 5, ..Limits::default() });
    for transaction in 1..=2 {
        ask(&mut server, 1, kind::TRANSACTION_START, "\0").unwrap();
        for number in 0..3 {
            let payload = format!("t{transaction}-{number}/x\0");
            let answer = ask_in(&mut server, 1, transaction, kind::WRITE, &payload);
            assert_eq!(answer.is_ok(), number < 2);
        }
    }
    assert_eq!(ask_in(&mut server, 1, 1, kind::TRANSACTION_END, "T\0"), Ok("OK".into()));
    assert_eq!(ask_in(&mut server, 1, 2, kind::TRANSACTION_END, "T\0"), error("ENOSPC"));
    assert_eq!(server.usage(1).nodes, 5);
}

#[test]
fn memory_is_counted_and_comes_back() {
    let mut server = server_with(Limits { memory: 20_000, ..Limits::default() });
    let before = server.usage(1);
    let value = "x".repeat(1500);
    let written = (0..100).take_while(|number| write(&mut server, 1, &format!("{number}"), &value).is_ok()).count();
    assert!((5..13).contains(&written), "{written}");
    assert_eq!(write(&mut server, 1, "more", &value), error("ENOMEM"));
    (0..written).for_each(|number| drop(ask(&mut server, 1, kind::RM, &format!("{number}\0")).unwrap()));
    assert_eq!(server.usage(1), before);
}

#[test]
fn what_transactions_keep_is_counted() {
    let mut server = server_with(Limits { memory: 100_000, ..Limits::default() });
    for number in 0..20 {
        write(&mut server, 1, &format!("{number}"), &"x".repeat(1500)).unwrap();
    }
    let mut refused = 0;
    for transaction in 1..=10 {
        ask(&mut server, 1, kind::TRANSACTION_START, "\0").unwrap();
        for number in 0..20 {
            let answer = ask_in(&mut server, 1, transaction, kind::READ, &format!("{number}\0"));
            refused += u32::from(answer == error("ENOMEM"));
        }
    }
    assert!(refused > 100 && server.usage(1).memory <= 100_000);
}

#[test]
fn all_domains_share_a_total_but_for_what_is_assured() {
    const ASSURED: usize = 4000;
    let mut server = server_with(Limits { total: 30_000, assured: ASSURED, ..Limits::default() });
    let value = "x".repeat(1500);
    for domain in 1..=3 {
        (0..10).for_each(|number| drop(write(&mut server, domain, &format!("{number}"), &value)));
    }
    assert!(server.total() <= 30_000 + ASSURED);
    assert_eq!(write(&mut server, 4, "x", &value), Ok("OK".into()));
    (0..10).for_each(|number| drop(write(&mut server, 4, &format!("{number}"), &value)));
    assert_eq!(write(&mut server, 4, "more", &value), error("ENOMEM"));
    assert!(server.usage(4).memory <= ASSURED);
    assert_eq!(write(&mut server, 0, "/x", &value), Ok("OK".into()));
}

#[test]
fn who_serves_devices_may_use_more_and_nobody_can_take_it_away() {
    let mut server = server_with(Limits { total: 30_000, nodes: 20, watches: 2, ..Limits::default() });
    server.serves(4);
    let value = "x".repeat(1500);
    for domain in 1..=3 {
        (0..10).for_each(|number| drop(write(&mut server, domain, &format!("{number}"), &value)));
    }
    for number in 0..60 {
        assert_eq!(write(&mut server, 4, &format!("{number}"), &value), Ok("OK".into()));
        ask(&mut server, 4, kind::WATCH, &format!("a\0{number}\0")).unwrap();
    }
    server.release(4);
    server.introduce(4);
    ask(&mut server, 0, kind::MKDIR, "/local/domain/4\0").unwrap();
    ask(&mut server, 0, kind::SET_PERMS, "/local/domain/4\0n4\0").unwrap();
    let made = (0..60).take_while(|number| write(&mut server, 4, &format!("{number}"), "").is_ok()).count();
    assert_eq!(made, 19, "whoever has its number next is no server");
}
