//! Lines that other programs wrote: libxcrypt 4.4.33 by Perl's crypt, the reference argon2 by its
//! command line, RFC 2195.

use super::*;

const X100: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                    xxxxxxxxxxxxxxxxxxxx";

/// Passwords whose lengths are around the blocks of the hashes, with one line for each kind.
const LINES: [(&str, [&str; 5]); 5] = [
    (
        "Hello world!",
        [
            "$1$saltsalt$le8lFSqqnPaRFOlmAZpvH1",
            "$5$rounds=1000$salt$0CdIiZ8n4cm3rRtK.jkSkdF4OXzMYyKHWnHCf8gBg/6",
            "$6$rounds=1000$0123456789abcdef$Ts6WH.QWWKfBM4oJro916RCatl5qGYTndH0Tsfa.AZz/fPmNmrnzUY\
             y11XPIlKB52zpVOdBRAKrFW1TBR6RBZ/",
            "$y$j75$abcdefgh$seYLk3C3HyTtiwemJi2fPeplJP3Gd5RaKYGEt1rRkF2",
            "$2b$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK",
        ],
    ),
    (
        "ä",
        [
            "$1$saltsalt$CIEX.dAWb4zhov2ibqh8c1",
            "$5$rounds=1000$salt$VHWrt7Yu4nXkjbi0w2ZMX6ASxEmUobKM/RgTzT6omBA",
            "$6$rounds=1000$0123456789abcdef$PNXonOCMzlTLgj0iToRflEtppVs0WkiBWGwHspJ6BLkYMyY9lCkOhX\
             fhFIOavTU0WLegqIw6DelEhoi/H9pdE0",
            "$y$j75$abcdefgh$PfYzZpXuktEeQRcPLpaiV02jOxvwHtcmhood.P/frv1",
            "$2b$04$abcdefghijklmnopqrstuuc1pqO32Jjm3MjkBXEuJk7AAzEdrKrQ.",
        ],
    ),
    (
        "0123456789abcdef",
        [
            "$1$saltsalt$xXjYoUe111lGDGm6AfLHb1",
            "$5$rounds=1000$salt$sTZ.FJedW6A4QYCipNP/FyKA/aRlgC6LP022KH7D97.",
            "$6$rounds=1000$0123456789abcdef$59.WrxtLb5vAtyCwSU4SvGDfXED4xGerRvxsYR.Q.M.HcdEaB8yd37\
             SVCZlVj5p8zg4SOJmO7t/x6WxdnVUPs/",
            "$y$j75$abcdefgh$4pcYj6CCW.sR.0jSrGGbGx/3hC4fw72dTEzxmnGQNW9",
            "$2b$04$abcdefghijklmnopqrstuu47kbr.QCtj6Eh/iTqkY.KdFw1jfyWRK",
        ],
    ),
    (
        "0123456789abcdefg",
        [
            "$1$saltsalt$Tz7GELx6iQQ6ls/oXi2H3/",
            "$5$rounds=1000$salt$Z532dced1NgLM.5BNTafOwtwZjQ.AnI8KMkIeQ9qC05",
            "$6$rounds=1000$0123456789abcdef$FZZ8jBDV/vtkDn7bTnXyox.xBBq2Io33FRisndCww1M8T6YDDW5Uv7\
             QTvX/m3IY0FGeGY520b8mWno.BVoKGO1",
            "$y$j75$abcdefgh$ABtbCD1tORi.80AghSizH1N6HVj7pB1SppdXTZpkqiD",
            "$2b$04$abcdefghijklmnopqrstuuyo43JjrOXNll2E5Nuw9u1Jnun33h4xq",
        ],
    ),
    (
        X100,
        [
            "$1$saltsalt$AomvFEJYtItwDZI8JetzY0",
            "$5$rounds=1000$salt$SUJ7cglTaVsBOODEGVdB8V2HLO3Xox9TxJEagIM/541",
            "$6$rounds=1000$0123456789abcdef$YuY9JJen25lTUY7EM6hCCYwjDk4in7o2JfUsdnbCiQGBp7TNrnx2bp\
             zBZTG9Un9xTV2Y6Dy6RNeoW94STiEFU0",
            "$y$j75$abcdefgh$AnHPWOcCR31U/OvohN87CsVwP95iGJA1VEDf0OZnpu3",
            "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i",
        ],
    ),
];

#[test]
fn passwords_are_recognised() {
    for (password, lines) in LINES {
        for line in lines {
            assert!(is_hash(line));
            assert_eq!(check(line, password), Verdict::Match, "{password} {line}");
        }
    }
    for line in LINES[0].1 {
        assert_eq!(check(line, "Hello world?"), Verdict::NoMatch, "{line}");
    }
    for (line, password) in [
        ("$1$x$nOgEtOLmf3xhWqibKtjGl.", "Hello world!"),
        ("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"),
        ("$y$j75$$n98TjUol7Wd05/VgwHTCaavTogQ0OBsqZI.5/2WSLO4", "Hello world!"),
        ("$y$j75$x4Z9w9bXaGv7VPnmbVIQx.$R/XrCRyGaNNb9vqo74Y69li/uYTJ0VSr7FAm10Ux5u9", "secret"),
        ("$y$j9T$C6P/0S9paOh44kt6hRwvn1$T/DjFkeuyBY8JL1oFma5/zuQdb8Gg6bi5vVOBw/sTH3", "secret"),
        ("$2y$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK", "Hello world!"),
        ("$2a$04$abcdefghijklmnopqrstuzyeG8laUfZvsCmc.AE6qIDYSPGM2efmK", "Hello world!"),
        (
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "password",
        ),
        ("$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$ucQB0YRKZ9UOrjln3CiHCyLlCAkuhho3", "password"),
        (
            "$argon2id$v=19$m=80,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$\
             bNO6soEyDyNfHfy0Q56sB/1scAdmhE+pEga9VNtRgYU",
            "pässword",
        ),
    ] {
        assert!(is_hash(line));
        assert_eq!(check(line, password), Verdict::Match, "{line}");
        assert_eq!(check(line, "Password"), Verdict::NoMatch, "{line}");
    }
}

#[test]
fn bcrypt_looks_at_72_octets() {
    let line = LINES[4].1[4];
    assert_eq!(check(line, &X100[..72]), Verdict::Match);
    assert_eq!(check(line, &X100[..71]), Verdict::NoMatch);
    let shorter = "$2b$04$abcdefghijklmnopqrstuu.gc7UY/21CSNJGJg21jJzx9QiOpJ9bO";
    assert_eq!(check(shorter, &X100[..71]), Verdict::Match);
}

#[test]
fn what_costs_too_much_is_not_tried() {
    let argon2 = |costs: &str| format!("$argon2id$v=19${costs}$c29tZXNhbHQ${}", "A".repeat(43));
    for (line, why) in [
        (argon2("m=262145,t=1,p=1"), TOO_DEAR),
        (argon2("m=262144,t=17,p=1"), TOO_DEAR),
        (argon2("m=4096,t=4294967295,p=1"), TOO_DEAR),
        (argon2("m=4096,t=1,p=65"), TOO_DEAR),
        (argon2("m=4294967295,t=1,p=1"), TOO_DEAR),
        (format!("$6$rounds=1000001$salt${}", "a".repeat(86)), TOO_DEAR),
        (format!("$5$rounds=4294967295$salt${}", "a".repeat(43)), TOO_DEAR),
        (format!("$2b$16${}", "a".repeat(53)), TOO_DEAR),
        // libxcrypt's cost 10: 512 MiB.
        (format!("$y$jET$salt${}", "a".repeat(43)), TOO_DEAR),
        (format!("$y$jzzzzz$salt${}", "a".repeat(43)), "this flavor of yescrypt"),
        (format!("$y$j75.0$abcdefgh${}", "a".repeat(43)), "this flavor of yescrypt"),
        (format!("$y$./.$abcd${}", "a".repeat(43)), "this flavor of yescrypt"),
    ] {
        assert_eq!(check(&line, "x"), Verdict::Unsupported(why), "{line}");
    }
    // What is just allowed is taken, but not computed here: it would take seconds.
    for line in [
        argon2("m=262144,t=16,p=64"),
        format!("$6$rounds=1000000$salt${}", "a".repeat(86)),
        format!("$2b$15${}.{}", "a".repeat(22), "a".repeat(30)),
        format!("$y$jDT$salt${}", "a".repeat(43)),
    ] {
        let hash = Hash::parse(&line);
        assert!(hash.is_ok(), "{line} {hash:?}");
    }
}

#[test]
fn damaged_and_unknown_lines_are_faults() {
    let [md5, sha256, sha512, yescrypt, bcrypt] = LINES[0].1;
    let argon2 = "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$ucQB0YRKZ9UOrjln3CiHCyLlCAkuhho3";
    for line in LINES[0].1 {
        for bad in [&line[..line.len() - 1], &format!("{line}."), &format!("{line}$")] {
            assert_eq!(check(bad, "Hello world!"), Verdict::Unsupported(DAMAGED), "{bad}");
        }
    }
    for (line, from, to) in [
        (md5, "saltsalt", "saltsaltx"),
        (md5, "le8", "le="),
        (sha256, "1000", "999"),
        (sha256, "1000", "+1000"),
        (sha256, "1000", ""),
        (sha256, "1000$", "1000"),
        (sha512, "def$", "defx$"),
        (yescrypt, "abcdefgh", "a"),
        (yescrypt, "abcdefgh", "ab"),
        (yescrypt, "abcdefgh", "abcd=fgh"),
        (bcrypt, "04", "03"),
        (bcrypt, "04", "4"),
        (bcrypt, "04", "+4"),
        (bcrypt, "yeG", "y=G"),
        (argon2, "m=64", "m=07"),
        (argon2, "m=64,", ""),
        (argon2, "p=1", "p=1,x=1"),
        (argon2, "p=1", "p=9"),
        (argon2, "t=1", "t=0"),
        (argon2, "c29tZXNhbHQ", "c29tZXN"),
        (argon2, "c29tZXNhbHQ", "c29tZXNhbHQ="),
        (argon2, "ucQB0YRKZ9UO", ""),
        (argon2, "hho3", "hho3."),
        (argon2, "hho3", "hho3$"),
    ] {
        let bad = line.replacen(from, to, 1);
        assert_eq!(check(&bad, "Hello world!"), Verdict::Unsupported(DAMAGED), "{bad}");
    }
    for (line, why) in [
        ("", "a kind of hash that is not known here"),
        ("!", "a kind of hash that is not known here"),
        ("*", "a kind of hash that is not known here"),
        ("ab3wR2Dn4yG5k", "a kind of hash that is not known here"),
        ("$x$salt$hash", "a kind of hash that is not known here"),
        ("$7$BU..../....salt$G8qbWbapr6/Q.vcxTV16GugP/uTyWFvzC4/qkcauHQ2", "scrypt"),
        ("$2x$04$abcdefghijklmnopqrstuu", "bcrypt 2x, which is broken"),
        ("$gy$j75$abcd$5qqlo411cSK3LWDZdjPBem3l0BVuk9VksHSP1fFAHc/", "gost-yescrypt"),
        ("$argon2d$v=19$m=64,t=1,p=1$a$b", "argon2d, which is not for passwords"),
        ("$argon2id$v=16$m=64,t=1,p=1$a$b", "an old version of Argon2"),
        ("$argon2id$m=64,t=1,p=1$a$b", "an old version of Argon2"),
        ("SCRAM-SHA-256$1:a$b:c", DAMAGED),
        (X100, "a kind of hash that is not known here"),
    ] {
        assert_eq!(check(line, "x"), Verdict::Unsupported(why), "{line}");
    }
    assert_eq!(check(&X100.repeat(6), "x"), Verdict::Unsupported(DAMAGED));
}

#[test]
fn hashes_are_told_from_passwords() {
    for (stored, hash) in [
        ("secret", false),
        ("", false),
        ("$ecret", false),
        ("$$x", false),
        ("$5 and $6", false),
        ("SCRAM-SHA-256", false),
        ("$1$", true),
        ("$unknown-kind$x", true),
        ("SCRAM-SHA-256$", true),
    ] {
        assert_eq!(is_hash(stored), hash, "{stored}");
    }
}

#[test]
fn passwords_as_they_are() {
    assert_eq!(plain("secret", "secret"), Verdict::Match);
    for other in ["", "secre", "secreT", "secrets"] {
        assert_eq!(plain("secret", other), Verdict::NoMatch);
    }
    // RFC 2195 section 2.
    let challenge = "<1896.697170952@postoffice.reston.mci.net>";
    let digest = 0xb913_a602_c7ed_a7a4_95b4_e6e7_334d_3890_u128.to_be_bytes();
    assert_eq!(cram_md5("tanstaaftanstaaf", challenge, &digest), Verdict::Match);
    assert_eq!(cram_md5("tanstaaftanstaa", challenge, &digest), Verdict::NoMatch);
    assert_eq!(cram_md5("tanstaaftanstaaf", "<other>", &digest), Verdict::NoMatch);
}

#[test]
fn new_lines_are_read_again() {
    let keys = Keys::derive("pässword", b"0123456789abcdef", 4_096).unwrap();
    for (line, start) in [
        (new_argon2id("pässword", b"0123456789abcdef").unwrap(), "$argon2id$v=19$m=19456,t=2,p=1$"),
        (new_sha512("pässword", b"0123456789ab").unwrap(), "$6$rounds=100000$"),
        (keys.line(), "SCRAM-SHA-256$4096:"),
    ] {
        assert!(line.starts_with(start) && is_hash(&line), "{line}");
        assert_eq!(check(&line, "pässword"), Verdict::Match);
        assert_eq!(check(&line, "passwort"), Verdict::NoMatch);
    }
}
