//! Streams made here, sound and broken.

use super::*;

/// An attribute with its checksum.
fn attribute(level: u8, number: u32, value: &[u8]) -> Vec<u8> {
    let sum = value.iter().fold(0_u16, |sum, octet| sum.wrapping_add(u16::from(*octet)));
    let length = u32::try_from(value.len()).unwrap();
    [&[level][..], &number.to_le_bytes(), &length.to_le_bytes(), value, &sum.to_le_bytes()].concat()
}

fn stream(attributes: &[Vec<u8>]) -> Vec<u8> {
    [&SIGNATURE[..], &[1, 0], &attributes.concat()].concat()
}

/// A property of octets or text.
fn property(id: u16, kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap();
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    let head = [kind.to_le_bytes(), id.to_le_bytes()].concat();
    [&head[..], &1_u32.to_le_bytes(), &length.to_le_bytes(), value, &padding].concat()
}

fn list(properties: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(properties.len()).unwrap();
    [&count.to_le_bytes()[..], &properties.concat()].concat()
}

/// An attachment that is a message.
fn message_in(inner: &[u8]) -> Vec<u8> {
    let object = [&MESSAGE_INTERFACE[..], inner].concat();
    stream(&[
        attribute(2, attribute::RENDERING, &[0; 14]),
        attribute(
            2,
            attribute::ATTACHMENT,
            &list(&[property(property::DATA, mapi::OBJECT, &object)]),
        ),
    ])
}

fn files(data: &[u8]) -> (Vec<String>, Faults) {
    let mut found = Vec::new();
    fuzz(data);
    let faults = each_file(data, &mut |file| {
        let (name, kind) = (file.name.unwrap_or("-"), file.mime_type.unwrap_or("-"));
        let data = file.data.get(..8).unwrap_or(file.data).escape_ascii();
        found.push(format!("{} {name} {kind} {data}", file.depth));
        ControlFlow::Continue(())
    });
    (found, faults.unwrap())
}

#[test]
fn sound() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let properties = list(&[
        [&3_u16.to_le_bytes()[..], &0x3705_u16.to_le_bytes(), &[1, 0, 0, 0]].concat(),
        // A property with a name, and one with several values.
        [
            &3_u16.to_le_bytes()[..],
            &0x8000_u16.to_le_bytes(),
            &[0; 16],
            &1_u32.to_le_bytes(),
            &6_u32.to_le_bytes(),
            &utf16("abc"),
            &[0, 0],
            &[9, 0, 0, 0],
        ]
        .concat(),
        [&0x1003_u16.to_le_bytes()[..], &0x1234_u16.to_le_bytes(), &2_u32.to_le_bytes(), &[0; 8]]
            .concat(),
        property(property::LONG_NAME, 0x1f, &utf16("gr\u{fc}n.exe\0")),
        property(property::MIME_TYPE, 0x1e, b"a/b\0"),
        property(property::CONTENT_ID, 0x1e, b"x@y\0"),
        property(property::DISPLAY_NAME, 0x1e, b"\xc3\xa4\0"),
    ]);
    let data = stream(&[
        attribute(1, attribute::CODE_PAGE, &[0xe3, 4, 0, 0, 0, 0, 0, 0]),
        attribute(1, attribute::MESSAGE_CLASS, b"IPM.Note\0"),
        attribute(1, attribute::BODY, b"text\0"),
        attribute(
            1,
            attribute::PROPERTIES,
            &list(&[property(property::HTML, 0x1f, &utf16("<p>\0"))]),
        ),
        attribute(2, attribute::RENDERING, &[0; 14]),
        attribute(2, attribute::TITLE, b"GR\xc0N.EXE\0"),
        attribute(2, attribute::DATA, b"MZ"),
        attribute(2, attribute::ATTACHMENT, &properties),
        attribute(2, attribute::RENDERING, &[0; 14]),
        attribute(2, attribute::DATA, b""),
    ]);
    let tnef = Tnef::parse(&data).unwrap();
    assert_eq!(tnef.message_class.as_deref(), Some("IPM.Note"));
    let first = &tnef.attachments[0];
    assert_eq!(
        first.names().collect::<Vec<_>>(),
        ["gr\u{fc}n.exe", "GR\u{410}N.EXE", "\u{413}\u{a4}"]
    );
    assert_eq!(
        (first.mime_type.as_deref(), first.content_id.as_deref()),
        (Some("a/b"), Some("x@y"))
    );
    let want = ["0 - text/plain text", "0 - text/html <p>", "0 gr\u{fc}n.exe a/b MZ", "0 - - "];
    assert_eq!(files(&data), (want.map(str::to_string).to_vec(), Faults::default()));
}

#[test]
fn messages_within() {
    let inner = stream(&[attribute(1, attribute::BODY, b"inner")]);
    let (found, faults) = files(&message_in(&inner));
    assert_eq!(found, [r##"0 - - x\x9f>\"\x01\x00\x01\x0c"##, "1 - text/plain inner"]);
    assert!(faults.is_empty());
    let deep = (0..1_000).fold(inner, |inner, _| message_in(&inner));
    let (found, faults) = files(&deep);
    assert_eq!(found.len(), TNEF_DEPTH_MAX + 1);
    assert!(faults.contains(Fault::TnefTooMuch));
    assert!(files(&message_in(b"no stream")).1.contains(Fault::TnefGarbage));
}

#[test]
fn broken() {
    let text = attribute(1, attribute::BODY, b"text");
    let mut wrong = text.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let rows: &[(Vec<u8>, &[Fault])] = &[
        (stream(&[wrong]), &[Fault::TnefChecksum]),
        (stream(&[text.clone(), b"\r\n".to_vec()]), &[]),
        (stream(&[text.clone(), b"garbage".to_vec()]), &[Fault::TnefGarbage]),
        (stream(&[text.clone(), vec![1, 0]]), &[Fault::TnefCut]),
        (stream(&[text.clone(), vec![2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]]), &[Fault::TnefCut]),
        (
            stream(&[text.clone(), attribute(1, attribute::PROPERTIES, &[0xff; 4])]),
            &[Fault::TnefCut],
        ),
        (
            stream(&[
                text.clone(),
                attribute(1, attribute::PROPERTIES, &[1, 0, 0, 0, 0x99, 0, 1, 0]),
            ]),
            &[Fault::TnefGarbage],
        ),
        (
            stream(&[
                text.clone(),
                attribute(
                    1,
                    attribute::PROPERTIES,
                    &list(&[property(property::RTF, 0x102, b"no")]),
                ),
            ]),
            &[Fault::TnefGarbage],
        ),
        (stream(&vec![text.clone(); TNEF_ATTRIBUTES_MAX + 1]), &[Fault::TnefTooMuch]),
        (
            stream(&[
                text.clone(),
                attribute(
                    1,
                    attribute::PROPERTIES,
                    &[0xff, 0xff, 0xff, 0xff]
                        .into_iter()
                        .chain(vec![0; 80_000])
                        .collect::<Vec<u8>>(),
                ),
            ]),
            &[Fault::TnefTooMuch],
        ),
        (
            stream(&[vec![text; 1], vec![attribute(2, attribute::RENDERING, b""); 1_001]].concat()),
            &[Fault::TnefTooMuch],
        ),
    ];
    for (data, want) in rows {
        let (found, faults) = files(data);
        assert_eq!(found.first().map(String::as_str), Some("0 - text/plain text"));
        assert_eq!(faults.iter().collect::<Vec<_>>(), *want);
    }
    let many = vec![property(property::DATA, 0x102, b"x"); 5_000];
    let many = stream(&[attribute(2, attribute::ATTACHMENT, &list(&many))]);
    assert_eq!(files(&many).0.len(), CONTENTS_MAX);
    for data in
        [&b""[..], b"x", &SIGNATURE, b"x\x9f>\"\0\0", b"x\x9f>\"000\x06\x90\x08\0\0\0\0\0\0\0"]
    {
        assert_eq!(Tnef::parse(data).err(), Some(NotTnef));
        fuzz(data);
    }
}
