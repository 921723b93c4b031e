//! Cutting a large TCP frame into segments, for those who do not do it themselves.

use crate::frame::Frame;
use crate::packet::{self, ETHERNET_HEADER, Layer4, TCP, bytes, folded, half, inverted, put, sum};
use crate::{Checksum, Pool};

/// The least data in a segment: what makes more work than this of one frame is refused.
const DATA_MIN: usize = 64;
/// Of TCP's flags, those that only the last segment has, and those that only the first one has (RFC 9293, 3.1).
const FIN_AND_PUSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// A frame's headers.
struct Headers {
    /// Bytes of all of them.
    len: usize,
    tcp: usize,
    identification: u16,
    sequence: u32,
    flags: u8,
}

impl Headers {
    fn find(frame: &Frame) -> Option<Self> {
        let head = frame.head();
        let layer4 = Layer4::find(head, frame.len()).filter(|layer4| layer4.protocol == TCP)?;
        let tcp = layer4.start;
        let [offset, flags] = bytes(head, tcp + 12)?;
        let len = tcp + usize::from(offset >> 4) * 4;
        let identification = half(head, ETHERNET_HEADER + 4)?;
        let sequence = u32::from_be_bytes(bytes(head, tcp + 4)?);
        (len >= tcp + 20 && len <= head.len()).then_some(Self { len, tcp, identification, sequence, flags })
    }

    /// Makes them right for segment `number`, whose data begin at `start` of the frame's.
    fn adapt(&self, segment: &mut Frame, number: usize, start: usize, last: bool) {
        let total = (segment.len() - ETHERNET_HEADER) as u16;
        let head = segment.head_mut();
        put(head, ETHERNET_HEADER + 2, total.to_be_bytes());
        put(head, ETHERNET_HEADER + 4, self.identification.wrapping_add(number as u16).to_be_bytes());
        put(head, ETHERNET_HEADER + 10, [0, 0]);
        let checksum = inverted(sum(0, head.get(ETHERNET_HEADER..self.tcp).unwrap_or_default()));
        put(head, ETHERNET_HEADER + 10, checksum);
        put(head, self.tcp + 4, self.sequence.wrapping_add(start as u32).to_be_bytes());
        let mut flags = self.flags;
        if !last {
            flags &= !FIN_AND_PUSH;
        }
        if number > 0 {
            flags &= !CWR;
        }
        put(head, self.tcp + 13, [flags]);
    }
}

/// Calls `with` with each segment of `frame`, checksums complete if `complete`. Ends early if there are no pages; TCP
/// sends the rest again.
pub(crate) fn cut(frame: Frame, complete: bool, pool: &mut Pool, mut with: impl FnMut(Frame, &mut Pool)) {
    let size = usize::from(frame.segment);
    if let Some(headers) = Headers::find(&frame).filter(|_| size >= DATA_MIN) {
        let data = frame.len() - headers.len;
        let mut reader = frame.reader(headers.len);
        for (number, start) in (0..data.max(1)).step_by(size).enumerate() {
            let len = size.min(data - start);
            let Some(mut segment) = pool.frame(headers.len + len) else { break };
            let mut writer = segment.writer();
            writer.put(frame.head().get(..headers.len).unwrap_or_default());
            writer.write(&mut reader, len);
            headers.adapt(&mut segment, number, start, start + len == data);
            if !finish(&mut segment, complete) {
                pool.give(segment);
                break;
            }
            with(segment, pool);
        }
    }
    pool.give(frame);
}

/// Completes a segment's checksum, or puts the pseudo-header's sum in its place.
fn finish(segment: &mut Frame, complete: bool) -> bool {
    if complete {
        return packet::complete(segment);
    }
    let Some(layer4) = Layer4::find(segment.head(), segment.len()) else { return false };
    let pseudo_header = folded(layer4.pseudo_header(segment.head()));
    put(segment.head_mut(), layer4.start + layer4.checksum, pseudo_header);
    segment.checksum = Checksum::Blank;
    true
}
