//! `winmail.dat` streams of other projects' tests, unpacked and compared with what was in them.

use crate::corpus;
use mailreeve::mail::mime::body::Body;
use mailreeve::mail::mime::encode::Encoder;
use mailreeve::mail::mime::{Encoding, Fault, Faults, Mime};
use mailreeve::mail::tnef::{Content, NotTnef, Tnef, each_file};
use mailreeve::mail::unpack::{self, FILES_MAX, Turn};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What the reference calls the files of a stream, with their octets.
fn unpacked(stream: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let tnef = Tnef::parse(stream).expect("a stream");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for attachment in &tnef.attachments {
        let name =
            attachment.long_name.as_deref().or(attachment.title.as_deref()).unwrap_or("untitled");
        for content in &attachment.contents {
            let octets = match content {
                // It leaves the interface's name before an object of OLE.
                Content::Object { interface, data } => [&interface[..], data].concat(),
                content => content.data().to_vec(),
            };
            files.push((name.to_string(), octets));
        }
    }
    let _: Result<_, NotTnef> = each_file(stream, &mut |file| {
        if let (None, Some(kind), 0) = (file.attachment, file.mime_type, file.depth) {
            let end = match kind {
                "text/plain" => "txt",
                kind => kind.rsplit('/').next().unwrap_or_default(),
            };
            files.push((format!("message.{end}"), file.data.to_vec()));
        }
        ControlFlow::Continue(())
    });
    let mut named = BTreeMap::new();
    for (index, (name, octets)) in files.iter().enumerate() {
        let same = files.iter().filter(|(other, _)| other == name).count();
        let before = files.iter().take(index).filter(|(other, _)| other == name).count();
        let name = if same > 1 { format!("{name}.{}", before + 1) } else { name.clone() };
        named.insert(name, octets.clone());
    }
    named
}

/// With LF at line ends: the reference's text files went through a repository that keeps them so.
fn with_lf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for octet in octets {
        if *octet == b'\n' && out.ends_with(b"\r") {
            out.pop();
        }
        out.push(*octet);
    }
    out
}

#[test]
fn as_the_reference_does() {
    let Some(all) = corpus::files("tnef-mimekit") else { return };
    let (mut streams, mut compared, mut named) = (0, 0, 0);
    for (name, stream) in all.iter().filter(|(name, _)| name.ends_with(".tnef")) {
        let name = name.trim_end_matches(".tnef");
        let ours = unpacked(stream);
        streams += 1;
        for (path, octets) in &all {
            let Some(file) = path.strip_prefix(&format!("{name}/")) else { continue };
            let our = ours.get(file).unwrap_or_else(|| panic!("{path} is missing"));
            assert!(our == octets || with_lf(our) == *octets, "{path} differs");
            compared += 1;
        }
        let list = all.iter().find(|(path, _)| *path == format!("{name}.list"));
        let list = list.map(|(_, list)| String::from_utf8_lossy(list).into_owned());
        for wanted in list.expect("a list").lines().filter(|line| !line.is_empty()) {
            let wanted = wanted.replace("body.", "message.");
            let found =
                ours.keys().any(|our| *our == wanted || our.starts_with(&format!("{wanted}.")));
            assert!(found, "{name}: {wanted} is missing");
            named += 1;
        }
        let faults: Vec<Fault> = Tnef::parse(stream).expect("a stream").faults.iter().collect();
        let wanted: &[Fault] = if name == "panic" { &[Fault::TnefGarbage] } else { &[] };
        assert_eq!(faults, wanted, "{name}");
    }
    assert_eq!((streams, compared, named), (19, 49, 40));
}

#[test]
fn messages_with_winmail_dat() {
    let rows: &[(&str, &[&str])] = &[
        (
            "rich-text.eml",
            &[
                "0 - text/rtf 15237",
                "0 kitten-playing-with-a-christmas-tree.jpg - 375081",
                "0 Untitled Attachment - 89",
                "0 Untitled Attachment - 6508",
                "0 Untitled Attachment - 89",
                "0 Untitled Attachment - 385301",
                "1 - text/plain 58",
                "1 - text/rtf 337",
                "1 kitten-playing-with-a-christmas-tree.jpg - 375081",
                "1 - text/plain 58",
                "1 - text/rtf 10202",
            ],
        ),
        ("ukr.eml", &["0 - text/html 830"]),
    ];
    let Some(all) = corpus::files("tnef-mimekit") else { return };
    for (file, want) in rows {
        let (_, message) = all.iter().find(|(path, _)| path == file).expect("the message");
        let mime = Mime::index(message);
        let mut found = Vec::new();
        for content in &mime.contents {
            let part = &mime.parts[content.part];
            if part.content_type(message).head() != "application/ms-tnef" {
                continue;
            }
            let (mut body, mut buffer) =
                (Body::new(&message[content.range.clone()], part.encoding), [0; 4_096]);
            let mut stream = Vec::new();
            while let Some(piece) = body.next(&mut buffer) {
                stream.extend_from_slice(piece);
            }
            let seen = each_file(&stream, &mut |file| {
                let (name, kind) = (file.name.unwrap_or("-"), file.mime_type.unwrap_or("-"));
                found.push(format!("{} {name} {kind} {}", file.depth, file.data.len()));
                ControlFlow::Continue(())
            });
            assert_eq!(seen.map(Faults::is_empty), Ok(true), "{file}");
        }
        assert_eq!(found, *want, "{file}");
    }
}

/// Every stream cut anywhere, and with single octets changed: no panic, and what was whole is still given.
#[test]
fn malformed() {
    let Some(all) = corpus::files("tnef-mimekit") else { return };
    for (name, stream) in
        all.iter().filter(|(name, _)| name.ends_with(".tnef") || name.contains("ytnef"))
    {
        let files = |stream: &[u8]| {
            let mut count = 0;
            each_file(stream, &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            })
            .map(|_| count)
        };
        let whole = files(stream);
        assert_eq!(whole.is_err(), stream.len() < 100, "{name}");
        let step = (stream.len() / 20).max(1);
        for end in (0..stream.len()).step_by(step) {
            assert!(files(&stream[..end]).unwrap_or(0) <= whole.unwrap_or(0), "{name}");
        }
        // Large streams only hold larger files.
        let mut changed = stream.get(..40_000).unwrap_or(stream).to_vec();
        for at in (6..changed.len().min(4_000)).step_by(7) {
            changed[at] ^= 0xff;
            let count = files(&changed).unwrap_or(0);
            assert!(count < 1_000, "{name}");
            changed[at] ^= 0xff;
        }
    }
}

/// Every file of a sound stream is a part of the mail afterwards, octet by octet; others stay.
#[test]
fn streams_become_parts() {
    let Some(all) = corpus::files("tnef-mimekit") else { return };
    let (mut turned, mut files) = (0, 0);
    for (name, stream) in all.iter().filter(|(name, _)| name.ends_with(".tnef")) {
        let mut message =
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHi\r\n--b\r\n\
            Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"
                .to_vec();
        let mut encoder = Encoder::new(Encoding::Base64).expect("an encoder");
        encoder.write(stream, &mut message).expect("memory");
        encoder.finish(&mut message).expect("memory");
        message.extend_from_slice(b"\r\n--b--\r\n");
        let mime = Mime::index(&message);
        assert_eq!(unpack::candidates(&message, &mime), [2], "{name}");
        let Ok(turn) = Turn::plan(&message, &mime, 2, FILES_MAX) else { continue };
        let start = mime.parts[0].body.start;
        let (count, mut out) = (turn.files, message[..start].to_vec());
        unpack::write(&message, &mime, start, &[turn], "B", &mut out).expect("memory");
        let after = Mime::index(&out);
        assert!(after.faults.is_empty(), "{name}: {:?}", after.faults);
        let mut bodies = after.parts[2..].iter().map(|part| {
            let mut body = Body::new(&out[part.body.clone()], part.encoding);
            let (mut octets, mut buffer) = (Vec::new(), [0; 4_096]);
            while let Some(piece) = body.next(&mut buffer) {
                octets.extend_from_slice(piece);
            }
            octets
        });
        let seen: Result<_, NotTnef> = each_file(stream, &mut |file| {
            if !matches!(file.content, Some(Content::Message(_) | Content::Object { .. })) {
                assert!(bodies.next().as_deref() == Some(file.data), "{name}");
            }
            ControlFlow::Continue(())
        });
        assert!(seen.is_ok(), "{name}");
        let rest: Vec<Vec<u8>> = bodies.collect();
        assert!(rest.is_empty() || rest == [stream.clone()], "{name}: the stream or nothing");
        (turned, files) = (turned + 1, files + count);
    }
    println!("{turned} streams, {files} files");
    assert!(turned >= 10 && files > turned);
}
