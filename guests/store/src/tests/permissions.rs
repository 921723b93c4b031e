//! Who may do what.

use super::*;

fn permit(server: &mut Server, path: &str, permissions: &str) {
    ask(server, 0, kind::SET_PERMS, &format!("{path}\0{permissions}\0")).unwrap();
}

#[test]
fn the_owner_and_domain_0_may_all() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    assert_eq!(ask(&mut server, 1, kind::GET_PERMS, "a\0"), Ok("n1".into()));
    assert_eq!(read(&mut server, 0, "/local/domain/1/a"), Ok("1".into()));
    assert_eq!(read(&mut server, 2, "/local/domain/1/a"), error("EACCES"));
    assert_eq!(write(&mut server, 2, "/local/domain/1/a", "2"), error("EACCES"));
}

#[test]
fn each_letter_means_what_it_says() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    let path = "/local/domain/1/a";
    for (permissions, may_read, may_write) in [
        ("n1\0r2", true, false),
        ("n1\0w2", false, true),
        ("n1\0b2", true, true),
        ("b1\0n2", false, false),
        ("r1", true, false),
        ("w1\0r3", false, true),
    ] {
        permit(&mut server, path, permissions);
        assert_eq!(read(&mut server, 2, path).is_ok(), may_read, "{permissions:?}");
        assert_eq!(write(&mut server, 2, path, "1").is_ok(), may_write, "{permissions:?}");
    }
}

#[test]
fn what_is_not_there_is_hidden_by_what_is_above() {
    let mut server = server();
    assert_eq!(read(&mut server, 2, "/local/domain/1/nothing"), error("EACCES"));
    assert_eq!(ask(&mut server, 2, kind::RM, "/local/domain/1/nothing\0"), error("EACCES"));
    assert_eq!(ask(&mut server, 2, kind::MKDIR, "/local/domain/1/nothing\0"), error("EACCES"));
    permit(&mut server, "/local/domain/1", "r1");
    assert_eq!(read(&mut server, 2, "/local/domain/1/nothing"), error("ENOENT"));
    assert_eq!(ask(&mut server, 2, kind::MKDIR, "/local/domain/1/nothing\0"), error("EACCES"));
}

#[test]
fn children_inherit_and_belong_to_who_makes_them() {
    let mut server = server();
    permit(&mut server, "/local/domain/1", "n1\0b2");
    write(&mut server, 2, "/local/domain/1/a/b", "").unwrap();
    assert_eq!(ask(&mut server, 0, kind::GET_PERMS, "/local/domain/1/a/b\0"), Ok("n2\0b2".into()));
    write(&mut server, 0, "/local/domain/1/c", "").unwrap();
    assert_eq!(ask(&mut server, 0, kind::GET_PERMS, "/local/domain/1/c\0"), Ok("n1\0b2".into()));
}

#[test]
fn only_domain_0_changes_an_owner() {
    let mut server = server();
    write(&mut server, 1, "a", "").unwrap();
    assert_eq!(ask(&mut server, 1, kind::SET_PERMS, "a\0n2\0"), error("EPERM"));
    assert_eq!(ask(&mut server, 2, kind::SET_PERMS, "/local/domain/1/a\0n2\0"), error("EACCES"));
    permit(&mut server, "/local/domain/1/a", "n1\0b2");
    assert_eq!(ask(&mut server, 2, kind::SET_PERMS, "/local/domain/1/a\0b1\0"), error("EACCES"));
    permit(&mut server, "/local/domain/1/a", "n2");
    assert_eq!((server.usage(1).nodes, server.usage(2).nodes), (1, 2));
}

#[test]
fn a_domain_that_does_not_exist_gets_no_permission() {
    let mut server = server();
    write(&mut server, 1, "a", "").unwrap();
    assert_eq!(ask(&mut server, 1, kind::SET_PERMS, "a\0n1\0r77\0r2\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::GET_PERMS, "a\0"), Ok("n1\0r2".into()));
    assert_eq!(ask(&mut server, 0, kind::SET_PERMS, "/local/domain/1/a\0n77\0"), error("ENOENT"));
}

#[test]
fn a_domain_may_what_its_target_may() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    assert_eq!(ask(&mut server, 0, kind::SET_TARGET, "2\x001\0"), Ok("OK".into()));
    assert_eq!(write(&mut server, 2, "/local/domain/1/a", "2"), Ok("OK".into()));
    server.release(1);
    server.introduce(1);
    write(&mut server, 0, "/local/domain/1", "").unwrap();
    permit(&mut server, "/local/domain/1", "n1");
    assert_eq!(read(&mut server, 2, "/local/domain/1"), error("EACCES"));
    assert_eq!(ask(&mut server, 0, kind::SET_TARGET, "2\x0077\0"), error("ENOENT"));
}
