//! Bytes to and from the machine outside, which connects to this guest and tells it what to do.

use alloc::vec;
use alloc::vec::Vec;

use mote_unikernel::net::tcp::Error;
use mote_unikernel::net::{Listener, Network, Stream};
use mote_unikernel::println;
use mote_unikernel::time::Instant;

use crate::{BUFFERS, FRAME, PORT, Pattern};

/// What this guest is told by one byte: to answer by the same; to take as many bytes as the next eight say; to send as many; that all is done.
const ECHO: u8 = 1;
const TAKE: u8 = 2;
const SEND: u8 = 3;
const DONE: u8 = 4;
/// Connections that wait: whoever came too early has left one behind.
const BACKLOG: usize = 4;

/// Nanoseconds for a frame, of each transfer.
#[derive(Default)]
struct Times {
    taken: Vec<u64>,
    sent: Vec<u64>,
}

/// Does what it is told until all is done, and says how long it took.
pub async fn serve(network: &Network) {
    let Ok(listener) = Listener::bind(network.stack(), PORT, BUFFERS, BACKLOG) else { return };
    println!("ready");
    let (pattern, mut times) = (Pattern::new(), Times::default());
    // Who goes before all is done was too early, and comes again.
    while !obey(&mut listener.accept().await, &pattern, &mut times).await.unwrap_or(false) {}
    for (key, mut times) in [("host_receive_frame", times.taken), ("host_send_frame", times.sent)] {
        times.sort_unstable();
        println!("netload: {key} {times:?}");
        println!("bench: {key} {}", times.get(times.len() / 2).copied().unwrap_or(0));
    }
    println!("bench: done");
}

/// Whether all is done.
async fn obey(stream: &mut Stream<'_>, pattern: &Pattern, times: &mut Times) -> Result<bool, Error> {
    let mut command = [0; 1];
    while stream.receive(&mut command).await? > 0 {
        match command {
            [TAKE] => {
                let bytes = number(stream).await?;
                times.taken.push(take(stream, pattern, bytes).await?);
            }
            [SEND] => {
                let bytes = number(stream).await?;
                times.sent.push(send(stream, pattern, bytes).await?);
            }
            [DONE] => return Ok(true),
            _ => all(stream, &[ECHO]).await?,
        }
    }
    Ok(false)
}

async fn number(stream: &mut Stream<'_>) -> Result<u64, Error> {
    let mut number = [0; 8];
    for byte in &mut number {
        stream.receive(core::slice::from_mut(byte)).await?;
    }
    Ok(u64::from_le_bytes(number))
}

/// Takes so many bytes, and says so when it has all.
async fn take(stream: &mut Stream<'_>, pattern: &Pattern, bytes: u64) -> Result<u64, Error> {
    let (mut buffer, mut taken) = (vec![0; Pattern::PERIOD], 0);
    let began = Instant::now();
    while taken < bytes {
        let length = stream.receive(&mut buffer).await?;
        let expected = pattern.after(taken, length as u64);
        assert!(length > 0 && buffer.get(..length) == Some(expected), "wrong from byte {taken} on");
        taken += length as u64;
    }
    let time = per_frame(began, bytes);
    all(stream, &[ECHO]).await?;
    Ok(time)
}

/// Sends so many bytes, and waits until the other side has all.
async fn send(stream: &mut Stream<'_>, pattern: &Pattern, bytes: u64) -> Result<u64, Error> {
    let (began, mut sent) = (Instant::now(), 0);
    while sent < bytes {
        sent += stream.send(pattern.after(sent, bytes - sent)).await? as u64;
    }
    stream.receive(&mut [0; 1]).await?;
    Ok(per_frame(began, bytes))
}

async fn all(stream: &mut Stream<'_>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        let sent = stream.send(bytes).await?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

fn per_frame(began: Instant, bytes: u64) -> u64 {
    (began.elapsed().as_nanos() * FRAME / u128::from(bytes.max(1))) as u64
}
