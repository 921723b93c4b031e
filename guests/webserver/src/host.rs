//! Whom a request is for: the host that it names, before anything else of it is looked at.

use httparse::EMPTY_HEADER;

use crate::head::{HEADERS_MAX, Refusal, parse, single};

/// The host, without a port, that the request at the start of `bytes` is for; nothing if its head is not all there.
///
/// # Errors
/// The status with which it is to be refused: 400 if it names none or several, or is no request.
pub fn host(bytes: &[u8]) -> Result<Option<&str>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let Some((_, request)) = parse(bytes, &mut headers)? else { return Ok(None) };
    let value = single(request.headers, "Host")?.ok_or(400_u16)?;
    let text = str::from_utf8(value).map_err(|_| 400_u16)?.trim();
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    let is_host = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    // RFC 9110, 7.2: a name and perhaps a port.
    if is_host && port.bytes().all(|byte| byte.is_ascii_digit()) { Ok(Some(name)) } else { Err(400) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::format;

    #[test]
    fn a_request_is_for_the_host_that_it_names() {
        for (value, host) in
            [("chart.example", "chart.example"), ("Web:8080", "Web"), (" a-b_c ", "a-b_c"), ("10.0.2.22:", "10.0.2.22")]
        {
            let request = format!("GET / HTTP/1.1\r\nAccept: */*\r\nhOsT: {value}\r\n\r\nbody");
            assert_eq!(super::host(request.as_bytes()), Ok(Some(host)));
        }
        assert_eq!(super::host(b"GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    }

    #[test]
    fn who_names_none_or_several_is_refused() {
        for headers in [
            "",
            "Host:\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a b\r\n",
            "Host: a:b\r\n",
            "Host: \u{e4}\r\n",
            "Host: a/b\r\n",
        ] {
            let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
            assert_eq!(super::host(request.as_bytes()), Err(400), "{headers:?}");
        }
        assert_eq!(super::host(b"\x16\x03\x01\x02\x00"), Err(400), "TLS is no HTTP");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_plain_name_or_none(bytes: std::vec::Vec<u8>) {
            let request = [b"GET / HTTP/1.1\r\nHost: ", &bytes[..], b"\r\n\r\n"].concat();
            if let Ok(Some(host)) = super::host(&request) {
                prop_assert!(!host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            }
            let _ = super::host(&bytes);
        }
    }
}
