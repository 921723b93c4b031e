//! Two hosts on one wire, on which time passes when both wait.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::net::Ipv4Addr;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, Ipv4Cidr, checksum};

use crate::tcp::{Buffers, Error, Listener, Stream};
use crate::{Address, Configuration, Fixed, Stack, dns, offload, udp};

const BUFFERS: Buffers = Buffers { receive: 2048, send: 4096 };
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 20);

type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a wire, which loses every so-manieth frame.
struct Wire {
    incoming: Frames,
    outgoing: Frames,
    loses_every: usize,
    /// Leaves checksums to the other end.
    offloads: bool,
    sent: Rc<Cell<usize>>,
}

struct Received(Vec<u8>);
struct Sender<'a>(&'a Wire);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl phy::TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        self.0.sent.set(self.0.sent.get() + 1);
        if self.0.offloads && offload::leave_checksum(&mut frame) {
            assert!(!offload::is_intact(&frame), "the pseudo-header's sum is not the packet's");
            complete(&mut frame);
            assert!(offload::is_intact(&frame));
            frame[50] ^= 1;
            assert!(!offload::is_intact(&frame));
            frame[50] ^= 1;
        }
        if !self.0.sent.get().is_multiple_of(self.0.loses_every) {
            self.0.outgoing.borrow_mut().push_back(frame);
        }
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sender<'_>)> {
        let frame = self.incoming.borrow_mut().pop_front()?;
        Some((Received(frame), Sender(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        Some(Sender(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities.medium = Medium::Ethernet;
        if self.offloads {
            capabilities.checksum.tcp = Checksum::None;
            capabilities.checksum.udp = Checksum::None;
        }
        capabilities
    }
}

/// Does what the other end of a device does: sums TCP's or UDP's bytes, the pseudo-header's sum in place of the checksum.
fn complete(frame: &mut [u8]) {
    let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let place = if frame[23] == 6 { 34 + 16 } else { 34 + 6 };
    let sum = !checksum::data(&frame[34..14 + length]);
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

fn fixed(address: Ipv4Addr) -> Address {
    let address = Ipv4Cidr::new(address, 24);
    Address::Fixed(Fixed { address, gateway: Some(SERVER), name_server: Some(SERVER) })
}

fn pair(loses_every: usize, client: Address) -> [Stack<Wire>; 2] {
    let (there, back) = (Frames::default(), Frames::default());
    let wire = |incoming: &Frames, outgoing: &Frames| Wire {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        loses_every,
        offloads: false,
        sent: Rc::default(),
    };
    let server = Configuration { mac: [2, 0, 0, 0, 0, 1], seed: 1, address: fixed(SERVER) };
    let client = Configuration { mac: [2, 0, 0, 0, 0, 2], seed: 2, address: client };
    [Stack::new(wire(&there, &back), &server, Instant::ZERO), Stack::new(wire(&back, &there), &client, Instant::ZERO)]
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs `tasks` until the first has ended, and returns how long that took.
fn run(stacks: &[Stack<Wire>; 2], mut tasks: Vec<Task<'_>>) -> Duration {
    let mut now = Instant::ZERO;
    for _ in 0..200_000 {
        let mut context = Context::from_waker(Waker::noop());
        if tasks[0].as_mut().poll(&mut context).is_ready() {
            return now - Instant::ZERO;
        }
        for task in &mut tasks[1..] {
            assert!(task.as_mut().poll(&mut context).is_pending(), "only the first may end");
        }
        let next = stacks.iter().filter_map(|stack| stack.poll(now)).min();
        let waiting = stacks.iter().all(|stack| stack.device(|wire| wire.incoming.borrow().is_empty()));
        if waiting {
            now = next.unwrap_or(now + Duration::from_secs(1)).max(now + Duration::from_millis(1));
        }
    }
    panic!("it never ends");
}

async fn forever() {
    core::future::pending().await
}

fn listen(stack: &Stack<Wire>) -> Listener<'_, Wire> {
    Listener::bind(stack, 7, BUFFERS, 4).expect("a free port")
}

/// Sends back what comes, on one connection after the other.
async fn echo(listener: &Listener<'_, Wire>) {
    loop {
        let mut stream = listener.accept().await;
        let mut buffer = [0; 700];
        while let Ok(length @ 1..) = stream.receive(&mut buffer).await {
            send_all(&mut stream, &buffer[..length]).await;
        }
        stream.close();
    }
}

async fn send_all(stream: &mut Stream<'_, Wire>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let sent = stream.send(bytes).await.expect("a connection");
        bytes = &bytes[sent..];
    }
}

/// Sends `length` bytes and has them back.
async fn transfer(stack: &Stack<Wire>, port: u16, length: usize) {
    let mut stream = Stream::connect(stack, SERVER, port, BUFFERS).await.expect("a connection");
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 900];
    while received < length {
        let piece: Vec<u8> = (sent..length.min(sent + 500)).map(|byte| byte as u8).collect();
        send_all(&mut stream, &piece).await;
        sent += piece.len();
        let got = stream.receive(&mut buffer).await.expect("an echo");
        for byte in &buffer[..got] {
            assert_eq!(*byte, received as u8);
            received += 1;
        }
    }
    stream.close();
}

#[test]
fn bytes_come_back_as_they_were_sent() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    run(&stacks, vec![Box::pin(transfer(&stacks[1], 7, 100_000)), Box::pin(echo(&listener))]);
}

#[test]
fn a_wire_that_loses_frames_loses_no_bytes() {
    let stacks = pair(7, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    run(&stacks, vec![Box::pin(transfer(&stacks[1], 7, 20_000)), Box::pin(echo(&listener))]);
}

#[test]
fn connections_live_side_by_side_and_one_after_the_other() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    let done = Cell::new(0);
    let client = async || {
        for _ in 0..20 {
            transfer(&stacks[1], 7, 2000).await;
        }
        done.set(done.get() + 1);
        forever().await;
    };
    let mut tasks: Vec<Task<'_>> =
        vec![Box::pin(poll_fn(|_| if done.get() == 3 { Poll::Ready(()) } else { Poll::Pending }))];
    for _ in 0..3 {
        tasks.push(Box::pin(client()));
        tasks.push(Box::pin(echo(&listener)));
    }
    let took = run(&stacks, tasks);
    assert!(took < Duration::from_secs(2), "nobody had to wait, yet it took {took}");
}

#[test]
fn many_may_come_at_once_and_no_more_than_the_backlog_stay() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let listener = Listener::bind(&stacks[0], 7, BUFFERS, 20).expect("a free port");
    let (come, refused) = (Cell::new(0), Cell::new(0));
    let client = async || {
        match Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await {
            Ok(stream) => {
                come.set(come.get() + 1);
                core::mem::forget(stream);
            }
            Err(_) => refused.set(refused.get() + 1),
        }
        forever().await;
    };
    let mut tasks: Vec<Task<'_>> =
        vec![Box::pin(poll_fn(|_| if come.get() + refused.get() == 30 { Poll::Ready(()) } else { Poll::Pending }))];
    tasks.extend((0..30).map(|_| Box::pin(client()) as Task<'_>));
    run(&stacks, tasks);
    assert_eq!((come.get(), refused.get()), (20, 10));
    run(
        &stacks,
        vec![Box::pin(async {
            for _ in 0..20 {
                listener.accept().await.close();
            }
        })],
    );
    let left = stacks[0].with(|inner| inner.sockets.iter().count());
    assert!(left <= 16 + 2, "{left} sockets are left");
}

#[test]
fn nobody_there_is_a_refusal() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    run(
        &stacks,
        vec![Box::pin(async {
            let refused = Stream::connect(&stacks[1], SERVER, 9, BUFFERS).await;
            assert_eq!(refused.err(), Some(Error::Reset));
        })],
    );
}

#[test]
fn a_network_without_a_way_is_said_at_once() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    run(
        &stacks,
        vec![Box::pin(async {
            let refused = Stream::connect(&stacks[1], Ipv4Addr::UNSPECIFIED, 9, BUFFERS).await;
            assert_eq!(refused.err(), Some(Error::Unreachable));
        })],
    );
}

#[test]
fn a_dropped_stream_resets_the_other_end() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    run(
        &stacks,
        vec![
            Box::pin(async {
                let stream = Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await.expect("a connection");
                assert_eq!(stream.receive(&mut [0; 10]).await, Err(Error::Reset));
            }),
            Box::pin(async {
                drop(listen(&stacks[0]).accept().await);
                forever().await;
            }),
        ],
    );
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let took = run(
        &stacks,
        vec![
            Box::pin(async {
                let stream = listen(&stacks[0]).accept().await;
                stacks[1].device(|wire| wire.loses_every = 1);
                assert!(stream.send(b"hello").await.is_ok());
                assert_eq!(stream.receive(&mut [0; 10]).await, Err(Error::Reset));
            }),
            Box::pin(async {
                let _stream = Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await;
                forever().await;
            }),
        ],
    );
    assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(100), "{took}");
}

#[test]
fn connections_that_never_finish_do_not_pile_up() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    run(
        &stacks,
        vec![
            Box::pin(async {
                for _ in 0..100 {
                    // Says nothing more, whatever the other end does.
                    let stream = Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await.expect("a connection");
                    core::mem::forget(stream);
                }
            }),
            Box::pin(async {
                loop {
                    listener.accept().await.close();
                }
            }),
        ],
    );
    let sockets = stacks[0].with(|inner| inner.sockets.iter().count());
    assert!(sockets <= 16 + 4, "{sockets} sockets are left");
}

#[test]
fn a_link_that_changes_keeps_connections_and_addresses() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    run(
        &stacks,
        vec![
            Box::pin(async {
                let mut stream = Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await.expect("a connection");
                for stack in &stacks {
                    stack.relink(Instant::ZERO);
                }
                send_all(&mut stream, b"still there?").await;
                let mut buffer = [0; 20];
                assert_eq!(stream.receive(&mut buffer).await, Ok(12));
            }),
            Box::pin(echo(&listener)),
        ],
    );
    assert_eq!(stacks[1].address(), Some(Ipv4Cidr::new(CLIENT, 24)));
}

#[test]
fn initial_sequence_numbers_differ_with_the_seed() {
    let first_syn = |seed| {
        let (there, back) = (Frames::default(), Frames::default());
        let wire = Wire {
            incoming: back,
            outgoing: there.clone(),
            loses_every: usize::MAX,
            offloads: false,
            sent: Rc::default(),
        };
        let configuration = Configuration { mac: [2, 0, 0, 0, 0, 2], seed, address: fixed(CLIENT) };
        let stack = Stack::new(wire, &configuration, Instant::ZERO);
        let mut connecting = Box::pin(Stream::connect(&stack, CLIENT, 7, BUFFERS));
        assert!(connecting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        stack.with(|inner| inner.random.next())
    };
    assert_ne!(first_syn(1), first_syn(2));
}

#[test]
fn datagrams_and_names() {
    let stacks = pair(usize::MAX, fixed(CLIENT));
    run(
        &stacks,
        vec![
            Box::pin(async {
                let mut socket = udp::Socket::bind(&stacks[1], 0, 4096);
                socket.send(b"ping", SERVER, 9).await.expect("room");
                let mut buffer = [0; 100];
                let (length, from, port) = socket.receive(&mut buffer).await.expect("an answer");
                assert_eq!((&buffer[..length], from, port), (&b"pong"[..], SERVER, 9));
                assert_eq!(socket.send(&[0; 5000], SERVER, 9).await, Err(udp::Error::TooLong));
                assert_eq!(dns::resolve(&stacks[1], "mote.test").await, Ok(Ipv4Addr::new(1, 2, 3, 4)));
                assert_eq!(dns::resolve(&stacks[1], "other.test").await, Err(dns::Error::Unknown));
                assert_eq!(dns::resolve(&stacks[1], "..").await, Err(dns::Error::NoName));
            }),
            Box::pin(async {
                let mut socket = udp::Socket::bind(&stacks[0], 9, 4096);
                let (_, from, port) = socket.receive(&mut [0; 10]).await.expect("a question");
                socket.send(b"pong", from, port).await.expect("room");
                forever().await;
            }),
            Box::pin(name_server(&stacks[0])),
        ],
    );
}

/// Knows one name.
async fn name_server(stack: &Stack<Wire>) {
    let mut socket = udp::Socket::bind(stack, 53, 4096);
    let mut buffer = [0; 512];
    loop {
        let (length, from, port) = socket.receive(&mut buffer).await.expect("a question");
        let mut answer = buffer[..length].to_vec();
        answer[2] |= 0x80;
        if answer.windows(4).any(|name| name == b"mote") {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        } else {
            answer[3] |= 3;
        }
        socket.send(&answer, from, port).await.expect("room");
    }
}

#[test]
fn an_address_comes_by_dhcp() {
    let stacks = pair(usize::MAX, Address::Dhcp);
    let listener = listen(&stacks[0]);
    run(
        &stacks,
        vec![
            Box::pin(async {
                assert_eq!(stacks[1].address(), None);
                assert_eq!(stacks[1].configured().await, Ipv4Cidr::new(CLIENT, 24));
                transfer(&stacks[1], 7, 100).await;
            }),
            Box::pin(dhcp_server(&stacks[0])),
            Box::pin(echo(&listener)),
        ],
    );
}

async fn dhcp_server(stack: &Stack<Wire>) {
    let mut socket = udp::Socket::bind(stack, 67, 4096);
    let mut buffer = [0; 1024];
    loop {
        let (length, ..) = socket.receive(&mut buffer).await.expect("a question");
        let packet = DhcpPacket::new_checked(&buffer[..length]).expect("a packet");
        let question = DhcpRepr::parse(&packet).expect("a question");
        let kind = match question.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            _ => DhcpMessageType::Ack,
        };
        let answer = DhcpRepr {
            message_type: kind,
            your_ip: CLIENT,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(SERVER),
            lease_duration: Some(3600),
            parameter_request_list: None,
            requested_ip: None,
            client_identifier: None,
            max_size: None,
            broadcast: true,
            ..question
        };
        let mut bytes = vec![0; answer.buffer_len()];
        answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).expect("room");
        socket.send(&bytes, Ipv4Addr::BROADCAST, 68).await.expect("room");
    }
}

#[test]
fn an_address_is_read_as_it_is_written() {
    let fixed = Fixed::read("10.0.2.20/24", Some("10.0.2.2"), None).expect("an address");
    assert_eq!(fixed, Fixed { address: Ipv4Cidr::new(CLIENT, 24), gateway: Some(SERVER), name_server: None });
    for wrong in ["", "10.0.2.20", "10.0.2.20/33", "10.0.2/24", "a/b", "10.0.2.20/-1"] {
        assert_eq!(Fixed::read(wrong, None, None), None, "{wrong}");
    }
    assert_eq!(Fixed::read("10.0.2.20/24", Some("gateway"), None), None);
}

#[test]
fn a_page_is_served_over_tcp() {
    let stacks = pair(11, fixed(CLIENT));
    let listener = listen(&stacks[0]);
    run(
        &stacks,
        vec![
            Box::pin(async {
                let mut stream = Stream::connect(&stacks[1], SERVER, 7, BUFFERS).await.expect("a connection");
                for _ in 0..3 {
                    send_all(&mut stream, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n").await;
                    let mut answer = Vec::new();
                    let mut buffer = [0; 3000];
                    while answer.len() < 20_000 {
                        let got = stream.receive(&mut buffer).await.expect("a connection");
                        answer.extend_from_slice(&buffer[..got]);
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
                    assert!(answer.ends_with(&[b'x'; 19_000]) && answer.len() < 20_100, "{}", answer.len());
                }
            }),
            Box::pin(async {
                loop {
                    let mut stream = listener.accept().await;
                    mote_webserver::serve(&mut stream, &Page, &Never, &mote_webserver::Limits::default()).await;
                    stream.close();
                }
            }),
        ],
    );
}

struct Page;

impl mote_webserver::Handler for Page {
    async fn handle(&self, _: mote_webserver::Request<'_>) -> mote_webserver::Response {
        mote_webserver::Response::new(200, "text/plain", mote_webserver::Body::Static(&[b'x'; 20_000]))
    }
}

struct Never;

impl mote_webserver::Clock for Never {
    async fn sleep(&self, _: core::time::Duration) {
        forever().await;
    }
}

#[test]
fn checksums_may_be_left_to_the_device() {
    let mut stacks = pair(usize::MAX, fixed(CLIENT));
    for stack in &mut stacks {
        stack.device(|wire| wire.offloads = true);
        stack.relink(Instant::ZERO);
    }
    let listener = listen(&stacks[0]);
    run(
        &stacks,
        vec![
            Box::pin(async {
                transfer(&stacks[1], 7, 5000).await;
                assert_eq!(dns::resolve(&stacks[1], "mote.test").await, Ok(Ipv4Addr::new(1, 2, 3, 4)));
            }),
            Box::pin(echo(&listener)),
            Box::pin(name_server(&stacks[0])),
        ],
    );
}

#[test]
fn no_frame_is_too_odd_for_the_checksums() {
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for length in 0..200 {
        for _ in 0..50 {
            let mut frame: Vec<u8> = (0..length).map(|_| random()).collect();
            for (offset, byte) in
                [(12, 8), (13, 0), (14, 0x45), (16, 0), (17, length as u8), (23, 6 + 11 * (random() % 2))]
            {
                if let Some(place) = frame.get_mut(offset) {
                    *place = byte;
                }
            }
            let _ = offload::is_intact(&frame);
            offload::leave_checksum(&mut frame);
        }
    }
}
