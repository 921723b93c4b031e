//! Disks: the driver domain serves them, and what a guest has put on one is there the next time.

use mote_tests::{Guest, Until, boot, machine};

/// The driver domain, and a guest with this file for a disk.
fn guests(file: &std::path::Path, properties: &str, arguments: &str) -> [Guest; 2] {
    let file = file.display();
    let disk = format!(
        "xen,enhanced; disk {{ compatible = \"mote,vbd\"; mote,vdev = \"xvda\"; mote,file = \"{file}\"; {properties} }};"
    );
    let load = Guest::unikernel("load", "diskload").properties(&disk).arguments(&format!("disk=xvda {arguments}"));
    [Guest::unikernel("driver", "driver").properties("xen,enhanced; mote,driver; direct-map;").memory(4096), load]
}

#[test]
fn what_is_written_is_there_at_the_next_boot() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("disk.img");
    std::fs::File::create(&file).and_then(|file| file.set_len(1 << 20)).expect("a file");
    let run = boot(&guests(&file, "", "kilobytes=1024"), &machine(1, 512), Until::AllEnded);
    run.assert_finished("load", "diskload: ok");
    let refused = "Err(NoSuchSectors), Err(NoSuchSectors), Err(NoSuchSectors)";
    assert!(run.lines.iter().any(|line| line.text.contains(refused)), "{run}");
    let bytes = std::fs::read(&file).expect("a file");
    let expected = |sector: u64| (sector ^ 0x5a5a_0000_0000).to_le_bytes();
    let words = bytes.chunks(8).enumerate();
    assert!({ words }.all(|(number, word)| word == expected(number as u64 / 64)), "the file has something else");

    let again = boot(&guests(&file, "read-only;", "kilobytes=1024 check"), &machine(1, 512), Until::AllEnded);
    again.assert_finished("load", "diskload: ok");
    assert!(again.lines.iter().any(|line| line.text.contains("diskload: 0 sectors are wrong")), "{again}");
}

#[test]
fn a_disk_for_reading_alone_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("disk.img");
    std::fs::write(&file, vec![7; 1 << 20]).expect("a file");
    let run = boot(&guests(&file, "read-only;", "kilobytes=64"), &machine(1, 512), Until::AllEnded);
    run.assert_finished("load", "diskload: NotSupported");
    assert!(std::fs::read(&file).expect("a file").iter().all(|byte| *byte == 7));
}
