//! Several requests as one.

use super::*;

fn start(server: &mut Server, domain: u16) -> u32 {
    ask(server, domain, kind::TRANSACTION_START, "\0").unwrap().parse().unwrap()
}

fn end(server: &mut Server, domain: u16, transaction: u32, how: &str) -> Result<String, String> {
    ask_in(server, domain, transaction, kind::TRANSACTION_END, &format!("{how}\0"))
}

#[test]
fn nothing_is_seen_before_the_end() {
    let mut server = server();
    ask(&mut server, 1, kind::WATCH, "a\0t\0").unwrap();
    events(&mut server, 1);
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::WRITE, "a/b\x001").unwrap();
    assert_eq!(ask_in(&mut server, 1, transaction, kind::READ, "a/b\0"), Ok("1".into()));
    assert_eq!(read(&mut server, 1, "a/b"), error("ENOENT"));
    assert!(events(&mut server, 1).is_empty());
    assert_eq!(end(&mut server, 1, transaction, "T"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a/b"), Ok("1".into()));
    assert_eq!(events(&mut server, 1), ["a/b t"]);
    assert_eq!(end(&mut server, 1, transaction, "T"), error("ENOENT"));
}

#[test]
fn one_that_is_given_up_leaves_nothing() {
    let mut server = server();
    let before = server.usage(1);
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::WRITE, "a\x001").unwrap();
    assert_eq!(end(&mut server, 1, transaction, "F"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a"), error("ENOENT"));
    assert_eq!(server.usage(1), before);
}

#[test]
fn who_read_what_changed_since_has_to_try_again() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::READ, "a\0").unwrap();
    ask_in(&mut server, 1, transaction, kind::WRITE, "b\x002").unwrap();
    write(&mut server, 1, "a", "1").unwrap();
    assert_eq!(end(&mut server, 1, transaction, "T"), error("EAGAIN"));
    assert_eq!(read(&mut server, 1, "b"), error("ENOENT"));
    assert_eq!(server.usage(1).transactions, 0);
}

#[test]
fn what_nobody_looked_at_may_change() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    write(&mut server, 1, "b", "1").unwrap();
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::READ, "a\0").unwrap();
    write(&mut server, 1, "b", "2").unwrap();
    ask_in(&mut server, 1, transaction, kind::WRITE, "a\x003").unwrap();
    assert_eq!(end(&mut server, 1, transaction, "T"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a"), Ok("3".into()));
}

#[test]
fn what_is_missing_counts_as_read() {
    let mut server = server();
    let transaction = start(&mut server, 1);
    assert_eq!(ask_in(&mut server, 1, transaction, kind::READ, "a\0"), error("ENOENT"));
    write(&mut server, 1, "a", "").unwrap();
    assert_eq!(end(&mut server, 1, transaction, "T"), error("EAGAIN"));
}

#[test]
fn a_child_that_came_meanwhile_is_a_conflict() {
    let mut server = server();
    write(&mut server, 1, "a/b", "").unwrap();
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::RM, "a\0").unwrap();
    write(&mut server, 1, "a/c", "").unwrap();
    assert_eq!(end(&mut server, 1, transaction, "T"), error("EAGAIN"));
    assert_eq!(read(&mut server, 1, "a/c"), Ok(String::new()));
}

#[test]
fn removed_and_made_again_is_new() {
    let mut server = server();
    write(&mut server, 1, "a/b", "1").unwrap();
    let transaction = start(&mut server, 1);
    ask_in(&mut server, 1, transaction, kind::RM, "a\0").unwrap();
    assert_eq!(ask_in(&mut server, 1, transaction, kind::READ, "a/b\0"), error("ENOENT"));
    ask_in(&mut server, 1, transaction, kind::WRITE, "a\x002").unwrap();
    assert_eq!(ask_in(&mut server, 1, transaction, kind::DIRECTORY, "a\0"), Ok(String::new()));
    assert_eq!(end(&mut server, 1, transaction, "T"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a"), Ok("2".into()));
    assert_eq!(read(&mut server, 1, "a/b"), error("ENOENT"));
    assert_eq!(server.usage(1).nodes, 2);
}

#[test]
fn a_transaction_is_its_clients_own() {
    let mut server = server();
    let transaction = start(&mut server, 1);
    assert_eq!(ask_in(&mut server, 2, transaction, kind::READ, "a\0"), error("ENOENT"));
    assert_eq!(end(&mut server, 2, transaction, "T"), error("ENOENT"));
    assert_eq!(ask_in(&mut server, 1, transaction, kind::TRANSACTION_START, "\0"), error("EBUSY"));
    assert_eq!(end(&mut server, 1, transaction, "X"), error("EINVAL"));
    assert_eq!(end(&mut server, 1, transaction, "F"), Ok("OK".into()));
}
