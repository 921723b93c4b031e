//! TCP between a guest and this machine, on Mote and on Xen.
//!
//! The guest listens, this machine connects through QEMU's user network and tells it to send and to take bytes. The clock counts
//! instructions, and goes on with the host's while the machine waits for this one: a figure is the median of some transfers, and not the
//! same to the last digit each time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use miette::miette;

use super::{Values, dom0, read};
use crate::boot::machine::Machine;
use crate::command::measure::{self, DONE};
use crate::config::Config;
use crate::failure::{Failure, Result};
use crate::session::network::Network;
use crate::workspace;

/// The guest, and what it says when it listens.
const CONFIGURATION: &str = "dtb/bench-host.dts";
const READY: &str = "ready";

/// Transfers in each direction, and the bytes of each.
const TURNS: usize = 15;
const BYTES: u64 = 4_000_000;

/// What the guest understands: see `guests/netload/src/host.rs`.
const ECHO: u8 = 1;
const TAKE: u8 = 2;
const SEND: u8 = 3;
const FINISH: u8 = 4;

/// What is sent in either direction begins anew after so many bytes.
const PERIOD: usize = 16381;
/// How long the guest may be silent, and how long until it is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// What both take on Mote.
///
/// # Errors
///
/// The machine cannot be booted, or the guest does not do what it is told.
pub fn on_mote() -> Result<Values> {
    let title = "TCP between a guest and this machine on Mote";
    let (_, values) = measure::work(CONFIGURATION, &machine(), title, |outside| {
        let mut values = Values::new();
        let mut until = |text: &str| loop {
            let line = outside.lines.recv_timeout(PATIENCE).map_err(|_| failed(&format!("it never said `{text}`")))?;
            values.extend(read(&line.text));
            if line.text == text {
                return Ok::<_, Failure>(());
            }
        };
        until(READY)?;
        let port = outside.state.services.first().map_or(0, |service| service.host);
        exchange(port, || outside.is_over())?;
        until(DONE)?;
        Ok(values)
    })?;
    Ok(values)
}

/// What both take on Xen.
///
/// # Errors
///
/// As on Mote.
pub fn on_xen() -> Result<Values> {
    let config = Config::load(&workspace::root().join(CONFIGURATION), machine().memory)?;
    let network = Network::choose(&config)?.ok_or_else(|| failed("it has no network"))?;
    let port = network.services.first().map_or(0, |service| service.host);
    let (is_over, mut values) = (AtomicBool::new(false), Values::new());
    thread::scope(|scope| {
        let peer = scope.spawn(|| exchange(port, || is_over.load(Ordering::Relaxed)));
        let title = "TCP between a guest and this machine on Xen (a minute)";
        let ran =
            dom0::run(&[CONFIGURATION], &machine(), Some(&network), title, |line| values.extend(read(&line.text)));
        is_over.store(true, Ordering::Relaxed);
        ran?;
        peer.join().map_err(|_| failed("its peer panicked"))?
    })?;
    Ok(values)
}

/// While all wait for this machine, the clock does too.
fn machine() -> Machine {
    Machine { idles: true, ..Machine::for_measuring() }
}

fn failed(why: &str) -> Failure {
    Failure::unable(miette!("TCP between a guest and this machine cannot be measured: {why}"))
}

/// Tells the guest behind `port` to take and to send bytes, as soon as it is there and unless all `is_over` before.
fn exchange(port: u16, is_over: impl Fn() -> bool) -> Result<()> {
    let mut stream = loop {
        match greet(port) {
            Ok(stream) => break stream,
            Err(error) if is_over() => return Err(failed(&error.to_string())),
            Err(_) => thread::sleep(PAUSE),
        }
    };
    transfer(&mut stream).map_err(|error| failed(&error.to_string()))
}

fn transfer(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // Made before the guest measures: its clock would go on meanwhile.
    let (bytes, mut taken) = (bytes(), vec![0; BYTES as usize]);
    for _ in 0..TURNS {
        give(stream, &bytes)?;
        take(stream, &bytes, &mut taken)?;
    }
    stream.write_all(&[FINISH])
}

/// A connection at whose other end somebody answers. QEMU takes it before anybody is there.
fn greet(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SHORT))?;
    stream.write_all(&[ECHO])?;
    stream.read_exact(&mut [0; 1])?;
    Ok(stream)
}

fn give(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&command(TAKE))?;
    stream.write_all(bytes)?;
    stream.read_exact(&mut [0; 1])
}

fn take(stream: &mut TcpStream, bytes: &[u8], taken: &mut [u8]) -> io::Result<()> {
    stream.write_all(&command(SEND))?;
    stream.read_exact(taken)?;
    // The guest's clock stops at this; they are looked at after it.
    stream.write_all(&[ECHO])?;
    if taken != bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes came than were sent"));
    }
    Ok(())
}

fn command(what: u8) -> Vec<u8> {
    [&[what][..], &BYTES.to_le_bytes()].concat()
}

/// What is sent, as the guest makes it.
fn bytes() -> Vec<u8> {
    let byte = |place: usize| ((place % PERIOD) as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
    (0..BYTES as usize).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Does what the guest does.
    fn guest(listener: &TcpListener) -> io::Result<[usize; 2]> {
        let (mut stream, mut turns) = (listener.accept()?.0, [0; 2]);
        loop {
            let (mut command, mut number) = ([0; 1], [0; 8]);
            stream.read_exact(&mut command)?;
            match command {
                [TAKE] => {
                    stream.read_exact(&mut number)?;
                    let mut taken = vec![0; u64::from_le_bytes(number) as usize];
                    stream.read_exact(&mut taken)?;
                    assert!(taken == bytes());
                    stream.write_all(&[ECHO])?;
                    turns[0] += 1;
                }
                [SEND] => {
                    stream.read_exact(&mut number)?;
                    stream.write_all(&bytes())?;
                    stream.read_exact(&mut command)?;
                    turns[1] += 1;
                }
                [FINISH] => return Ok(turns),
                _ => stream.write_all(&[ECHO])?,
            }
        }
    }

    #[test]
    fn all_transfers_are_made_and_nobody_is_waited_for_in_vain() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let turns = thread::scope(|scope| {
            let guest = scope.spawn(|| guest(&listener));
            exchange(port, || false).expect("all transfers");
            guest.join().expect("no panic").expect("all transfers")
        });
        assert_eq!(turns, [TURNS; 2]);
        drop(listener);
        assert!(exchange(port, || true).is_err());
    }
}
