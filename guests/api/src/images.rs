//! What is asked of images.

use alloc::format;

use mote_webserver::Response;

use crate::domains::printable;
use crate::json;
use crate::model::{Image, Images};
use crate::problem::Problem;
use crate::route::{Answer, Call};

/// Bytes of an image that one request can carry.
pub const PIECE: usize = 64 << 10;
/// Characters of a name at most.
const MAX_NAME: usize = 64;

pub(crate) fn list(call: Call<'_>) -> Answer {
    Ok(json::response(200, &Images { images: call.toolstack.images() }))
}

/// Takes a whole image, or with `Content-Range` a piece of one, each where the last one ended (RFC 9110, 14.5).
pub(crate) fn put(call: Call<'_>) -> Answer {
    let (name, bytes) = (call.parameter, call.request.body);
    if !is_name(name) {
        let error = format!("no image can be called `{}`", printable(name));
        return Err(Problem::new(400, error, format!("names are 1 to {MAX_NAME} of a-z, A-Z, 0-9 and ,._+-")));
    }
    if bytes.len() > PIECE {
        let error = format!("{} bytes are more than one request can carry", bytes.len());
        return Err(Problem::new(413, error, format!("send pieces of at most {PIECE} bytes with Content-Range")));
    }
    let (offset, size) = match call.request.header("Content-Range") {
        None => (0, bytes.len() as u64),
        Some(range) => piece(range, bytes.len() as u64).ok_or_else(|| {
            let hint = "write Content-Range: bytes FIRST-LAST/ALL, as many as the body has";
            Problem::new(400, "the Content-Range does not fit the body", hint)
        })?,
    };
    if size == 0 {
        return Err(Problem::new(422, "an image without a byte", "send its bytes as the body"));
    }
    let is_next = |image: &Image| image.size == size && image.present == offset;
    if offset > 0 && !call.toolstack.image(name).is_some_and(|image| is_next(&image)) {
        let error = format!("byte {offset} of {size} is not what comes next in the image `{name}`");
        return Err(Problem::new(409, error, "GET /images says how much is there; byte 0 begins anew"));
    }
    call.toolstack.put_image(name, offset, bytes, size)?;
    let image = Image { name: name.into(), size, present: offset + bytes.len() as u64 };
    Ok(json::response(if image.present == size { 201 } else { 202 }, &image))
}

pub(crate) fn remove(call: Call<'_>) -> Answer {
    if call.toolstack.image(call.parameter).is_none() {
        let error = format!("there is no image `{}`", printable(call.parameter));
        return Err(Problem::new(404, error, "GET /images says which there are"));
    }
    call.toolstack.remove_image(call.parameter)?;
    Ok(Response::empty(204))
}

fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b",._+-".contains(&c);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// Where a piece of `length` bytes begins, and how many the whole has: from `bytes 0-99/1000`.
fn piece(range: &str, length: u64) -> Option<(u64, u64)> {
    let (range, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let [first, last, size]: [u64; 3] = [first.parse().ok()?, last.parse().ok()?, size.parse().ok()?];
    let fits = length > 0 && last < size && last.checked_sub(first)? == length - 1;
    fits.then_some((first, size))
}
