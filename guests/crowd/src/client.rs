//! One client: a connection to the service, from its SYN to both FINs.

use mote_unikernel::net::smoltcp::wire::TcpControl;
use mote_unikernel::time::Instant;

use crate::wire::Segment;

/// The request, in two parts: with the first alone nobody can answer.
const FIRST: &[u8] = b"GET /api/info HTT";
const SECOND: &[u8] = b"P/1.1\r\nHost: dust\r\nConnection: close\r\n\r\n";
/// What the answer says of who answers.
const DOMAIN: &[u8] = b"\"domain\":";

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not begun.
    Out,
    /// It has sent a SYN.
    Calling,
    /// It has sent the first part of its request.
    Asking,
    /// Its machine has that, and waits for the rest.
    In,
    /// It has sent the rest.
    Listening,
    /// Its machine has answered and is about to vanish.
    Answered,
    /// It was reset.
    Refused,
}

/// A client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub stage: Stage,
    port: u16,
    /// The next number of its own, and the next that it waits for.
    sent: u32,
    received: u32,
    /// When it began its stage, and when it said something last.
    pub began: Instant,
    spoke: Instant,
    /// Who answered.
    pub domain: u16,
    /// Ticks from the SYN until its machine had the first part, and from the second part to the answer's end.
    pub took: [u64; 2],
}

/// What a client says: a segment and its data.
pub type Words = (Segment, &'static [u8]);

impl Client {
    pub fn new(port: u16) -> Self {
        let never = Instant::at(0);
        let sent = u32::from(port).wrapping_mul(0x9e37_79b1);
        Self { stage: Stage::Out, port, sent, received: 0, began: never, spoke: never, domain: 0, took: [0; 2] }
    }

    /// Goes on to the next stage that begins by itself.
    pub fn begin(&mut self, now: Instant) -> Words {
        (self.began, self.stage) = match self.stage {
            Stage::In => (now, Stage::Listening),
            _ => (now, Stage::Calling),
        };
        self.repeat(now)
    }

    /// Says once more what was not answered, if it has waited for that since `before`.
    pub fn again(&mut self, before: Instant, now: Instant) -> Option<Words> {
        let waits = matches!(self.stage, Stage::Calling | Stage::Asking | Stage::Listening);
        (waits && self.spoke < before).then(|| self.repeat(now))
    }

    fn repeat(&mut self, now: Instant) -> Words {
        self.spoke = now;
        match self.stage {
            Stage::Calling => (self.segment(self.sent, TcpControl::Syn), &[]),
            Stage::Asking => (self.segment(self.sent, TcpControl::None), FIRST),
            Stage::Listening => (self.segment(self.sent, TcpControl::None), SECOND),
            _ => (self.segment(self.sent, TcpControl::None), &[]),
        }
    }

    const fn segment(&self, sequence: u32, control: TcpControl) -> Segment {
        Segment { port: self.port, control, sequence, acknowledgement: self.received }
    }

    /// Takes a segment; what it says to that.
    pub fn hear(&mut self, segment: &Segment, data: &[u8], now: Instant) -> Option<Words> {
        if segment.control == TcpControl::Rst {
            self.stage = Stage::Refused;
            return None;
        }
        match self.stage {
            Stage::Calling
                if segment.control == TcpControl::Syn && segment.acknowledgement == self.sent.wrapping_add(1) =>
            {
                self.stage = Stage::Asking;
                (self.sent, self.received) = (segment.acknowledgement, segment.sequence.wrapping_add(1));
                Some(self.repeat(now))
            }
            Stage::Asking if segment.acknowledgement == self.sent.wrapping_add(FIRST.len() as u32) => {
                self.stage = Stage::In;
                self.sent = segment.acknowledgement;
                self.took[0] = now.ticks() - self.began.ticks();
                None
            }
            Stage::Listening => self.listen(segment, data, now),
            // It was not heard.
            Stage::Answered if segment.control == TcpControl::Fin => {
                Some((self.segment(self.sent, TcpControl::None), &[]))
            }
            _ => None,
        }
    }

    fn listen(&mut self, segment: &Segment, data: &[u8], now: Instant) -> Option<Words> {
        if segment.sequence != self.received {
            return (!data.is_empty()).then(|| (self.segment(self.sent, TcpControl::None), &[][..]));
        }
        self.received = self.received.wrapping_add(data.len() as u32);
        if let Some(domain) = domain(data) {
            self.domain = domain;
        }
        if segment.control == TcpControl::Fin {
            self.received = self.received.wrapping_add(1);
            self.stage = Stage::Answered;
            self.took[1] = now.ticks() - self.began.ticks();
            self.sent = self.sent.wrapping_add(SECOND.len() as u32 + 1);
            return Some((self.segment(self.sent.wrapping_sub(1), TcpControl::Fin), &[]));
        }
        let sent = self.sent.wrapping_add(SECOND.len() as u32);
        (!data.is_empty()).then(|| (self.segment(sent, TcpControl::None), &[][..]))
    }
}

/// Who answers.
fn domain(answer: &[u8]) -> Option<u16> {
    let at = answer.windows(DOMAIN.len()).position(|window| window == DOMAIN)? + DOMAIN.len();
    let digits = answer.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0_u16, |number, digit| number.wrapping_mul(10).wrapping_add(u16::from(digit - b'0'))))
}
