//! What is asked of the machine as a whole.

use mote_webserver::{Body, Response};

use crate::route::{Answer, Call};
use crate::{json, metrics as prometheus};

/// The description of this API.
const OPENAPI: &str = include_str!("../openapi.yaml");

pub(crate) fn openapi(_: Call<'_>) -> Answer {
    Ok(Response::new(200, "application/yaml", Body::Static(OPENAPI.as_bytes())))
}

pub(crate) fn info(call: Call<'_>) -> Answer {
    Ok(json::response(200, &call.toolstack.machine()))
}

pub(crate) fn log(call: Call<'_>) -> Answer {
    Ok(Response::text(200, call.toolstack.log()))
}

pub(crate) fn metrics(call: Call<'_>) -> Answer {
    let text = prometheus::write(call.toolstack);
    Ok(Response::new(200, "text/plain; version=0.0.4; charset=utf-8", Body::Made(text.into_bytes())))
}
