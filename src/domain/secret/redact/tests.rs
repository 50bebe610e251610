use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

#[test]
fn redacts_known_and_lookalike_keys() {
    let secret = Secret::new(format!("zz-{}", "q".repeat(40)));
    let text = format!("bad key {} and sk-or-v1-{}!", secret.expose(), "f".repeat(64));
    let clean = redact(&text, &[&secret]);
    assert!(!clean.contains(secret.expose()) && !clean.contains("ffff"), "{clean}");
    assert!(clean.contains("sk-or-v1-[redacted]!"), "{clean}");
}

#[test]
fn redacts_parts_of_known_keys() {
    let secret = Secret::new("zz-0123456789abcdefghijklmnopqrstuvwxyz");
    let clean = redact("é zz-0123456789ab… and ijklmnopqrstuvwx, not abcdefgh", &[&secret]);
    assert_eq!(clean, "é [redacted]… and [redacted], not abcdefgh");
}

#[test]
fn what_begins_like_a_key_looks_like_one() {
    for key in ["sk-or-v1-0123456789abcdef", "ghp_0123456789abcdefABCD", "sk-ant-api03-abcdefghijk"] {
        assert!(looks_like_key(key), "{key}");
    }
    for word in ["production", "sk-production-main-app", "hf_tokens", "task-0123456789abcdef", "sk-or-v1-"] {
        assert!(!looks_like_key(word), "{word}");
    }
}

/// Every way to print bytes that a program at hand has.
fn encodings(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let each = |form: &dyn Fn(&u8) -> String, between: &str| {
        bytes.iter().map(form).collect::<Vec<_>>().join(between)
    };
    let grouped = |size: usize, between: &str| {
        let chunks = bytes.chunks(size).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
        chunks.collect::<Vec<_>>().join(between)
    };
    let folded = |text: String, width: usize, between: &str| {
        let chunks = text.as_bytes().chunks(width).map(|chunk| String::from_utf8_lossy(chunk).into_owned());
        chunks.collect::<Vec<_>>().join(between)
    };
    let json = serde_json::to_string(&text).unwrap();
    vec![
        ("text", text.clone()),
        ("upper case", text.to_uppercase()),
        ("JSON", json.clone()),
        ("JSON in JSON", serde_json::to_string(&json).unwrap()),
        ("base64", STANDARD.encode(bytes)),
        ("base64 without padding", STANDARD_NO_PAD.encode(bytes)),
        ("base64 of URLs", URL_SAFE.encode(bytes)),
        ("base64 of URLs without padding", URL_SAFE_NO_PAD.encode(bytes)),
        ("base64 in lines", folded(STANDARD.encode(bytes), 19, "\r\n")),
        ("base64 in lines of JSON", folded(STANDARD.encode(bytes), 19, "\\n")),
        ("base64 in a URL", STANDARD.encode(bytes).replace('+', "%2B").replace('/', "%2F")),
        ("hex", hex::encode(bytes)),
        ("hex in capitals", hex::encode_upper(bytes)),
        ("hex with colons", each(&|b| format!("{b:02x}"), ":")),
        ("hex dump", each(&|b| format!("{b:02X}"), " ")),
        ("hex of C", each(&|b| format!("0x{b:02x}"), ", ")),
        ("escapes of C", each(&|b| format!("\\x{b:02x}"), "")),
        ("octal", each(&|b| format!("\\{b:03o}"), "")),
        ("escapes of JSON", each(&|b| format!("\\u{b:04x}"), "")),
        ("escapes of Rust", each(&|b| format!("\\u{{{b:x}}}"), "")),
        ("entities", each(&|b| format!("&#{b};"), "")),
        ("hex entities", each(&|b| format!("&#x{b:x};"), "")),
        ("percent", each(&|b| format!("%{b:02X}"), "")),
        ("percent in small letters", each(&|b| format!("%{b:02x}"), "")),
        ("percent twice", each(&|b| format!("%25{b:02x}"), "")),
        ("percent where needed", url::form_urlencoded::byte_serialize(bytes).collect()),
        (
            "percent here and there",
            each(&|b| if b % 3 == 0 { format!("%{b:02X}") } else { char::from(*b).to_string() }, ""),
        ),
        ("quoted-printable", each(&|b| format!("={b:02X}"), "")),
        ("numbers", each(&u8::to_string, ", ")),
        ("groups", grouped(4, " ")),
        ("groups with hyphens", grouped(5, "-")),
        ("lines", grouped(1, "\n")),
    ]
}

/// The longest text that both have in common, looking at letters and digits only.
fn common(one: &str, other: &str) -> usize {
    let letters = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).collect::<Vec<u8>>();
    let (one, other) = (letters(one), letters(other));
    let mut best = 0;
    let mut row = vec![0; other.len() + 1];
    for a in one {
        for at in (0..other.len()).rev() {
            row[at + 1] = if other[at] == a { row[at] + 1 } else { 0 };
            best = best.max(row[at + 1]);
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever key, wherever it begins inside of what is encoded, whatever stands around: less than a part is left.
    #[test]
    fn no_encoding_shows_more_than_a_part(
        key in "(sk-or-v1-|zz_|)([A-Za-z0-9]{3,20}[_+/.~-]){3,6}[A-Za-z0-9]{12}",
        before in "[ -~]{0,7}",
        after in "[ -~]{0,7}",
        around in "[ -~é\n]{0,40}",
        cut in 0..8_usize,
    ) {
        let secret = Secret::new(key.as_str());
        let shown = &key[cut..];
        let alone = encodings(shown.as_bytes());
        let inside = encodings(format!("{before}{shown}{after}").as_bytes());
        for ((name, encoded), (_, whole)) in alone.into_iter().zip(inside) {
            let clean = redact(&format!("{around} {whole} {around}"), &[&secret]);
            let left = common(&clean.replace(&secret.mask(), ""), &encoded);
            // What a group of an escape takes: `\u0073` has four digits that every key shares.
            let bound = if encoded.len() > 3 * shown.len() { 2 * PART } else { PART + 1 };
            prop_assert!(left < bound, "{}: {} letters of {:?} in {:?}", name, left, encoded, clean);
        }
    }

    /// Short secrets too, such as the password of a mail server.
    #[test]
    fn no_encoding_shows_a_short_secret(key in "[A-Za-z0-9]{8,11}", around in "[ !-#'-,.:;?@]{0,9}") {
        let secret = Secret::new(key.as_str());
        for (name, encoded) in encodings(key.as_bytes()) {
            let clean = redact(&format!("{around}{encoded}{around}"), &[&secret]);
            prop_assert!(!clean.contains(&encoded), "{}: {:?} in {:?}", name, encoded, clean);
        }
    }

    /// What has nothing of a secret is not touched.
    #[test]
    fn other_text_stays(key in "[A-Za-z0-9]{40}", text in "[a-z ,.:é%&\\\\=]{0,200}") {
        prop_assume!(!PREFIXES.iter().any(|prefix| text.contains(prefix)));
        prop_assert_eq!(redact(&text, &[&Secret::new(key)]), text);
    }
}
