//! A station of smoltcp's: a network interface with one socket.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};

use super::Buffer;
use crate::flow::after;
use crate::wire::{Segment, flags};

#[derive(Default)]
pub struct Link {
    received: VecDeque<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    /// The last acknowledgement without data.
    last: Option<(u16, u32, u16)>,
}

impl Link {
    /// A frame arrives, unless it is an acknowledgement that has just been there: behind several of these smoltcp 0.14 may send its last
    /// segment as if it were one sent again, without a timer, and then hangs if that is lost. Losing these is every network's right.
    pub fn arrive(&mut self, frame: Vec<u8>) {
        let segment = Segment::of(&Buffer::new(frame.clone()));
        if let Some(segment) = segment.filter(|segment| segment.data == 0 && segment.flags == flags::ACK) {
            let known = self.last.filter(|(port, ..)| *port == segment.source_port);
            if known.is_some_and(|(_, acknowledgement, window)| {
                !after(segment.acknowledgement, acknowledgement) && (window == segment.window)
            }) {
                return;
            }
            let acknowledgement = segment.acknowledgement;
            self.last = Some((segment.source_port, acknowledgement, segment.window));
        }
        self.received.push_back(frame);
    }
}

impl Device for Link {
    type RxToken<'a> = Token<'a>;
    type TxToken<'a> = Token<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities.medium = Medium::Ethernet;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Token<'_>, Token<'_>)> {
        let frame = self.received.pop_front()?;
        let never = Token { frame: Some(frame), sent: None };
        Some((never, Token { frame: None, sent: Some(&mut self.sent) }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Token<'_>> {
        Some(Token { frame: None, sent: Some(&mut self.sent) })
    }
}

pub struct Token<'a> {
    frame: Option<Vec<u8>>,
    sent: Option<&'a mut Vec<Vec<u8>>>,
}

impl RxToken for Token<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, with: F) -> R {
        with(&self.frame.unwrap())
    }
}

impl TxToken for Token<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, with: F) -> R {
        let mut frame = vec![0; len];
        let result = with(&mut frame);
        self.sent.unwrap().push(frame);
        result
    }
}

/// A station: a network interface with one socket.
pub struct Station {
    pub link: Link,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    pub socket: SocketHandle,
}

impl Station {
    pub fn new(mac: [u8; 6], ip: [u8; 4], seed: u64, now: u64) -> Self {
        let mut link = Link::default();
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut link, Instant::from_millis(now as i64));
        let [a, b, c, d] = ip;
        interface.update_ip_addrs(|all| all.push(IpCidr::new(Ipv4Address::new(a, b, c, d).into(), 24)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        // So much that no window is ever closed: smoltcp may not ask again whether it is open.
        let buffer = || SocketBuffer::new(vec![0; 0xffff]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        let socket = sockets.add(socket);
        Self { link, interface, sockets, socket }
    }

    pub fn poll(&mut self, now: u64) {
        self.interface.poll(Instant::from_millis(now as i64), &mut self.link, &mut self.sockets);
    }

    pub fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }
}
