//! Which changes are told to whom.

use super::*;

fn watch(server: &mut Server, domain: u16, path: &str, token: &str) {
    ask(server, domain, kind::WATCH, &format!("{path}\0{token}\0")).unwrap();
    assert_eq!(events(server, domain), [format!("{path} {token}")], "a watch fires at once");
}

#[test]
fn a_watch_fires_for_what_is_below() {
    let mut server = server();
    watch(&mut server, 1, "a", "t");
    watch(&mut server, 0, "/local/domain/1/a/b", "deep");
    for (path, own, others) in [("a", 1, 0), ("a/b", 1, 1), ("a/b/c", 1, 1), ("ab", 0, 0), ("a-b", 0, 0), ("x/a", 0, 0)]
    {
        write(&mut server, 1, path, "").unwrap();
        let expected: Vec<_> = (0..own).map(|_| format!("{path} t")).collect();
        assert_eq!(events(&mut server, 1), expected);
        let expected: Vec<_> = (0..others).map(|_| format!("/local/domain/1/{path} deep")).collect();
        assert_eq!(events(&mut server, 0), expected);
    }
}

#[test]
fn reading_fires_nothing_and_making_what_is_there_neither() {
    let mut server = server();
    write(&mut server, 1, "a", "").unwrap();
    watch(&mut server, 1, "a", "t");
    read(&mut server, 1, "a").unwrap();
    ask(&mut server, 1, kind::MKDIR, "a\0").unwrap();
    ask(&mut server, 1, kind::RM, "a/none\0").unwrap();
    assert!(events(&mut server, 1).is_empty());
}

#[test]
fn removing_fires_for_what_goes_with_it() {
    let mut server = server();
    write(&mut server, 1, "a/b/c", "").unwrap();
    watch(&mut server, 1, "a/b/c", "leaf");
    watch(&mut server, 1, "a", "top");
    watch(&mut server, 1, "a/b/c/d", "none");
    ask(&mut server, 1, kind::RM, "a\0").unwrap();
    assert_eq!(events(&mut server, 1), ["a top", "a/b/c leaf"]);
}

#[test]
fn the_same_event_waits_once() {
    let mut server = server();
    ask(&mut server, 2, kind::WATCH, "a\0t\0").unwrap();
    events(&mut server, 2);
    (0..5).for_each(|_| drop(write(&mut server, 0, "/local/domain/2/a", "").unwrap()));
    assert_eq!(events(&mut server, 2), ["a t"]);
}

#[test]
fn nobody_hears_of_what_it_may_not_see() {
    let mut server = server();
    watch(&mut server, 2, "/local/domain/1", "t");
    write(&mut server, 1, "secret", "").unwrap();
    assert!(events(&mut server, 2).is_empty());
    ask(&mut server, 1, kind::SET_PERMS, "secret\0n1\0r2\0").unwrap();
    assert_eq!(events(&mut server, 2), ["/local/domain/1/secret t"]);
    ask(&mut server, 1, kind::SET_PERMS, "secret\0n1\0").unwrap();
    assert_eq!(events(&mut server, 2), ["/local/domain/1/secret t"], "that it may see it no more");
    write(&mut server, 1, "secret", "").unwrap();
    assert!(events(&mut server, 2).is_empty());
}

#[test]
fn watches_are_told_apart_by_path_and_token() {
    let mut server = server();
    watch(&mut server, 1, "a", "t");
    assert_eq!(ask(&mut server, 1, kind::WATCH, "a\0t\0"), error("EEXIST"));
    assert_eq!(ask(&mut server, 1, kind::WATCH, "/local/domain/1/a\0t\0"), error("EEXIST"));
    assert_eq!(ask(&mut server, 1, kind::UNWATCH, "a\0u\0"), error("ENOENT"));
    assert_eq!(ask(&mut server, 1, kind::UNWATCH, "a\0t\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::UNWATCH, "a\0t\0"), error("ENOENT"));
    events(&mut server, 1);
    write(&mut server, 1, "a", "").unwrap();
    assert!(events(&mut server, 1).is_empty());
}

#[test]
fn domains_that_come_and_go_are_told_to_domain_0() {
    let mut server = server();
    watch(&mut server, 0, "@introduceDomain", "in");
    watch(&mut server, 0, "@releaseDomain", "out");
    watch(&mut server, 1, "@releaseDomain", "out");
    server.introduce(7);
    assert_eq!(events(&mut server, 0), ["@introduceDomain in"]);
    server.introduce(7);
    assert!(events(&mut server, 0).is_empty());
    server.shut_down(7);
    server.shut_down(7);
    assert_eq!(events(&mut server, 0), ["@releaseDomain out"]);
    ask(&mut server, 0, kind::RESUME, "7\0").unwrap();
    server.shut_down(7);
    server.release(7);
    assert_eq!(events(&mut server, 0), ["@releaseDomain out", "@releaseDomain out"]);
    assert!(events(&mut server, 1).is_empty());
    ask(&mut server, 0, kind::SET_PERMS, "@releaseDomain\0n0\0r1\0").unwrap();
    events(&mut server, 1);
    server.introduce(7);
    server.release(7);
    assert_eq!(events(&mut server, 1), ["@releaseDomain out"]);
}

#[test]
fn a_reset_ends_watches_and_transactions() {
    let mut server = server();
    watch(&mut server, 1, "a", "t");
    ask(&mut server, 1, kind::TRANSACTION_START, "\0").unwrap();
    assert_eq!(ask_in(&mut server, 1, 1, kind::RESET_WATCHES, "\0"), Ok("OK".into()));
    write(&mut server, 1, "a", "").unwrap();
    assert!(events(&mut server, 1).is_empty());
    assert_eq!(ask_in(&mut server, 1, 1, kind::READ, "a\0"), error("ENOENT"));
    assert_eq!((server.usage(1).watches, server.usage(1).transactions), (0, 0));
}

#[test]
fn a_part_of_the_program_is_a_client_too() {
    let mut server = server();
    let number = server.open();
    let mut local = server.local(number);
    local.watch("/local/domain/1", "t").unwrap();
    local.write("/local/domain/1/x", 17).unwrap();
    assert_eq!(local.read("/local/domain/1/x"), Ok(b"17".to_vec()));
    assert_eq!(local.directory("/local/domain"), Ok(["1", "2", "3", "4"].map(String::from).to_vec()));
    let paths: Vec<_> = core::iter::from_fn(|| local.event()).map(|event| event.path).collect();
    assert_eq!(paths, ["/local/domain/1", "/local/domain/1/x"]);
    local.remove("/local/domain/1/none/x").unwrap();
    local.remove("/local/domain/1/x").unwrap();
    assert_eq!(local.read("/local/domain/1/x"), Err(crate::Error::Missing));
}
