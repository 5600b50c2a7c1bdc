//! The header with which a balancer begins a connection, where it speaks the PROXY protocol: whose connection it passes on.
//! Versions 1 and 2 (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>), decoded by the crate `proxy-header`.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Longest header of version 1 (bytes), by the specification.
const V1_BYTES_MAX: usize = 107;

/// What a header of version 1 begins with.
const V1_START: &[u8] = b"PROXY ";

/// What a header of version 2 begins with, and its bytes up to and with the length of the rest.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// Longest header that is read (bytes): beside the addresses, version 2 may tell of TLS and more, which is passed over.
const BYTES_MAX: usize = 4096;

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The balancer left before it had sent one; with no byte at all, it only looked whether somebody listens.
    #[error("the connection ended before its PROXY header did")]
    Gone { had_begun: bool },
    /// The bytes are none.
    #[error("the connection does not begin with a PROXY header: {0}")]
    Malformed(&'static str),
}

/// A header that is there whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    /// Bytes that it takes.
    length: usize,
    /// Whose connection it is; `None` if it is the balancer's own, which looks after our health, or it can't say.
    source: Option<IpAddr>,
}

/// Reads the header from the start of a connection, and nothing that follows it: not a byte is kept back from TLS.
/// `None` if the connection is the balancer's own.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<IpAddr>, HeaderError> {
    let mut bytes = vec![0; BYTES_MAX];
    let mut taken = 0;
    loop {
        let gone = HeaderError::Gone { had_begun: taken > 0 };
        let seen = match stream.peek(&mut bytes[taken..]).await {
            Ok(count) if count > 0 => taken + count,
            _ => return Err(gone),
        };
        let header = decode(&bytes[..seen])?;
        // All that is there belongs to a header that is not whole yet.
        let end = header.map_or(seen, |header| header.length);
        stream.read_exact(&mut bytes[taken..end]).await.map_err(|_| gone)?;
        taken = end;
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

/// Decodes the header at the start of `bytes`; `None` if it is not whole yet.
///
/// Where it ends is found out first, so that what comes of it does not depend on how its bytes come in pieces.
fn decode(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, start)| byte == start);
    let length = if begins(V1_START) {
        match memchr::memchr(b'\n', &bytes[..bytes.len().min(V1_BYTES_MAX)]) {
            Some(at) => at + 1,
            None if bytes.len() < V1_BYTES_MAX => return Ok(None),
            None => return Err(HeaderError::Malformed("its line is longer than 107 bytes")),
        }
    } else if begins(V2_START) {
        let Some(&[high, low]) = bytes.get(V2_FIXED_BYTES - 2..V2_FIXED_BYTES) else { return Ok(None) };
        let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
        if length > BYTES_MAX {
            return Err(HeaderError::Malformed("it is longer than 4096 bytes"));
        }
        length
    } else {
        return Err(HeaderError::Malformed("it begins otherwise"));
    };
    let Some(whole) = bytes.get(..length) else { return Ok(None) };
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, used) =
        ProxyHeader::parse(whole, config).map_err(|_| HeaderError::Malformed("its fields are no good"))?;
    if used != length {
        return Err(HeaderError::Malformed("its line has more than its fields"));
    }
    let source = match header.proxied_address() {
        None => None,
        Some(address) if address.protocol == Protocol::Stream => Some(address.source.ip().to_canonical()),
        Some(_) => return Err(HeaderError::Malformed("it is for datagrams")),
    };
    Ok(Some(Header { length, source }))
}

/// Fuzz target of the header: what is decoded does not depend on what follows it, and is not there any earlier.
///
/// # Panics
/// If it does, or if a header that says the same is read otherwise.
#[cfg(any(test, fuzzing))]
pub fn fuzz_proxy_header(data: &[u8]) {
    match decode(data) {
        Ok(Some(header)) => {
            assert!(header.length <= data.len() && header.length <= BYTES_MAX);
            assert_eq!(decode(&data[..header.length]).expect("it was good"), Some(header));
            for end in 0..header.length {
                assert_eq!(decode(&data[..end]).expect("a part of it is not wrong"), None, "{end} bytes");
            }
            check_encoded(header.source);
        }
        Ok(None) => assert!(data.len() < BYTES_MAX),
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            // More bytes don't make it good.
            let mut more = data.to_vec();
            more.extend_from_slice(b"\r\n");
            assert!(decode(&more).is_err());
        }
    }
}

/// Both versions of a header with this source are read as it.
#[cfg(any(test, fuzzing))]
fn check_encoded(source: Option<IpAddr>) {
    use proxy_header::ProxiedAddress;
    let header = match source {
        None => ProxyHeader::with_local(),
        Some(source) => {
            ProxyHeader::with_address(ProxiedAddress::stream((source, 1).into(), (source, 2).into()))
        }
    };
    let mut encoded = [vec![], vec![]];
    header.encode_v1(&mut encoded[0]).expect("memory takes all writes");
    header.encode_v2(&mut encoded[1]).expect("memory takes all writes");
    for bytes in encoded {
        assert_eq!(decode(&bytes).expect("it is good"), Some(Header { length: bytes.len(), source }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of a header with bytes behind it: the source, or part of the error.
    fn source(header: &[u8]) -> Result<Option<String>, String> {
        let with_request = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
        fuzz_proxy_header(&with_request);
        match decode(&with_request) {
            Ok(Some(it)) if it.length == header.len() => Ok(it.source.map(|it| it.to_string())),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_START, &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0xC0, 0, 0, 80];

    #[test]
    fn source_is_read_of_both_versions() {
        for (header, expect) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 49152 80\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 fd00::1 49152 80\r\n".to_vec(), Some("2001:db8::1")),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:10.0.0.1 49152 80\r\n".to_vec(), Some("192.0.2.1")),
            (v2(0x21, 0x11, &V4), Some("192.0.2.1")),
            (
                v2(0x21, 0x21, &[[0xFD; 16].as_slice(), &[0; 20]].concat()),
                Some("fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd"),
            ),
            // With more to tell, which is passed over.
            (v2(0x21, 0x11, &[&V4[..], &[0x04, 0, 200], &[0; 200]].concat()), Some("192.0.2.1")),
        ] {
            assert_eq!(source(&header), Ok(expect.map(str::to_owned)), "{header:?}");
        }
    }

    #[test]
    fn balancers_own_connections_have_no_source() {
        for header in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
            v2(0x20, 0x00, &[]),
            v2(0x20, 0x11, &V4),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(source(&header), Ok(None), "{header:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 49152\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.256 10.0.0.1 49152 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 49152 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 fd00::1 49152 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 49152 80\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.1 49152 80\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXYTCP4 192.0.2.1 10.0.0.1 49152 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 94], b"\r\n"].concat(),
            v2(0x31, 0x11, &V4),
            v2(0x22, 0x11, &V4),
            v2(0x21, 0x41, &V4),
            v2(0x21, 0x12, &V4),
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x21, &V4),
            v2(0x21, 0x11, &[&V4[..], &[0; BYTES_MAX]].concat()),
        ] {
            let error = source(&bad).expect_err(&format!("{bad:?}"));
            assert!(error.contains("does not begin with a PROXY header"), "{bad:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0_usize..3) {
            let start = [&b""[..], V1_START, V2_START][start];
            fuzz_proxy_header(&[start, &bytes].concat());
        }

        #[test]
        fn any_source_is_read(v4: [u8; 4], v6: [u8; 16]) {
            check_encoded(Some(IpAddr::from(v4)));
            check_encoded(Some(IpAddr::from(v6).to_canonical()));
        }
    }
}
