//! A frontend and a disk as models: the frontend keeps its pages in a map, the disk ends commands in any order and knows what is
//! on the medium.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use std::sync::atomic::{AtomicU32, Ordering};

use mote_protocols::blkif::{Request, Response, SECTOR};
use mote_protocols::ring;

use crate::{Buffer, Command, Discarding, Disk, Finished, Frontend, Geometry, NoAccess, Part};

pub const SECTORS: u64 = 512;
pub const GEOMETRY: Geometry = Geometry {
    sectors: SECTORS,
    sector_size: 512,
    read_only: false,
    flush: true,
    discard: Some(Discarding { granularity: 512, sectors_max: 40 }),
};

/// The page of the ring, which both ends see.
#[derive(Clone)]
pub struct Shared(Rc<[AtomicU32; 1024]>);

impl Shared {
    pub fn new() -> Self {
        Self(Rc::new([const { AtomicU32::new(0) }; 1024]))
    }

    pub fn set(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Relaxed);
    }
}

impl ring::Shared for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        &self.0[offset / 4]
    }
}

/// The frontend's end.
pub struct FrontEnd {
    pub shared: Shared,
    ring: ring::Front<Shared, Request, Response>,
}

impl FrontEnd {
    pub fn new(shared: &Shared) -> Self {
        Self { shared: shared.clone(), ring: ring::Front::new(shared.clone()) }
    }

    pub fn is_full(&self) -> bool {
        self.ring.room() == 0
    }

    /// Asks. True if the backend wants an event for it.
    pub fn ask(&mut self, request: Request) -> bool {
        assert!(self.ring.push(&request), "the ring is full");
        self.ring.publish()
    }

    pub fn answers(&mut self) -> Vec<Response> {
        let mut answers = Vec::new();
        while let Some(answer) = self.ring.next().expect("a backend that makes sense") {
            answers.push(answer);
        }
        self.ring.arm();
        answers
    }
}

/// The frontend's memory, by grant, and how many events it got.
#[derive(Clone, Default)]
pub struct Memory {
    pub pages: Rc<RefCell<HashMap<u32, Box<[u8; 4096]>>>>,
    pub read_only: Rc<RefCell<HashSet<u32>>>,
    pub events: Rc<RefCell<usize>>,
}

impl Frontend for Memory {
    fn fetch(&mut self, parts: &[Part], buffers: &mut [Buffer]) -> Result<(), NoAccess> {
        for (part, buffer) in parts.iter().zip(buffers) {
            let pages = self.pages.borrow();
            let page = pages.get(&part.gref()).ok_or(NoAccess)?;
            buffer.bytes_mut().copy_from_slice(&page[part.range()]);
        }
        Ok(())
    }

    fn store(&mut self, parts: &[Part], buffers: &[Buffer]) -> Result<(), NoAccess> {
        for (part, buffer) in parts.iter().zip(buffers) {
            if self.read_only.borrow().contains(&part.gref()) {
                return Err(NoAccess);
            }
            let mut pages = self.pages.borrow_mut();
            pages.get_mut(&part.gref()).ok_or(NoAccess)?[part.range()].copy_from_slice(buffer.bytes());
        }
        Ok(())
    }

    fn notify(&mut self) {
        *self.events.borrow_mut() += 1;
    }
}

/// What a model disk does and has.
pub struct Plate {
    /// What is read.
    pub now: Vec<u8>,
    /// What is still there after the power fails.
    pub kept: Vec<u8>,
    pub queue: VecDeque<(u16, Command)>,
    pub room: usize,
    pub kicks: usize,
    /// Commands that may end now, and which of the queue does.
    pub allowed: usize,
    pub pick: usize,
    /// Sectors that cannot be used.
    pub bad: HashSet<u64>,
}

#[derive(Clone)]
pub struct Model(pub Rc<RefCell<Plate>>, pub Geometry);

impl Model {
    pub fn new(geometry: Geometry) -> Self {
        let content: Vec<u8> = (0..geometry.sectors * 2).flat_map(|half| [half as u8; SECTOR / 2]).collect();
        let plate = Plate {
            kept: content.clone(),
            now: content,
            queue: VecDeque::new(),
            room: 4,
            kicks: 0,
            allowed: usize::MAX,
            pick: 0,
            bad: HashSet::new(),
        };
        Self(Rc::new(RefCell::new(plate)), geometry)
    }
}

impl Plate {
    /// The buffers and the sectors' bytes, in pairs. `None` if one is bad.
    fn span(&mut self, sector: u64, buffers: &[Buffer]) -> Option<std::ops::Range<usize>> {
        let count: u64 = buffers.iter().map(Buffer::sectors).sum();
        assert!(sector + count <= (self.now.len() / SECTOR) as u64, "past the disk's end");
        let whole = (sector..sector + count).all(|sector| !self.bad.contains(&sector));
        whole.then_some(sector as usize * SECTOR..(sector + count) as usize * SECTOR)
    }

    fn perform(&mut self, command: Command) -> (Vec<Buffer>, bool) {
        match command {
            Command::Read(sector, mut buffers) => {
                let Some(span) = self.span(sector, &buffers) else { return (buffers, false) };
                let mut bytes = &self.now[span];
                for buffer in &mut buffers {
                    let (first, rest) = bytes.split_at(buffer.bytes().len());
                    buffer.bytes_mut().copy_from_slice(first);
                    bytes = rest;
                }
                (buffers, true)
            }
            Command::Write(sector, buffers) => {
                let Some(span) = self.span(sector, &buffers) else { return (buffers, false) };
                let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.bytes().to_vec()).collect();
                self.now[span].copy_from_slice(&bytes);
                (buffers, true)
            }
            Command::Flush => {
                self.kept.clone_from(&self.now);
                (Vec::new(), true)
            }
            Command::Discard(sector, count) => {
                assert!(count <= GEOMETRY.discard.unwrap().sectors_max, "more than the disk forgets at once");
                self.now[sector as usize * SECTOR..(sector + count) as usize * SECTOR].fill(0);
                (Vec::new(), true)
            }
        }
    }
}

impl Disk for Model {
    fn geometry(&self) -> Geometry {
        self.1
    }

    fn start(&mut self, token: u16, command: Command) -> Result<(), Command> {
        let mut plate = self.0.borrow_mut();
        if plate.queue.len() >= plate.room {
            return Err(command);
        }
        plate.queue.push_back((token, command));
        Ok(())
    }

    fn kick(&mut self) {
        self.0.borrow_mut().kicks += 1;
    }

    fn finished(&mut self) -> Option<Finished> {
        let mut plate = self.0.borrow_mut();
        if plate.queue.is_empty() {
            return None;
        }
        plate.allowed = plate.allowed.checked_sub(1)?;
        let place = plate.pick % plate.queue.len();
        let (token, command) = plate.queue.remove(place)?;
        let (buffers, done) = plate.perform(command);
        Some(Finished { token, buffers, done })
    }
}
