//! Tries and measures a disk: writes numbered sectors, reads them again, in a row and here and there, and says how long each takes.
//!
//! Arguments: `disk=xvda kilobytes=1024`. With `check` nothing is written: what an earlier run wrote is looked at.
//! With `times=10` something else is written so many times, put on the medium and read again.
//! With `measure` nothing is looked at: the disk may be one that keeps nothing.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use mote_protocols::blkif::{SECTOR, device_number};
use mote_unikernel::block::{Disk, Error};
use mote_unikernel::executor::{self, Executor};
use mote_unikernel::time::Instant;
use mote_unikernel::xen::store::Store;
use mote_unikernel::{Machine, power, println};

mote_unikernel::entry!(main);

/// Bytes that are asked for at once in a row, and here and there.
const LARGE: usize = 65536;
const SMALL: usize = 4096;
/// How often here and there.
const TIMES: usize = 256;
/// How long a domain is there after its last figure.
const PAUSE: Duration = Duration::from_millis(100);

fn main(machine: Machine) {
    let mut executor = Executor::new();
    let spawner = executor.spawner();
    executor.spawn(async move {
        let number = machine.argument("disk").and_then(device_number).expect("disk=xvda");
        let store = Store::connect().await.expect("a xenstore");
        let disk = Disk::open(&spawner, &store, number);
        let bytes = machine.number("kilobytes").unwrap_or(1024) as usize * 1024;
        let is_told = |what| machine.arguments().split(' ').any(|word| word == what);
        let done = match machine.number("times") {
            Some(times) => repeat(&disk, bytes, times as usize).await,
            None if is_told("measure") => measure(&disk, bytes).await,
            None if is_told("check") => check(&disk, bytes).await,
            None => load(&disk, bytes).await,
        };
        match done {
            Ok(()) => println!("diskload: ok"),
            Err(error) => println!("diskload: {error:?}"),
        }
        power::shutdown();
    });
    executor.run();
}

async fn load(disk: &Disk, bytes: usize) -> Result<(), Error> {
    let began = Instant::now();
    let geometry = disk.ready().await;
    println!("diskload: connected after {} us: {geometry:?}", began.elapsed().as_micros());
    let mut buffer = vec![0; LARGE];
    let began = Instant::now();
    for place in (0..bytes).step_by(LARGE) {
        fill(&mut buffer, place / SECTOR);
        disk.write((place / SECTOR) as u64, &buffer).await?;
    }
    say("writing in a row", began, bytes / LARGE, LARGE);
    let began = Instant::now();
    disk.flush().await?;
    say("flushing", began, 1, 0);
    check(disk, bytes).await?;
    let began = Instant::now();
    for place in here_and_there(bytes) {
        disk.read(place as u64, &mut buffer[..SMALL]).await?;
    }
    say("reading here and there", began, TIMES, SMALL);
    let began = Instant::now();
    for place in here_and_there(bytes) {
        fill(&mut buffer[..SMALL], place);
        disk.write(place as u64, &buffer[..SMALL]).await?;
    }
    say("writing here and there", began, TIMES, SMALL);
    refused(disk, geometry.sectors).await;
    disk.flush().await
}

/// How long requests take, of which there is one at a time.
async fn measure(disk: &Disk, bytes: usize) -> Result<(), Error> {
    let mut buffer = vec![0x5a; LARGE];
    let in_a_row = || (0..bytes).step_by(LARGE).map(|place| (place / SECTOR) as u64);
    // The first requests find everything cold.
    for sector in in_a_row() {
        disk.read(sector, &mut buffer).await?;
    }
    let mut took = Took::default();
    for sector in in_a_row() {
        let began = Instant::now();
        disk.read(sector, &mut buffer).await?;
        took.note(began);
    }
    took.say("disk_read_64k");
    for sector in in_a_row() {
        let began = Instant::now();
        disk.write(sector, &buffer).await?;
        took.note(began);
    }
    took.say("disk_write_64k");
    for sector in here_and_there(bytes) {
        let began = Instant::now();
        disk.read(sector as u64, &mut buffer[..SMALL]).await?;
        took.note(began);
    }
    took.say("disk_read_4k");
    for sector in here_and_there(bytes) {
        let began = Instant::now();
        disk.write(sector as u64, &buffer[..SMALL]).await?;
        took.note(began);
    }
    took.say("disk_write_4k");
    println!("bench: done");
    // Xen's console daemon may lose the words of a domain that ends at once.
    executor::sleep(PAUSE).await;
    Ok(())
}

/// How long each request took, in nanoseconds. The median counts: where the machine is emulated, a disk sometimes answers only after the
/// clock has skipped to the next timer.
#[derive(Default)]
struct Took(Vec<u64>);

impl Took {
    fn note(&mut self, began: Instant) {
        self.0.push(began.elapsed().as_nanos() as u64);
    }

    fn say(&mut self, key: &str) {
        self.0.sort_unstable();
        println!("bench: {key} {}", self.0.get(self.0.len() / 2).copied().unwrap_or_default());
        self.0.clear();
    }
}

/// Sectors, far from each other.
fn here_and_there(bytes: usize) -> impl Iterator<Item = usize> {
    (1..=TIMES).map(move |number| number.wrapping_mul(0x9e37_79b1) % (bytes / SMALL) * (SMALL / SECTOR))
}

async fn check(disk: &Disk, bytes: usize) -> Result<(), Error> {
    let mut buffer = vec![0; LARGE];
    disk.ready().await;
    let began = Instant::now();
    for place in (0..bytes).step_by(LARGE) {
        disk.read((place / SECTOR) as u64, &mut buffer).await?;
    }
    say("reading in a row", began, bytes / LARGE, LARGE);
    let mut errors = 0;
    for place in (0..bytes).step_by(LARGE) {
        disk.read((place / SECTOR) as u64, &mut buffer).await?;
        errors += wrong(&buffer, place / SECTOR);
    }
    println!("diskload: {errors} sectors are wrong");
    Ok(())
}

/// Writes what was not written before and reads it again, many times.
async fn repeat(disk: &Disk, bytes: usize, times: usize) -> Result<(), Error> {
    let mut buffer = vec![0; LARGE];
    for time in 1..=times {
        // Sectors that say other numbers each time.
        let number = |place: usize| place / SECTOR + (time << 32);
        for place in (0..bytes).step_by(LARGE) {
            fill(&mut buffer, number(place));
            disk.write((place / SECTOR) as u64, &buffer).await?;
        }
        disk.flush().await?;
        let mut errors = 0;
        for place in (0..bytes).step_by(LARGE) {
            disk.read((place / SECTOR) as u64, &mut buffer).await?;
            errors += wrong(&buffer, number(place));
        }
        println!("diskload: {errors} sectors are wrong the {time}. time");
    }
    Ok(())
}

/// Asks for what no disk has.
async fn refused(disk: &Disk, sectors: u64) {
    let mut sector = [0; SECTOR];
    let past = disk.read(sectors, &mut sector).await;
    let part = disk.write(0, &sector[..100]).await;
    let far = disk.discard(u64::MAX, 1).await;
    println!("diskload: refused are {past:?}, {part:?}, {far:?}");
}

/// Each sector says its own number, all over.
fn fill(buffer: &mut [u8], first: usize) {
    for (number, sector) in buffer.chunks_mut(SECTOR).enumerate() {
        sector.chunks_mut(8).for_each(|word| word.copy_from_slice(&content(first + number)));
    }
}

fn wrong(buffer: &[u8], first: usize) -> usize {
    let is_wrong = |(number, sector): &(usize, &[u8])| sector.chunks(8).any(|word| word != content(first + number));
    buffer.chunks(SECTOR).enumerate().filter(is_wrong).count()
}

const fn content(sector: usize) -> [u8; 8] {
    (sector as u64 ^ 0x5a5a_0000_0000).to_le_bytes()
}

fn say(what: &str, began: Instant, times: usize, bytes: usize) {
    let each = began.elapsed().as_nanos() / times.max(1) as u128;
    println!("diskload: {what}: {times} times {bytes} bytes, {each} ns each");
}
