//! JSON, in and out.

use alloc::vec;
use alloc::vec::Vec;

use mote_webserver::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// No single value that is written is longer.
const LONGEST: usize = 1 << 20;
/// Room for the escapes of a string that is read.
const STRING: usize = 64;

/// An answer with `value` in it.
pub fn response(status: u16, value: &impl Serialize) -> Response {
    Response::json(status, bytes(value))
}

/// `value` as JSON.
pub fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut size = 512;
    while size <= LONGEST {
        let mut buffer = vec![0; size];
        if let Ok(length) = serde_json_core::to_slice(value, &mut buffer) {
            buffer.truncate(length);
            return buffer;
        }
        size *= 2;
    }
    // Nothing that the API says comes near.
    b"null".into()
}

/// What `bytes` says, and nothing behind it.
pub fn read<T: DeserializeOwned>(bytes: &[u8], hint: &str) -> Result<T, Problem> {
    let bytes = bytes.trim_ascii();
    let mut scratch = [0; STRING];
    match serde_json_core::from_slice_escaped(bytes, &mut scratch) {
        Ok((value, length)) if length == bytes.len() => Ok(value),
        Ok(_) => Err(Problem::new(400, "there is something behind the JSON in the body", hint)),
        Err(error) => Err(Problem::new(400, alloc::format!("the body is not the JSON it must be: {error}"), hint)),
    }
}
