//! The frontend against a model backend, honest and hostile.

use std::rc::Rc;
use std::sync::atomic::AtomicU32;

use mote_protocols::blkif::{Discard, Request, Response, operation, status};
use mote_protocols::ring::{Back, Broken, Shared};
use proptest::prelude::*;

use crate::{Ended, Front, Span, Token, spans};

#[derive(Clone)]
struct Page(Rc<[AtomicU32; 1024]>);

impl Page {
    fn new() -> Self {
        Self(Rc::new([const { AtomicU32::new(0) }; 1024]))
    }
}

impl Shared for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.0[offset / 4]
    }
}

type Backend = Back<Page, Request, Response>;

fn connected(pages: u16) -> (Front<Page>, Backend) {
    let mut front = Front::new(pages);
    let page = Page::new();
    front.connect(page.clone(), (0..pages).map(|page| 1000 + u32::from(page)).collect());
    (front, Back::new(page))
}

fn write(front: &mut Front<Page>, sector: u64, len: usize) -> Option<Token> {
    let pages = front.reserve(len)?;
    front.transfer(true, sector, len, pages)
}

fn answer(back: &mut Backend, request: &Request, status: i16) {
    back.push(&Response { id: request.id, operation: request.operation, status, ..Response::default() });
    back.publish();
}

#[test]
fn a_transfer_is_cut_into_requests_that_fit() {
    let cut: Vec<Span> = spans(100, 100 * 512, 64).collect();
    assert_eq!(cut, [Span { sector: 100, bytes: 0..45056 }, Span { sector: 188, bytes: 45056..51200 }]);
    assert_eq!(cut.iter().map(Span::pages).collect::<Vec<_>>(), [11, 2]);
    assert_eq!(spans(0, 8192, 1).count(), 2);
    assert_eq!(spans(0, 0, 8).count(), 0);
}

#[test]
fn what_is_asked_is_in_the_ring_as_the_protocol_has_it() {
    let (mut front, mut back) = connected(4);
    let token = write(&mut front, 8, 4096 + 1024).expect("room");
    assert!(front.publish());
    let request = back.next().unwrap().unwrap();
    assert_eq!((request.operation, request.nr_segments, request.sector_number), (operation::WRITE, 2, 8));
    assert_eq!(
        request.seg[..2].iter().map(|segment| (segment.first_sect, segment.last_sect)).collect::<Vec<_>>(),
        [(0, 7), (0, 1)]
    );
    assert!(request.seg[0].gref >= 1000 && request.seg[0].gref != request.seg[1].gref);
    let token = front.take(token).expect_err("it has not ended");
    answer(&mut back, &request, status::OKAY);
    assert_eq!(front.collect(), Ok(true));
    let (ended, pages) = front.take(token).expect("an end");
    assert_eq!((ended, pages.len()), (Ended::Done, 2));
    front.give_back(pages);
    assert_eq!(front.reserve(4 * 4096).map(|pages| pages.len()), Some(4));
}

#[test]
fn each_status_is_told() {
    let (mut front, mut back) = connected(1);
    for (status, expected) in [
        (status::OKAY, Ended::Done),
        (status::ERROR, Ended::Failed),
        (status::NOT_SUPPORTED, Ended::NotSupported),
        (77, Ended::Failed),
    ] {
        let token = front.discard(5, 1 << 40).unwrap();
        front.publish();
        let request = back.next().unwrap().unwrap();
        assert_eq!((request.nr_segments, Discard::from(request).nr_sectors), (0, 1 << 40));
        answer(&mut back, &request, status);
        front.collect().unwrap();
        assert_eq!(front.take(token), Ok((expected, Vec::new())));
    }
}

#[test]
fn there_is_no_more_than_there_is_room_for() {
    let (mut front, _) = connected(3);
    assert!(write(&mut front, 0, 2 * 4096).is_some());
    assert!(write(&mut front, 0, 2 * 4096).is_none(), "too few pages");
    (1..32).for_each(|_| assert!(front.flush().is_some()));
    assert!(front.flush().is_none() && front.reserve(0).is_none(), "no place");
    let mut apart = Front::<Page>::new(3);
    assert!(write(&mut apart, 0, 4096).is_none() && apart.reserve(3 * 4096).is_some(), "no connection, no leak");
}

#[test]
fn another_backend_is_asked_again_what_the_first_did_not_answer() {
    let (mut front, mut back) = connected(8);
    let tokens: Vec<Token> = (0..6).map(|sector| write(&mut front, sector, 512).unwrap()).collect();
    front.publish();
    let requests: Vec<Request> = (0..6).map(|_| back.next().unwrap().unwrap()).collect();
    answer(&mut back, &requests[1], status::OKAY);
    answer(&mut back, &requests[4], status::ERROR);
    front.collect().unwrap();
    front.disconnect();
    assert!(front.flush().is_none());
    let page = Page::new();
    front.connect(page.clone(), (0..8).map(|page| 2000 + page).collect());
    front.publish();
    let mut back = Backend::new(page);
    for sector in [0, 2, 3, 5] {
        let request = back.next().unwrap().unwrap();
        assert_eq!((request.sector_number, request.id), (sector, requests[sector as usize].id));
        assert!(request.seg[0].gref >= 2000, "the new backend has grants of its own");
        answer(&mut back, &request, status::OKAY);
    }
    assert_eq!(back.next(), Ok(None));
    front.collect().unwrap();
    let ends: Vec<Ended> = tokens.into_iter().map(|token| front.take(token).unwrap().0).collect();
    assert_eq!(ends.iter().filter(|end| **end == Ended::Done).count(), 5);
    assert_eq!(ends[4], Ended::Failed);
}

#[test]
fn the_pages_of_an_abandoned_request_are_not_used_before_its_answer() {
    let (mut front, mut back) = connected(1);
    let token = write(&mut front, 0, 512).unwrap();
    front.abandon(token);
    assert!(front.reserve(512).is_none());
    front.publish();
    let request = back.next().unwrap().unwrap();
    answer(&mut back, &request, status::OKAY);
    front.collect().unwrap();
    assert!(front.reserve(512).is_some());
}

#[test]
fn answers_to_nothing_end_the_connection() {
    type Lie = fn(&mut Response);
    let lies: [Lie; 5] = [
        |lie| lie.id += 1,
        |lie| lie.id += 32,
        |lie| lie.id = u64::MAX,
        |lie| lie.operation = operation::READ,
        |lie| lie.operation = 99,
    ];
    for lie in lies {
        let (mut front, mut back) = connected(1);
        let token = write(&mut front, 0, 512).unwrap();
        front.publish();
        let request = back.next().unwrap().unwrap();
        let mut response = Response { id: request.id, operation: request.operation, ..Response::default() };
        lie(&mut response);
        back.push(&response);
        back.publish();
        assert_eq!(front.collect(), Err(Broken));
        assert!(!front.is_connected() && front.take(token).is_err());
    }
}

#[test]
fn an_answer_that_is_given_twice_ends_the_connection() {
    let (mut front, mut back) = connected(2);
    let tokens = [write(&mut front, 0, 512), write(&mut front, 1, 512)].map(Option::unwrap);
    front.publish();
    let first = back.next().unwrap().unwrap();
    back.next().unwrap();
    answer(&mut back, &first, status::OKAY);
    answer(&mut back, &first, status::OKAY);
    assert_eq!(front.collect(), Err(Broken));
    assert_eq!(tokens.map(|token| front.take(token).is_ok()), [true, false]);
}

proptest! {
    /// Whatever a backend writes into the page, the frontend keeps its pages apart.
    #[test]
    fn noise_is_survived(words in proptest::collection::vec((0..1024usize, any::<u32>()), 0..60), answers in 0..40u32) {
        let (mut front, back) = connected(6);
        let tokens: Vec<_> = (0..5).filter_map(|sector| write(&mut front, sector, 512)).collect();
        front.publish();
        for (place, word) in words {
            back.page().0[place].store(word, std::sync::atomic::Ordering::Relaxed);
        }
        back.page().word(8).store(answers, std::sync::atomic::Ordering::Relaxed);
        let _ = front.collect();
        let mut pages: Vec<u16> = tokens.into_iter().filter_map(|token| front.take(token).ok()).flat_map(|(_, pages)| pages).collect();
        while let Some(page) = front.reserve(512) {
            pages.extend(page);
        }
        let all = pages.len();
        pages.sort_unstable();
        pages.dedup();
        prop_assert_eq!(pages.len(), all);
    }
}
