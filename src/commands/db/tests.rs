//! Commands on texts: what is printed, what is stored, and what counts as done.

use super::*;

/// Words as a shell makes them, but that `''` is the only quoting.
fn words(line: &str) -> Vec<&[u8]> {
    let words = line.split_whitespace();
    words.map(|word| if word == "''" { b"".as_slice() } else { word.as_bytes() }).collect()
}

/// Runs commands on a text; the last one's output and success, and the records afterwards.
fn play(text: &str, lines: &str) -> (String, bool, String) {
    let mut database = Database::parse(text.as_bytes());
    let mut last = (Vec::new(), false);
    for line in lines.split(" ; ") {
        last = match task(&words(line)).expect(line) {
            Task::Ask(question) => answer(&database, &question),
            Task::Change(change) => (Vec::new(), apply(&mut database, &change).unwrap()),
        };
    }
    let records = String::from_utf8(database.serialise("")).unwrap();
    let records = records.split_inclusive('\n').skip(6).collect();
    (String::from_utf8(last.0).unwrap(), last.1, records)
}

const FOO: &str = "foo=service|access|public|status|enabled\n";
const ODD: &str = "empty=\nfoo=t|b|2|a|1\nnone\nodd=t|p\nplain=value\nuntyped=|p|v\n";

#[test]
fn questions() {
    for (text, line, expected, found) in [
        (FOO, "get foo", "service|access|public|status|enabled\n", true),
        (FOO, "show foo", "foo=service\n    access=public\n    status=enabled\n", true),
        (FOO, "show", "foo=service\n    access=public\n    status=enabled\n", true),
        (FOO, "print", FOO, true),
        (FOO, "print foo", FOO, true),
        (FOO, "print fo", "", false),
        (FOO, "gettype foo", "service\n", true),
        (FOO, "printtype foo", "foo=service\n", true),
        (FOO, "getprop foo status", "enabled\n", true),
        (FOO, "getprop foo type", "", false),
        (FOO, "getprop bar status", "", false),
        (FOO, "printprop foo", "access=public\nstatus=enabled\n", true),
        (FOO, "printprop foo status none access", "status=enabled\naccess=public\n", true),
        (FOO, "printprop foo none", "", true),
        (FOO, "printprop bar status", "", true),
        (FOO, "printprop bar", "", false),
        ("", "keys", "", false),
        ("", "print", "", false),
        ("", "show", "", false),
        ("", "printtype", "", false),
        (ODD, "keys", "empty\nfoo\nnone\nodd\nplain\nuntyped\n", true),
        (ODD, "get foo", "t|b|2|a|1\n", true),
        (ODD, "printprop foo", "a=1\nb=2\n", true),
        (ODD, "get none", "", false),
        (ODD, "get empty", "\n", true),
        (ODD, "gettype empty", "", false),
        (ODD, "gettype untyped", "", false),
        (ODD, "getprop untyped p", "v\n", true),
        (ODD, "getprop odd p", "", false),
        (ODD, "printprop odd", "p=\n", true),
        (ODD, "show plain", "plain=value\n", true),
        (ODD, "printprop plain", "", false),
        ("k=t|p|\n", "getprop k p", "\n", true),
        ("k=t|p|a\\|b\n", "getprop k p", "a\\|b\n", true),
        ("k=t|p|a\\nb\n", "getprop k p", "a\nb\n", true),
    ] {
        let (output, is_found, _) = play(text, line);
        assert_eq!((output.as_str(), is_found), (expected, found), "{line} of {text}");
    }
}

#[test]
fn changes() {
    for (text, line, done, expected) in [
        ("", "set foo service status enabled access public", true, FOO),
        (FOO, "set foo service z 1", true, "foo=service|z|1\n"),
        ("", "set scalar value1", true, "scalar=value1\n"),
        ("", "set a.b domain MailServer '' Desc x=y", true, "a.b=domain|Desc|x=y|MailServer|\n"),
        ("", "setprop nokey status x", true, ""),
        (FOO, "setprop foo status off b --x", true, "foo=service|access|public|b|--x|status|off\n"),
        (FOO, "setdefault foo other p v", true, FOO),
        ("", "setdefault foo t p v", true, "foo=t|p|v\n"),
        (FOO, "settype foo t", true, "foo=t|access|public|status|enabled\n"),
        ("", "settype foo t", false, ""),
        (FOO, "delprop foo status none", true, "foo=service|access|public\n"),
        ("", "delprop foo status", true, ""),
        (FOO, "delete foo", true, ""),
        (FOO, "delete bar", false, FOO),
        (FOO, "delete foo ; set b t ; set B t", true, "B=t\nb=t\n"),
    ] {
        let (output, is_done, records) = play(text, line);
        assert_eq!((output.as_str(), is_done, records.as_str()), ("", done, expected), "{line}");
    }
}

#[test]
fn what_is_no_command() {
    for line in [
        "",
        "get",
        "get a b",
        "keys a",
        "print a b",
        "getprop a",
        "getprop a b c",
        "printprop",
        "set a",
        "set a t p",
        "setprop a",
        "setprop a p",
        "setprop a p v q",
        "settype a",
        "delprop a",
        "delete",
        "delete a b",
        "Get a",
        "setdefault a",
        "--help",
    ] {
        assert_eq!(task(&words(line)), None, "{line}");
    }
}

#[test]
fn stamps_are_those_of_ctime() {
    let time = LocalTime {
        year: 2026,
        month: 11,
        day: 5,
        hour: 3,
        minute: 4,
        second: 6,
        weekday: 4,
        offset_seconds: 0,
    };
    assert_eq!(stamp(&time), "Thu Nov  5 03:04:06 2026");
}
