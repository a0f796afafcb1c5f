//! TLS by hand: what no library would send.

use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use std::sync::Arc;

/// Records of a handshake message, cut into pieces of at most so many octets.
pub(super) fn records(message: &[u8], piece: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in message.chunks(piece) {
        wire.extend([22, 3, 1]);
        wire.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        wire.extend(piece);
    }
    wire
}

/// A ClientHello of an old client: a version, suites, and no extension that it does not know.
pub(super) fn old_hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // Curves: P-256 and P-384; points: uncompressed; signatures: ECDSA and RSA with SHA-256, SHA-1.
    let extensions: [&[u8]; 3] = [
        &[0, 10, 0, 6, 0, 4, 0, 23, 0, 24],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 2, 3, 2, 1],
    ];
    let extensions = extensions.concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    message(&body)
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], body].concat()
}

/// The ClientHello of a good client, without the record around it, and with `more` behind its last
/// extension.
pub(super) fn good_hello(config: &Arc<ClientConfig>, name: &'static str, more: &[u8]) -> Vec<u8> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut record = Vec::new();
    client.write_tls(&mut record).unwrap();
    let mut body = record[9..].to_vec();
    // Behind version and random number: session, suites, compressions; then the extensions.
    let mut at = 34;
    at += 1 + usize::from(body[at]);
    at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    at += 1 + usize::from(body[at]);
    let length = u16::from_be_bytes([body[at], body[at + 1]]);
    assert_eq!(usize::from(length), body.len() - at - 2);
    let length = length.checked_add(u16::try_from(more.len()).unwrap()).unwrap();
    body[at..at + 2].copy_from_slice(&length.to_be_bytes());
    body.extend(more);
    message(&body)
}

/// An extension that fills the space (RFC 7685), so many octets in all.
pub(super) fn padding(octets: usize) -> Vec<u8> {
    let length = u16::try_from(octets - 4).unwrap();
    [&[0, 21], &length.to_be_bytes()[..], &vec![0; octets - 4]].concat()
}
