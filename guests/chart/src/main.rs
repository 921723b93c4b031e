//! Charts as SVG pictures: `/chart.svg?values=3,5,8.25&title=Rain&kind=bars`. What a request says is worked on by a machine that has seen no
//! other request, where the configuration makes this a service.
//!
//! Arguments: `ip=10.0.2.23/24 gateway=10.0.2.2` for a fixed address, else one comes by DHCP.

#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use core::time::Duration;

use mote_plot::Chart;
use mote_unikernel::Machine;
use mote_unikernel::net::site::{self, Settings};
use mote_unikernel::net::tcp::Buffers;
use mote_webserver::{Body, Handler, Limits, Request, Response};

mote_unikernel::entry!(main);

/// A query has up to 256 values.
const SETTINGS: Settings = Settings {
    port: 80,
    connections: 8,
    backlog: 16,
    buffers: Buffers { receive: 4096, send: 16384 },
    limits: Limits {
        head: 6144,
        body: 0,
        idle: Duration::from_secs(10),
        request: Duration::from_secs(5),
        piece: Duration::from_secs(10),
        requests: u32::MAX,
    },
};

const USAGE: &str = "Ask for /chart.svg?values=3,5,8.25&title=Rain&kind=bars (or line).\n";

fn main(machine: Machine) {
    site::run(&machine, &SETTINGS, async |_| Charts, |_, _| ());
}

/// Draws.
struct Charts;

impl Handler for Charts {
    async fn handle(&self, request: Request<'_>) -> Response {
        match request.path() {
            "/" => Response::text(200, USAGE),
            "/chart.svg" => match Chart::from_query(request.query().unwrap_or_default()) {
                Ok(chart) => picture(&chart),
                Err(mistake) => Response::text(400, format!("{mistake}\n")),
            },
            _ => Response::text(404, "Nothing is here.\n"),
        }
    }
}

fn picture(chart: &Chart) -> Response {
    Response::new(200, "image/svg+xml", Body::Made(chart.svg().into_bytes())).with("Cache-Control", "no-store")
}
