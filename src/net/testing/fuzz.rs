//! Bytes that nobody would send, for whatever reads what comes from outside.
//!
//! A target is a function that must come back, whatever it is given. Its seeds are changed, cut, doubled and mixed at random; an
//! input that makes it panic is printed. A few thousand rounds run with the other tests; `REKEYD_FUZZ_SECONDS=60` is
//! what `tests/run.sh deep` gives each target. It does not look at what of the program was reached: that takes
//! instrumented builds of everything, which the pinned toolchain has only behind its own lock.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use reqwest::header::{HeaderName, HeaderValue};

use crate::clock::{Clock, SystemClock};
use crate::domain::time::{Span, Timestamp};
use crate::net::Answer;

const ROUNDS: u64 = 2000;
/// What parsers stumble over.
const WORDS: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"\\",
    b"=",
    b"#",
    b"[",
    b"]",
    b"{",
    b"}",
    b"%",
    b"%ff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"null",
    "é".as_bytes(),
    b"\x1b]0;",
    b"sk-or-v1-",
];

/// Gives `target` the seeds, and what becomes of them.
pub(crate) fn fuzz(seeds: &[&[u8]], target: impl Fn(&[u8])) {
    let clock = SystemClock::default();
    let limit = std::env::var("REKEYD_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let limit: Option<Span> = limit.map(Span::seconds);
    let begun = clock.monotonic();
    let seed: u64 = rand::random();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut rounds = 0;
    while limit.map_or(rounds < ROUNDS, |limit| clock.monotonic().0 - begun.0 < limit.0) {
        let mut input = seeds.choose(&mut chance).expect("there are seeds").to_vec();
        for _ in 0..chance.random_range(0..6) {
            change(&mut input, seeds, &mut chance);
        }
        rounds += 1;
        let came_back = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(came_back.is_ok(), "round {rounds} of seed {seed}: b\"{}\"", input.escape_ascii());
    }
    println!("{rounds} rounds");
}

fn change(input: &mut Vec<u8>, seeds: &[&[u8]], chance: &mut StdRng) {
    let at = chance.random_range(0..=input.len());
    let until = chance.random_range(at..=input.len());
    match chance.random_range(0..6) {
        0 => drop(input.splice(at..until, WORDS.choose(chance).expect("some").iter().copied())),
        1 => drop(input.splice(at..at, WORDS.choose(chance).expect("some").iter().copied())),
        2 => input.truncate(at),
        3 => {
            let part = input[at..until].to_vec();
            drop(input.splice(at..at, part));
        }
        4 => input.extend_from_slice(seeds.choose(chance).expect("some")),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << chance.random_range(0..8);
            }
        }
    }
    input.truncate(64 * 1024);
}

/// An answer made of an input: its first byte chooses a status, the rest is the body and the text of these headers.
pub(crate) fn answer(input: &[u8], headers: &[&'static str]) -> Answer {
    const STATUS: [u16; 12] = [200, 201, 204, 307, 400, 401, 403, 404, 409, 422, 429, 500];
    let (first, body) = input.split_first().unwrap_or((&0, &[]));
    let named =
        |name: &&'static str| Some((HeaderName::from_static(name), HeaderValue::from_bytes(body).ok()?));
    Answer {
        status: STATUS[usize::from(*first) % STATUS.len()],
        date: Some(Timestamp(1_793_620_800_000)),
        retry_after: None,
        headers: headers.iter().filter_map(named).collect(),
        body: body.to_vec().into(),
        host: "vendor.invalid".to_owned(),
        elapsed: std::time::Duration::ZERO,
    }
}
