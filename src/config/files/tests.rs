//! What the files of a config folder give, from disk and from memory.
//!
//! They stand apart from the code since both together are longer than a file should be.

use super::*;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

type Content<'a> = &'a [u8];

type Change<'a> = &'a dyn Fn(&Path);

/// A folder that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, Content<'_>)]) -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mailreeve-files-{}-{count}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        for (name, content) in files {
            let path = folder.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn files(&self) -> Files {
        Files::on_disk(vec![self.0.clone()])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The lines of setting `a` as `file:line text`, then the problems, from disk and memory.
fn check(files: &[(&str, Content<'_>)], expected: &[&str]) {
    let folder = Folder::new(files);
    let owned = files.iter().map(|(name, content)| ((*name).into(), content.to_vec()));
    for files in [folder.files(), Files::in_memory_bytes(owned)] {
        let mut problems = Vec::new();
        let lines = files.lines("a", &mut problems);
        let lines = lines.iter().map(|l| format!("{}:{} {}", l.file, l.number, l.text));
        let seen = lines.chain(problems.iter().map(Problem::to_string)).collect::<Vec<_>>();
        assert_eq!(seen, expected, "{files:?}");
    }
}

#[test]
fn lines_follow_the_rules() {
    check(&[], &[]);
    check(&[("a", b"")], &[]);
    check(
        &[("a", b"one\n\n # no\n \ttwo # data \r\n#\nx")],
        &["a:1 one", "a:4 two # data", "a:6 x"],
    );
    check(&[("a", b"\xef\xbb\xbf# head\r\none\r\n")], &["a:2 one"]);
    check(&[("a", b"\xef\xbb\xbfone")], &["a:1 one"]);
    check(&[("a", b"a\0b\nc\n#\0\n")], &["a:2 c", "a:1: holds a NUL octet"]);
    let latin = "a:1: warning: is not UTF-8: lines like this are read as Latin-1";
    check(
        &[("a", b"f\xfcr\n\xe4\n\xc3\xa4")],
        &["a:1 f\u{fc}r", "a:2 \u{e4}", "a:3 \u{e4}", latin],
    );
    check(&[("a", &[b'x'; 70_000])], &["a:1: is longer than 65536 octets"]);
    check(&[("a/b", b"x")], &["a: is a folder, not a file"]);
    check(
        &[("a", b"constructor\n__proto__\n*\n.\n")],
        &["a:1 constructor", "a:2 __proto__", "a:3 *", "a:4 ."],
    );
    check(&[("a", b"$included\n$includes x\n")], &["a:1 $included", "a:2 $includes x"]);
}

#[test]
fn includes_are_spliced_in_place() {
    check(&[("a", b"1\n$include  b\n3"), ("b", b"2\n")], &["a:1 1", "b:1 2", "a:3 3"]);
    let nested: &[(&str, Content<'_>)] =
        &[("a", b"$include s/b\r\nz"), ("s/b", b"$include c\ny"), ("c", b"x")];
    check(nested, &["c:1 x", "s/b:2 y", "a:2 z"]);
    let folder: &[(&str, Content<'_>)] =
        &[("a", b"$include d\n9"), ("d/2", b"b"), ("d/1", b"a"), ("d/.x", b"c"), ("d/s/x", b"d")];
    check(folder, &["d/1:1 a", "d/2:1 b", "a:2 9"]);
    check(&[("a", b"$include\n")], &["a:1: $include names no file"]);
    check(&[("a", b"1\n$include b\n")], &["a:1 1", "a:2: included file \"b\" does not exist"]);
    let itself = "a:2: warning: \"a\" is included a second time: ignored";
    check(&[("a", b"1\n$include a\n2\n")], &["a:1 1", "a:3 2", itself]);
    let twice = "a:2: warning: \"b\" is included a second time: ignored";
    check(&[("a", b"$include b\n$include b\n"), ("b", b"x")], &["b:1 x", twice]);
    let many = (0..150).map(|n| (format!("d/{n:03}"), Vec::from(b"x")));
    let files = Files::in_memory_bytes(many.chain([("a".into(), b"$include d\n".to_vec())]));
    let mut problems = Vec::new();
    assert_eq!(files.lines("a", &mut problems).len(), crate::limits::CONFIG_INCLUDES_MAX);
    assert_eq!(problems.len(), 1);
}

#[test]
fn absolute_includes_and_fall_backs_show_their_path() {
    let (main, other) = (Folder::new(&[("a", b"1")]), Folder::new(&[("a", b"2"), ("b", b"3")]));
    fs::write(main.0.join("c"), format!("$include {}\n", other.0.join("b").display())).unwrap();
    let files = Files::on_disk(vec![main.0.clone(), other.0.clone()]);
    assert_eq!(files.folder(), main.0.to_str().unwrap());
    let mut problems = Vec::new();
    let path = other.0.join("b").display().to_string();
    for (name, file, text) in [("a", "a", "1"), ("b", &*path, "3"), ("c", &*path, "3")] {
        let line = files.scalar(name, &mut problems).unwrap();
        assert_eq!((&*line.file, &*line.text), (file, text));
    }
    assert!(files.exists("b") && !files.exists("x"));
    assert!(problems.is_empty());
}

#[test]
fn files_can_go_to_a_worker() {
    fn check<T: Send>(_: &T) {}
    check(&Files::on_disk(Vec::new()));
}

#[test]
fn numbers_have_a_range() {
    let wrong = |value: &str| Some(format!("n:2: {value} is not a number from 1 to 90"));
    for (text, number, problem) in [
        ("#\n7\n8", 7, None),
        ("#\n90", 90, None),
        ("", 5, None),
        ("#\n91", 5, wrong("\"91\"")),
        ("#\n1 min", 5, wrong("\"1 min\"")),
        ("#\n-1", 5, wrong("\"-1\"")),
        ("#\n99999999999999999999", 5, wrong("\"99999999999999999999\"")),
    ] {
        let mut problems = Vec::new();
        let files = Files::in_memory([("n".into(), text.into())]);
        assert_eq!(files.number("n", 5, 1..=90, &mut problems), number, "{text}");
        assert_eq!(problems.first().map(Problem::to_string), problem);
    }
}

#[test]
fn names_cannot_leave_the_folder() {
    let folder = Folder::new(&[("a", b"1"), ("s/b", b"2")]);
    let files = Files::on_disk(vec![folder.0.join("s")]);
    for name in ["", "..", "../a", "/etc/hostname", "x/../../a", "./b", "b\0"] {
        let mut problems = Vec::new();
        assert!(files.lines(name, &mut problems).is_empty(), "{name}");
        assert_eq!(files.bytes(name, &mut problems), None);
        assert_eq!(problems.len(), 2, "{name}");
        assert!(!files.exists(name) && files.names(name).is_empty());
    }
}

#[test]
fn folders_are_listed() {
    let content: &[(&str, Content<'_>)] =
        &[("peers/0", b"x"), ("peers/local", b"x"), ("peers/.0.swp", b"x"), ("peers/d/e", b"x")];
    let folder = Folder::new(content);
    let owned = content.iter().map(|(name, _)| ((*name).into(), String::new()));
    for files in [folder.files(), Files::in_memory(owned)] {
        assert_eq!(files.names("peers"), ["0", "local"]);
        assert_eq!(files.folders("peers"), ["d"]);
        assert!(files.names("none").is_empty() && files.names("peers/0").is_empty());
    }
    std::os::unix::fs::symlink("local", folder.0.join("peers/10")).unwrap();
    std::os::unix::fs::symlink("gone", folder.0.join("peers/11")).unwrap();
    std::os::unix::fs::symlink("d", folder.0.join("peers/12")).unwrap();
    assert_eq!(folder.files().names("peers"), ["0", "10", "local"]);
    assert_eq!(folder.files().folders("peers"), ["11", "12", "d"]);
}

#[test]
fn what_is_no_file_is_told() {
    let folder = Folder::new(&[]);
    let _socket = std::os::unix::net::UnixListener::bind(folder.0.join("s")).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.0.join("n")).unwrap();
    let big = fs::File::create(folder.0.join("big")).unwrap();
    big.set_len(CONFIG_FILE_MAX + 1).unwrap();
    std::os::unix::fs::symlink("loop", folder.0.join("loop")).unwrap();
    for (name, expected) in [
        ("s", Some("s: is neither a file nor a folder")),
        ("n", None),
        ("big", Some("big: is larger than 16777216 octets")),
        ("loop", Some("loop: cannot be read: ")),
    ] {
        let mut problems = Vec::new();
        assert!(folder.files().lines(name, &mut problems).is_empty());
        let told = problems.first().map(Problem::to_string).unwrap_or_default();
        assert!(told.starts_with(expected.unwrap_or_default()), "{told}");
        assert_eq!(problems.len(), usize::from(expected.is_some()));
    }
}

#[test]
fn changes_are_seen() {
    let folder = Folder::new(&[("a", b"1\n$include d"), ("d/x", b"2"), ("p/0", b"")]);
    let changes: [(&str, Change<'_>); 5] = [
        ("a", &|dir| fs::write(dir.join("a"), "1\n$include d\n3").unwrap()),
        ("d", &|dir| fs::write(dir.join("d/y"), "").unwrap()),
        ("d/x", &|dir| fs::write(dir.join("d/x"), "22").unwrap()),
        ("b", &|dir| fs::write(dir.join("b"), "").unwrap()),
        ("p", &|dir| fs::write(dir.join("p/1"), "").unwrap()),
    ];
    for (name, change) in changes {
        let files = folder.files();
        files.lines("a", &mut Vec::new());
        files.bytes("b", &mut Vec::new());
        files.names("p");
        let stamps = files.stamps();
        assert_eq!(stamps.len(), 5 + stamps.iter().filter(|s| s.path().ends_with("y")).count());
        assert!(!stamps.iter().any(Stamp::changed));
        #[expect(clippy::disallowed_methods, reason = "a file system's clock moves in steps")]
        std::thread::sleep(std::time::Duration::from_millis(20));
        change(&folder.0);
        let changed = stamps.iter().filter(|stamp| stamp.changed()).map(Stamp::path);
        assert!(changed.into_iter().any(|path| path == folder.0.join(name)), "{name}");
    }
    assert!(Files::in_memory([("a".into(), "1".into())]).stamps().is_empty());
}

#[test]
fn digests_follow_the_content() {
    let digest = |files: &[(&str, &str)], name: &str| {
        let files = files.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        Files::in_memory(files).digest(name)
    };
    let base = digest(&[("a", "1\n2")], "a");
    assert_eq!(base, digest(&[("a", "# new\n1\r\n 2 \n\n"), ("b", "x")], "a"));
    assert_eq!(base, digest(&[("a", "1\n$include b"), ("b", "2")], "a"));
    for other in ["1", "12", "1\n2\n3", "2\n1", ""] {
        assert_ne!(base, digest(&[("a", other)], "a"), "{other}");
    }
    assert_ne!(digest(&[("a", "")], "a"), digest(&[], "a"));
    assert_ne!(digest(&[("a.cdb", "#1")], "a.cdb"), digest(&[("a.cdb", "#2")], "a.cdb"));
    let folder = Folder::new(&[("a", b"1")]);
    let files = folder.files();
    files.lines("a", &mut Vec::new());
    fs::write(folder.0.join("a"), "2").unwrap();
    assert_eq!(files.digest("a"), folder_digest("1"), "it is of what was read");
}

fn folder_digest(text: &str) -> u64 {
    Files::in_memory([("a".into(), text.into())]).digest("a")
}

/// A database of many megabytes is not read to see that it is the same as before.
#[test]
fn databases_are_known_by_their_identity() {
    let folder = Folder::new(&[("geo.mmdb", b"one"), ("large.mmdb", b"more than four")]);
    let path = folder.0.join("geo.mmdb").display().to_string();
    let (read, mut problems) = (folder.files(), Vec::new());
    let reading = Reading::Database(path.clone());
    assert_eq!(read.database(&path, 4, &mut problems), Some(b"one".to_vec()));
    let digest = read.digest(&path);
    let unread = folder.files();
    assert_eq!(unread.read_again(&reading, &mut problems), digest);
    assert_eq!(unread.stamps().len(), 1, "a change of it will be seen");
    fs::write(folder.0.join("new"), "two").unwrap();
    fs::rename(folder.0.join("new"), &path).unwrap();
    assert_ne!(folder.files().read_again(&reading, &mut problems), digest);
    fs::remove_file(&path).unwrap();
    assert_ne!(folder.files().read_again(&reading, &mut problems), digest);
    assert_eq!(folder.files().database(&path, 4, &mut problems), None);
    assert!(problems.is_empty(), "{problems:?}");
    let large = folder.0.join("large.mmdb").display().to_string();
    assert_eq!(folder.files().database(&large, 4, &mut problems), None);
    assert_eq!(problems[0].to_string(), format!("{large}: warning: is larger than 4 octets"));
}

#[test]
fn a_flood_of_warnings_hides_no_error() {
    let line = Line { text: "x".into(), file: "f".into(), number: 3 };
    let mut problems = Vec::new();
    for _ in 0..5_000 {
        Problem::warning(&line, "w").note(&mut problems);
    }
    Problem::error(&line, "e").note(&mut problems);
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(problems.pop().unwrap().to_string(), "f:3: e");
}

#[test]
fn no_octets_confuse_the_reader() {
    for data in [
        b"".as_slice(),
        b"\xff\xff",
        b"$include b\n$include c\xff$include c\nx\xff$include a\n\xe4\0",
        b"\xef\xbb\xbf#\r\n $include\tb\x0b\n\xc2\xa0\xff\xef\xbb\xbfq r\n",
        b"$include \x1b[2J\n",
        b"$include /\n\xffb\xffc",
    ] {
        fuzz(data);
    }
}

#[test]
fn quotes_are_safe_and_short() {
    assert_eq!(quote("a b"), "\"a b\"");
    assert_eq!(quote("\x1b[0m\n"), "\"\\u{1b}[0m\\n\"");
    assert_eq!(quote(&"x".repeat(61)), format!("\"{}…\"", "x".repeat(60)));
}
