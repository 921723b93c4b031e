//! What each request does, one at a time.

use super::*;

#[test]
fn what_is_written_can_be_read() {
    let mut server = server();
    assert_eq!(write(&mut server, 1, "a/b/c", "value"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "/local/domain/1/a/b/c"), Ok("value".into()));
    assert_eq!(read(&mut server, 1, "a/b"), Ok(String::new()));
    assert_eq!(ask(&mut server, 1, kind::DIRECTORY, "a\0"), Ok("b".into()));
    assert_eq!(read(&mut server, 1, "a/x"), error("ENOENT"));
}

#[test]
fn a_payload_of_the_wrong_form_is_refused() {
    let mut server = server();
    for (kind, payload) in [
        (kind::READ, "a"),
        (kind::READ, ""),
        (kind::READ, "a\0b\0"),
        (kind::WRITE, "a"),
        (kind::MKDIR, "a b\0"),
        (kind::RM, "//\0"),
        (kind::WATCH, "a\0"),
        (kind::WATCH, "a\0b\0c\0"),
        (kind::SET_PERMS, "a\0"),
        (kind::SET_PERMS, "/local/domain/1\0x1\0"),
        (kind::SET_PERMS, "/local/domain/1\0r\0"),
        (kind::SET_PERMS, "/local/domain/1\0r70000\0"),
        (kind::TRANSACTION_END, "X\0"),
        (kind::DIRECTORY_PART, "/local/domain/1\0-1\0"),
        (kind::GET_DOMAIN_PATH, "x\0"),
        (kind::READ, "@releaseDomain\0"),
    ] {
        assert_eq!(ask(&mut server, 1, kind, payload), error("EINVAL"), "{kind} {payload:?}");
    }
    for kind in [kind::WATCH_EVENT, kind::ERROR, 20, 23, 0xffff, u32::MAX] {
        assert_eq!(ask(&mut server, 1, kind, "a\0"), error("ENOSYS"), "{kind}");
    }
}

#[test]
fn removing_takes_all_below() {
    let mut server = server();
    write(&mut server, 1, "a/b/c", "1").unwrap();
    write(&mut server, 1, "a-b", "2").unwrap();
    assert_eq!(ask(&mut server, 1, kind::RM, "a\0"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a/b/c"), error("ENOENT"));
    assert_eq!(read(&mut server, 1, "a-b"), Ok("2".into()));
    assert_eq!(ask(&mut server, 1, kind::RM, "a\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 1, kind::RM, "a/b\0"), error("ENOENT"));
    assert_eq!(ask(&mut server, 0, kind::RM, "/\0"), error("EINVAL"));
    assert_eq!(server.usage(1).nodes, 2);
}

#[test]
fn mkdir_keeps_what_is_there() {
    let mut server = server();
    write(&mut server, 1, "a", "1").unwrap();
    assert_eq!(ask(&mut server, 1, kind::MKDIR, "a\0"), Ok("OK".into()));
    assert_eq!(read(&mut server, 1, "a"), Ok("1".into()));
}

#[test]
fn a_long_directory_comes_in_parts() {
    let mut server = server();
    let names: Vec<String> = (0..1000).map(|number| format!("child-{number:04}")).collect();
    names.iter().for_each(|name| drop(write(&mut server, 0, &format!("/big/{name}"), "")));
    assert_eq!(ask(&mut server, 0, kind::DIRECTORY, "/big\0"), error("E2BIG"));
    let (mut got, mut generations) = (Vec::new(), Vec::new());
    loop {
        let offset: usize = got.iter().map(|name: &String| name.len() + 1).sum();
        let mut part = ask(&mut server, 0, kind::DIRECTORY_PART, &format!("/big\0{offset}\0")).unwrap();
        let last = part.ends_with('\0');
        if last {
            part.pop();
        }
        let mut strings = part.split('\0').map(ToString::to_string);
        generations.push(strings.next().unwrap());
        got.extend(strings);
        if last {
            break;
        }
    }
    assert_eq!(got, names);
    generations.dedup();
    assert_eq!(generations.len(), 1);
    write(&mut server, 0, "/big/one-more", "").unwrap();
    assert!(!ask(&mut server, 0, kind::DIRECTORY_PART, "/big\x000\0").unwrap().starts_with(&generations[0]));
}

#[test]
fn a_part_behind_the_end_is_empty() {
    let mut server = server();
    write(&mut server, 1, "a/b", "").unwrap();
    let part = ask(&mut server, 1, kind::DIRECTORY_PART, "a\x00100\0").unwrap();
    assert!(part.ends_with('\0') && part.matches('\0').count() == 1, "{part:?}");
}

#[test]
fn only_domain_0_manages_domains() {
    let mut server = server();
    for kind in [kind::INTRODUCE, kind::RELEASE, kind::RESUME, kind::SET_TARGET, kind::CONTROL] {
        assert_eq!(ask(&mut server, 1, kind, "2\x001\x001\0"), error("EACCES"));
    }
    assert_eq!(ask(&mut server, 1, kind::GET_DOMAIN_PATH, "07\0"), Ok("/local/domain/7".into()));
    assert_eq!(ask(&mut server, 0, kind::IS_DOMAIN_INTRODUCED, "4\0"), Ok("T".into()));
    assert_eq!(ask(&mut server, 0, kind::IS_DOMAIN_INTRODUCED, "5\0"), Ok("F".into()));
    assert_eq!(ask(&mut server, 0, kind::INTRODUCE, "5\x00233473\x003\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 0, kind::IS_DOMAIN_INTRODUCED, "5\0"), Ok("T".into()));
    let effect = crate::Effect::Introduce { domain: 5, frame: 233_473, port: 3 };
    assert_eq!(server.take_effect(), Some(effect));
    assert_eq!(ask(&mut server, 0, kind::RELEASE, "5\0"), Ok("OK".into()));
    assert_eq!(server.take_effect(), Some(crate::Effect::Release { domain: 5 }));
    assert_eq!(ask(&mut server, 0, kind::RELEASE, "5\0"), error("ENOENT"));
    assert_eq!(ask(&mut server, 0, kind::RELEASE, "0\0"), error("EINVAL"));
    assert_eq!(ask(&mut server, 0, kind::CONTROL, "check\0"), Ok("OK".into()));
    assert_eq!(ask(&mut server, 0, kind::CONTROL, "explode\0"), error("EINVAL"));
}

#[test]
fn a_released_domain_leaves_nothing() {
    let mut server = server();
    let before = server.total();
    server.introduce(9);
    write(&mut server, 0, "/local/domain/9", "").unwrap();
    ask(&mut server, 0, kind::SET_PERMS, "/local/domain/9\0n9\0").unwrap();
    write(&mut server, 9, "a/b", "1").unwrap();
    ask(&mut server, 9, kind::WATCH, "a\0t\0").unwrap();
    ask(&mut server, 9, kind::TRANSACTION_START, "\0").unwrap();
    ask_in(&mut server, 9, 1, kind::WRITE, "c\0d").unwrap();
    ask(&mut server, 0, kind::SET_PERMS, "/local/domain/1\0n1\0r9\0").unwrap();
    server.release(9);
    assert_eq!(ask(&mut server, 0, kind::GET_PERMS, "/local/domain/1\0"), Ok("n1".into()));
    assert_eq!(read(&mut server, 0, "/local/domain/9"), error("ENOENT"));
    assert_eq!(server.total(), before);
    server.introduce(9);
    assert_eq!(server.usage(9), crate::Usage::default());
}

#[test]
fn no_transaction_brings_back_what_a_released_domain_had() {
    let mut server = server();
    ask(&mut server, 0, kind::TRANSACTION_START, "\0").unwrap();
    ask_in(&mut server, 0, 1, kind::WRITE, "/x\0").unwrap();
    ask_in(&mut server, 0, 1, kind::SET_PERMS, "/x\0n0\0b3\0").unwrap();
    server.release(3);
    server.introduce(3);
    assert_eq!(ask_in(&mut server, 0, 1, kind::TRANSACTION_END, "T\0"), error("EAGAIN"));
}
