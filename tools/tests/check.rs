//! `check` and `run` of configurations with mistakes: all of them are told, where they are, and nothing is started.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mote_tools::setup::{self, Need};

/// A configuration with a mistake in nearly every line; what is said of a line stands behind it.
const BAD: &str = r#"/dts-v1/;
/ { chosen {                                          // the guests together have
    a {
        compatible = "xen,domain";
        cpus = <0>;                                   // a guest without a CPU
        memory = <0x40>;                              // 4 bytes instead of 8
        vpl011 = "yes";                               // takes no value
        mote,wieght = <2>;                            // did you mean `mote,weight`?
        direct-map;                                   // is only for a guest with mote,driver
        xen,enhanced = "yes";                         // is nothing that Mote knows
        mote,peers = "nobody";                        // there is no other guest `nobody`
        channel { compatible = "xen,evtchn-v1";
            xen,evtchn = <1024 0>; };                 // there is no port 1024
        module@0 { compatible = "multiboot,kernel", "multiboot,module";
            mote,file = "missing"; };                 // there is no file
    };
    b {
        compatible = "xen,domain";
        cpus = <129>;                                 // 129 CPUs are too many
        memory = <0x0 0x400000>;
        mote,weight = <0>;                            // is not one number from 1 to 65535
        module@0 { compatible = "multiboot,kernel", "multiboot,module";
            mote,file = "text"; };                    // neither an arm64 Image nor an ELF file
        module@1 { compatible = "multiboot,ramdisk", "multiboot,module";
            mote,guest = "helo"; };                   // did you mean `hello`?
    };
    c {                                               // the guest has no kernel
        compatible = "xen,domain";
        memory = <0x0 0x1>;                           // less than the least possible, 64 KiB
        thing { };                                    // this is no module
    };
    b@1 {                                             // /chosen/b is called `b` too
        compatible = "xen,domain";
        memory = <0x0 0x1000>;
        module@0 { compatible = "multiboot,kernel", "multiboot,module";
            mote,file = "truncated"; };               // it is truncated
        module@1 { compatible = "multiboot,ramdisk", "multiboot,module";
            mote,file = "zipped"; mote,guest = "hello"; };  // both mote,file and mote,guest
    };
    e {
        compatible = "xen,domain";
        memory = <0x0 0x1000>;
        module@0 { compatible = "multiboot,kernel", "multiboot,module";
            mote,file = "zipped"; };                  // is compressed with gzip
        module@1 { compatible = "multiboot,ramdisk", "multiboot,module"; };  // nothing says where
    };
}; };
"#;

fn mote(directory: &Path, arguments: &[&str]) -> Output {
    setup::ensure(&[Need::Qemu, Need::Dtc]).expect("the machine is set up");
    let mut mote = Command::new(env!("CARGO_BIN_EXE_mote"));
    mote.args(arguments).current_dir(directory).output().expect("it starts")
}

fn write_files(directory: &Path) {
    fs::write(directory.join("bad.dts"), BAD).expect("written");
    fs::write(directory.join("text"), "no kernel\n".repeat(20)).expect("written");
    fs::write(directory.join("zipped"), b"\x1f\x8b\x08\0\0").expect("written");
    // An Image's header and nothing behind it.
    let mut image = vec![0; 64];
    image[56..60].copy_from_slice(b"ARM\x64");
    fs::write(directory.join("truncated"), image).expect("written");
}

#[test]
fn what_an_interface_publishes_must_be_reachable() {
    let directory = tempfile::tempdir().expect("a directory");
    for (vif, what) in [
        (r#"mote,publish = "8080:80";"#, "nothing can be published without mote,ip"),
        (r#"mote,ip = "10.0.2.20"; mote,publish = "8080";"#, "is no pair of ports"),
        (r#"mote,ip = "10.0.2.20"; mote,publish = "8080:0";"#, "is no pair of ports"),
        (r#"mote,ip = "10.0.2.20"; mote,publish = "65536:80";"#, "is no pair of ports"),
        (r#"mote,ip = "10.0.2.20"; mote,publish = "8080:80", "x:80";"#, "is no pair of ports"),
        (r#"mote,ip = "10.0.2.20"; mote,publish;"#, "is no pair of ports"),
        (r#"mote,ip = "10.0.2.10"; mote,publish = "8080:80";"#, "the control domain's"),
        (r#"mote,ip = "192.168.0.1"; mote,publish = "8080:80";"#, "does not lead to 192.168.0.1"),
        (r#"mote,ip = "10.0.2"; mote,publish = "8080:80";"#, "is no IPv4 address"),
    ] {
        refused(directory.path(), &format!("xen,enhanced; net {{ compatible = \"mote,vif\"; {vif} }};"), what);
    }
}

/// A guest `web` with these properties and nodes is refused for one reason.
fn refused(directory: &Path, properties: &str, what: &str) {
    let guest = |name: &str, more: &str| {
        let module = r#"compatible = "multiboot,kernel", "multiboot,module"; mote,guest = "hello";"#;
        format!("{name} {{ compatible = \"xen,domain\"; memory = <0x0 0x2000>; {more} module@0 {{ {module} }}; }};")
    };
    let text =
        format!("/dts-v1/; / {{ chosen {{ {} {} }}; }};", guest("web", properties), guest("driver", "mote,driver;"));
    fs::write(directory.join("bad.dts"), text).expect("written");
    let output = mote(directory, &["check", "bad.dts"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.matches("  x ").count()), (Some(2), 1), "{properties}: {said}");
    assert!(words(&said).contains(what), "{properties}: {said}");
}

#[test]
fn a_service_is_a_guest_that_can_be_cloned() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = r#"mote,ip = "10.0.2.20"; mote,service = <80>;"#;
    for (guest, vif, what) in [
        ("", "mote,service = <80>;", "a service without an address"),
        ("", r#"mote,ip = "10.0.2.20"; mote,machines = <3>;"#, "means nothing without mote,service"),
        ("", r#"mote,ip = "10.0.2.20"; mote,service = <65536>;"#, "is not one number from 1 to 65535"),
        ("", r#"mote,ip = "10.0.2.20"; mote,service;"#, "is not one number from 1 to 65535"),
        ("", &format!("{address} mote,machines = <0>;"), "mote,machines: is not one number from 1"),
        ("", &format!("{address} mote,keep = <1 2>;"), "mote,keep: is not one number from 0"),
        ("", &format!("{address} mote,clone-memory = <63>;"), "mote,clone-memory: is not one number from 64"),
        ("", &format!("{address} mote,lifes = <1>;"), "did you mean `mote,life`?"),
        ("cpus = <2>;", address, "a template has one CPU"),
        (r#"second { compatible = "mote,vif"; };"#, address, "machines have one interface"),
        ("", &format!("{address} mote,launch = \"fork\";"), "is neither \"clone\" nor \"boot\""),
        ("", &format!("{address} mote,launch = \"boot\"; mote,clone-memory = <64>;"), "is only for clones"),
        ("", &format!("{address} mote,host = \"a b\";"), "is not one host name"),
        ("", r#"mote,host = "a.b";"#, "means nothing without mote,service"),
        ("", r#"mote,ip = "10.0.2.20"; mote,launch = "boot";"#, "means nothing without mote,service"),
        (
            r#"d { compatible = "mote,vbd"; mote,vdev = "xvda"; mote,file = "null-co://"; };"#,
            address,
            "machines have no disks",
        ),
    ] {
        let vif = format!("net {{ compatible = \"mote,vif\"; {vif} }};");
        // Properties stand before nodes.
        let (properties, nodes) = if guest.contains('{') { ("", guest) } else { (guest, "") };
        refused(directory.path(), &format!("xen,enhanced; {properties} {vif} {nodes}"), what);
    }
    refused(directory.path(), "mote,ephemeral = <1>;", "mote,ephemeral: takes no value");
}

/// What a message says, without the text that it shows.
fn words(message: &str) -> String {
    let is_said = |line: &&str| line.starts_with("  x ") || line.starts_with("  help: ");
    message.lines().filter(is_said).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_mistake_is_told_with_its_line_and_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    write_files(directory.path());
    for command in ["check", "run"] {
        let output = mote(directory.path(), &[command, "bad.dts"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(output.stdout.is_empty(), "something was started");
        let mut expected = 0;
        for (number, line) in (1..).zip(BAD.lines()) {
            let Some((_, what)) = line.split_once("// ") else { continue };
            expected += 1;
            let told = said.split("\n\n").find(|message| words(message).contains(what));
            let told = told.unwrap_or_else(|| panic!("`{what}` is not told:\n{said}"));
            assert!(told.contains(&format!("bad.dts:{number}:")), "line {number}:\n{told}");
        }
        assert_eq!(said.matches(" x ").count(), expected + 1, "the unit address too, no more\n{said}");
        assert_eq!(said.matches("help: ").count(), expected + 1, "{said}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_in_one_message() {
    let directory = tempfile::tempdir().expect("a directory");
    for (text, what) in [
        ("/dts-v1/;\n/ { chosen { a { cpus = <1> }; }; };\n", "bad.dts:2:"),
        ("#!/bin/sh\n", "bad.dts:1:"),
        ("", "syntax error"),
        ("/dts-v1/;\n/ { };\n", "there is no node /chosen"),
        ("/dts-v1/;\n/ { chosen { }; };\n", "there is no guest"),
    ] {
        fs::write(directory.path().join("bad.dts"), text).expect("written");
        let output = mote(directory.path(), &["check", "bad.dts"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(what), "{text}: {said}");
    }
    let output = mote(directory.path(), &["check", "none.dts"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no such file"));
}

#[test]
fn the_configurations_that_come_along_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in ["demo", "compare", "bench", "linux"] {
        let output = mote(&root, &["check", &format!("dtb/{file}.dts")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
